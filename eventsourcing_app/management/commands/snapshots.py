"""``manage.py snapshots app.Model``: makes the snapshots of a model that are due, or drops all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from eventsourcing_app.aggregates.past.history import make_snapshots
from eventsourcing_app.aggregates.past.snapshots import drop_snapshots
from eventsourcing_app.conf import conf
from eventsourcing_app.management.named import event_sourced_or_error

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """For a schedule, so that nobody who looks at the past waits for a long stream to be folded the first time."""

    help = "Makes the snapshots of an event-sourced model that are missing or stale, or drops them with --drop."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model", help="The model, as app_label.Model.")
        parser.add_argument("--drop", action="store_true", help="Delete the snapshots; the past is then folded anew.")

    def handle(self, *args: Any, model: str, drop: bool, **options: Any) -> None:
        found = event_sourced_or_error(model)
        if drop:
            self.stdout.write(self.style.SUCCESS(f"{drop_snapshots(found)} snapshots dropped."))
            return
        if not conf.SNAPSHOT_EVERY:
            raise CommandError("EVENTSOURCING['SNAPSHOT_EVERY'] is 0: no snapshots are kept.")
        aggregates = events = 0
        for count in make_snapshots(found):
            aggregates += 1
            events += count
        self.stdout.write(self.style.SUCCESS(f"{aggregates} aggregates are due snapshots: {events} events folded."))
