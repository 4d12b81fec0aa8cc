"""The event-sourced models that a command is given by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.management.base import CommandError

from eventsourcing_app.aggregates.named import event_sourced

if TYPE_CHECKING:
    from eventsourcing_app.aggregates.model import EventSourcedModel


def event_sourced_or_error(label: str) -> type[EventSourcedModel]:
    """Return the model of this name, or end the command."""
    try:
        return event_sourced(label)
    except (LookupError, ValueError, TypeError) as error:
        raise CommandError(str(error)) from error
