"""Event-sourced models by name, as operators and schedules give them."""

from __future__ import annotations

from django.apps import apps

from eventsourcing_app.aggregates.model import EventSourcedModel


def event_sourced(label: str) -> type[EventSourcedModel]:
    """Return the event-sourced model called ``app_label.Model``.

    Raises ``LookupError`` or ``ValueError`` if there is no such model, ``TypeError`` if it is not event-sourced.
    """
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError) as error:
        raise type(error)(f"{label!r} is no model: {error} Name it as app_label.Model.") from error
    if not issubclass(model, EventSourcedModel):
        raise TypeError(
            f"{label} is not event-sourced: let it inherit from eventsourcing_app.models.EventSourcedModel first."
        )
    return model
