"""``manage.py rebuild app.Model``: folds every aggregate of a model again and repairs, or only compares, its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError

from eventsourcing_app.aggregates.model import EventSourcedModel
from eventsourcing_app.aggregates.rebuild import Drift, Rebuilt, rebuild

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """Compares rows with their history; exits 1 if ``--check`` finds a difference or one cannot be repaired."""

    help = "Rebuilds the rows of an event-sourced model from its events, or compares them with --check."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model", help="The model, as app_label.Model.")
        parser.add_argument("--check", action="store_true", help="Only compare; change nothing.")

    def handle(self, *args: Any, model: str, check: bool, **options: Any) -> None:
        seen = Rebuilt()
        drifted = left = 0
        for drift in rebuild(self._find(model), check=check, seen=seen):
            drifted += 1
            left += check or drift.problem == "unknown"
            self.stdout.write(_describe(model, drift))
        found = f"{seen.aggregates} aggregates, {seen.events} events: {drifted} differ"
        if left:
            raise CommandError(f"{found}, {left} not repaired.")
        self.stdout.write(self.style.SUCCESS(f"{found}{', all repaired' if drifted else ''}."))

    def _find(self, label: str) -> type[EventSourcedModel]:
        try:
            model = apps.get_model(label)
        except (LookupError, ValueError) as error:
            raise CommandError(f"{label!r} is no model: {error} Name it as app_label.Model.") from error
        if not issubclass(model, EventSourcedModel):
            raise CommandError(f"{label} is not event-sourced: there is no history to rebuild it from.")
        return model


def _describe(label: str, drift: Drift) -> str:
    if drift.problem == "unknown":
        return f"{label} {drift.pk}: the row has no history. Remove it with SQL if it is a stray one."
    if drift.problem == "missing":
        return f"{label} {drift.pk}: the row is missing; its history begins at version 1."
    if drift.problem == "left":
        return f"{label} {drift.pk}: its end at version {drift.version} should have removed the row."
    values = ", ".join(f"{name} is {was!r}, by history {ought!r}" for name, (was, ought) in drift.fields.items())
    return f"{label} {drift.pk}: {values}; they part at version {drift.version} (event #{drift.position})."
