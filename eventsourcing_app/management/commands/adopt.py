"""``manage.py adopt app.Model``: gives each row that is older than its history an opening event."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from eventsourcing_app.aggregates.adoption.adopt import BATCH_SIZE, Adoption, adopt
from eventsourcing_app.exceptions import AdoptionRefused, ConcurrencyError
from eventsourcing_app.management.named import event_sourced_or_error
from eventsourcing_app.management.stopping import stoppable

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.management.stopping import Stop


class Command(BaseCommand):
    """Adopts rows until there is none left; exits 1 if one was refused.

    SIGTERM and Ctrl-C end it after the current batch, with the exit code 128 + signal.
    """

    help = (
        "Makes an existing table event-sourced: each row without a history gets one event that says what it is. "
        "May be ended and run again; it goes on where it was."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model", help="The model, as app_label.Model.")
        parser.add_argument(
            "--batch-size", type=int, default=BATCH_SIZE, help=f"Rows a transaction (default: {BATCH_SIZE})."
        )
        parser.add_argument("--dry-run", action="store_true", help="Look at every row, report, and write nothing.")
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print one JSON object.")

    def handle(
        self, *args: Any, model: str, batch_size: int, dry_run: bool, as_json: bool, verbosity: int, **options: Any
    ) -> None:
        self.seen = Adoption()
        self.show = verbosity > 0 and self.stderr.isatty()
        try:
            with stoppable() as stop:
                found = self._run(event_sourced_or_error(model), batch_size, dry_run, stop)
        finally:
            if self.show:
                self.stderr.write("")
        if as_json:
            self.stdout.write(json.dumps(_as_dict(model, found, dry_run)))
        else:
            self._print(found, dry_run)
        if found.refused:
            kept = "" if dry_run else f"; {found.adopted} before it {'is' if found.adopted == 1 else 'are'} kept"
            raise CommandError(f"{_rows(found.refused)} of {model} refused{kept}.")
        if not found.complete:
            raise stop.error("Stopped before the end. Run it again to go on.")

    def _run(self, model: type[EventSourcedModel], batch_size: int, dry_run: bool, stop: Stop) -> Adoption:
        try:
            return adopt(model, batch_size=batch_size, dry_run=dry_run, progress=self._progress, stop=stop)
        except AdoptionRefused:
            return self.seen
        except (ImproperlyConfigured, ConcurrencyError, ValueError) as error:
            raise CommandError(str(error)) from error

    def _progress(self, so_far: Adoption) -> None:
        self.seen = so_far
        if self.show:
            self.stderr.write(f"\r{_rows(so_far.adopted + so_far.refused)}", ending="")

    def _print(self, found: Adoption, dry_run: bool) -> None:
        for refused in found.named:
            self.stdout.write(str(refused))
        if found.refused > len(found.named):
            self.stdout.write(f"… and {found.refused - len(found.named)} more")
        text = f"{_rows(found.adopted)} {'would be ' if dry_run else ''}adopted."
        self.stdout.write(text if found.refused else self.style.SUCCESS(text))


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"


def _as_dict(model: str, found: Adoption, dry_run: bool) -> dict[str, object]:
    return {
        "model": model,
        "dry_run": dry_run,
        "adopted": found.adopted,
        "refused": found.refused,
        "complete": found.complete and (dry_run or not found.refused),
        "refused_rows": [
            {
                "pk": str(each.pk),
                "why": each.why,
                "fields": {name: [repr(was), repr(told)] for name, (was, told) in each.fields.items()},
            }
            for each in found.named
        ],
    }
