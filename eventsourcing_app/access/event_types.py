"""What events there can be: each declared type with its names, its schema, and the streams that it occurs in."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured

from eventsourcing_app.access.streams import models_by_stream_type
from eventsourcing_app.aggregates.dispatch import applies_of
from eventsourcing_app.events.registry import Declaration, registry
from eventsourcing_app.events.schema import description_of, schema_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventsourcing_app.events.schema import Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """A declared type of events."""

    name: str
    aliases: tuple[str, ...]
    """Older wire names."""
    schema_version: int
    title: str
    description: str
    """The docstring of its class."""
    ends: bool
    """Whether an event of it ends its stream."""
    stream_types: tuple[str, ...]
    """The streams of the models that apply it; none of them if it is published as a fact."""
    schema: Schema | None
    """JSON Schema of its data; ``None`` if its declaration cannot be stored, as a system check says."""


def event_types() -> list[EventType]:
    """Return every declared type, by wire name."""
    streams = _stream_types()
    return [_described(declaration, streams) for declaration in registry.all()]


def event_type(name: str) -> EventType | None:
    """Return the type that has, or had, this wire name; ``None`` if there is none, or several claim it."""
    try:
        declaration = registry.find(name)
    except ImproperlyConfigured:  # a check says so
        return None
    return None if declaration is None else _described(declaration, _stream_types())


def _described(declaration: Declaration, streams: Mapping[type, tuple[str, ...]]) -> EventType:
    return EventType(
        name=declaration.name,
        aliases=declaration.aliases,
        schema_version=declaration.version,
        title=declaration.cls.__name__,
        description=description_of(declaration.cls),
        ends=declaration.ends,
        stream_types=streams.get(declaration.cls, ()),
        schema=_schema_of(declaration),
    )


@cache
def _schema_of(declaration: Declaration) -> Schema | None:
    try:
        return schema_of(declaration)
    except ImproperlyConfigured:
        return None


def _stream_types() -> dict[type, tuple[str, ...]]:
    found = defaultdict[type, set[str]](set)
    for model in set(models_by_stream_type().values()):
        for event in applies_of(model):
            found[event].add(model.stream_type)
    return {event: tuple(sorted(names)) for event, names in found.items()}
