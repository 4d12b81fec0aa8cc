"""``manage.py run_subscriptions``: runs the loop that delivers events, without a task queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from eventsourcing_app.management.stopping import stoppable
from eventsourcing_app.subscriptions.drain import drain
from eventsourcing_app.subscriptions.runner import run

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from eventsourcing_app.management.stopping import Stop


class Command(BaseCommand):
    """Delivers events to subscriptions until stopped; SIGTERM and Ctrl-C end it after the current batch."""

    help = (
        "Delivers events to projections and subscribers. May run beside others, here and on other machines; what a "
        "worker process leaves behind that dies, another one takes over."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--workers", type=int, default=1, metavar="N", help="Worker processes. Default: 1.")
        parser.add_argument("--once", action="store_true", help="End when every subscription has caught up.")

    def handle(self, *args: Any, once: bool, workers: int, **options: Any) -> None:
        if workers < 1:
            raise CommandError("--workers is 1 or more.")
        if once and workers > 1:
            raise CommandError("--once works in this process alone: leave out --workers, or --once.")
        with stoppable() as stop:
            if once:
                self._run_once(stop)
            else:
                run(workers, stop=stop)

    def _run_once(self, stop: Stop) -> None:
        drained = drain(stop=stop)
        self.stdout.write(f"{drained.handled} events handled")
        if not drained.finished:
            raise stop.error("Stopped before every subscription has caught up. Run it again to go on.")
        if drained.waiting:
            raise CommandError("\n".join(["Not caught up:", *drained.waiting]))
