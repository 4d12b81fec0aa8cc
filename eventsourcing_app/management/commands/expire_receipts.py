"""``manage.py expire_receipts``: deletes the receipts of idempotency keys that are too old to be asked for again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from eventsourcing_app.conf import conf
from eventsourcing_app.management.stopping import stoppable
from eventsourcing_app.subscriptions.expiry import expire_receipts

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """Deletes in batches; SIGTERM and Ctrl-C end it after the current one, with the exit code 128 + signal."""

    help = "Deletes receipts of idempotency keys that are older than EVENTSOURCING['RECEIPT_DAYS'], or than --days."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", type=int, default=None, help="Age in days (default: the setting RECEIPT_DAYS).")

    def handle(self, *args: Any, days: int | None, **options: Any) -> None:
        days = conf.RECEIPT_DAYS if days is None else days
        if days is None:
            raise CommandError("Receipts are kept for ever: set EVENTSOURCING['RECEIPT_DAYS'], or give --days.")
        if days < 1:
            raise CommandError(f"{days} days would expire receipts that clients still ask for: give 1 or more.")
        with stoppable() as stop:
            expired = expire_receipts(days=days, stop=stop)
        self.stdout.write(f"{expired} receipts expired")
        if stop.heeded:
            raise stop.error("Stopped before the end. Run it again to go on.")
