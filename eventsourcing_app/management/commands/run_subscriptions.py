"""``manage.py run_subscriptions``: runs the loop that delivers events, without a task queue."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError, close_old_connections

from eventsourcing_app.management.stopping import stoppable
from eventsourcing_app.subscriptions.drain import drain

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from eventsourcing_app.management.stopping import Stop

logger = logging.getLogger("eventsourcing_app.subscriptions")

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class Command(BaseCommand):
    """Delivers events to subscriptions until stopped; SIGTERM and Ctrl-C end it after the current batch."""

    help = "Delivers events to projections and subscribers. May run beside others, here and on other machines."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="End when every subscription has caught up.")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        with stoppable() as stop:
            if once:
                self._run_once(stop)
            else:
                self._run(stop)

    def _run_once(self, stop: Stop) -> None:
        drained = drain(stop=stop)
        self.stdout.write(f"{drained.handled} events handled")
        if not drained.finished:
            raise stop.error("Stopped before every subscription has caught up. Run it again to go on.")
        if drained.waiting:
            raise CommandError("\n".join(["Not caught up:", *drained.waiting]))

    def _run(self, stop: Stop) -> None:
        pause = _SHORTEST_PAUSE
        while not stop():
            try:
                handled = drain(stop=stop).handled
            except (OperationalError, InterfaceError):
                # The server went away or is restarting. Nothing is lost: the next round goes on from the checkpoints.
                logger.exception("The database did not answer; trying again.")
                handled = 0
            pause = _SHORTEST_PAUSE if handled else min(pause * 1.5, _LONGEST_PAUSE)
            close_old_connections()
            if not stop():
                time.sleep(pause)
