"""Checks of what this code says of its subscriptions and projections; the database is not asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks

from eventsourcing_app.aggregates.model import EventSourcedModel
from eventsourcing_app.events.registry import registry as events
from eventsourcing_app.projections.base import projection_named
from eventsourcing_app.subscriptions.registry import registry

if TYPE_CHECKING:
    from django.db.models import Model

    from eventsourcing_app.subscriptions.registry import Definition


def check_read_models(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Check that the tables of each projection can be its own."""
    owners: dict[type[Model], str] = {}
    found: list[checks.CheckMessage] = []
    for definition in registry.all():
        projection = projection_named(definition.name)
        for model in projection.models if projection is not None else ():
            other = owners.setdefault(model, definition.name)
            if other != definition.name:
                found.append(_shared(model, other, definition))
            if issubclass(model, EventSourcedModel):
                found.append(_event_sourced(model, definition))
    return found


def check_topics(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Check that a topic without a wildcard is the name of an event."""
    return [
        _unknown_topic(what, definition)
        for definition in registry.all()
        for what in definition.handlers
        if isinstance(what, str) and not {"*", "#"} & set(what.split(".")) and events.find(what) is None
    ]


def _shared(model: type[Model], other: str, definition: Definition) -> checks.CheckMessage:
    return checks.Error(
        f"{model._meta.label} is among the `models` of {other} and of {definition.name}: a rebuild of one would drop "
        "what the other has written.",
        hint="Give each projection tables of its own.",
        obj=model,
        id="eventsourcing_app.E080",
    )


def _event_sourced(model: type[Model], definition: Definition) -> checks.CheckMessage:
    return checks.Error(
        f"{model._meta.label} is event-sourced and among the `models` of {definition.name}: its rows are written by "
        "commands.",
        hint="A projection writes to tables of its own; manage.py rebuild is for event-sourced models.",
        obj=model,
        id="eventsourcing_app.E081",
    )


def _unknown_topic(topic: str, definition: Definition) -> checks.CheckMessage:
    return checks.Warning(
        f"{definition.place} subscribes to {topic!r}, which is the name of no declared event: it may never come.",
        hint="Correct the name, or write the event's class instead of it.",
        id="eventsourcing_app.W085",
    )
