"""What is around one event: what caused it, what it caused, its neighbours in the stream, and what it means today."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from eventsourcing_app.events import canonical, codec, evolution
from eventsourcing_app.exceptions import EventRefused, EventUnreadable
from eventsourcing_app.log.names import names_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventsourcing_app.log.records import StoredEvent, StoredEventQuerySet

MOST_CHILDREN: Final = 100
"""How many of the events that an event caused are told at most."""
_NAMED: Final = ("position", "event_id", "type", "stream_type", "stream_key", "version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Children:
    """The events that an event caused, in order, and whether there are more of them."""

    events: Sequence[StoredEvent]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Upcast:
    """The data of an event by today's declaration, or ``None`` and the reason why no code here can read it."""

    data: dict[str, Any] | None
    problem: str | None
    event: object | None = None
    """The event as its class of today."""


def parent_of(visible: StoredEventQuerySet, event: StoredEvent) -> StoredEvent | None:
    """Return the event that caused it, if that is among the visible ones. No columns but those that name an event."""
    if event.causation_id is None:
        return None
    return visible.filter(event_id=event.causation_id).only(*_NAMED).first()


def children_of(visible: StoredEventQuerySet, event: StoredEvent) -> Children:
    """Return the first ``MOST_CHILDREN`` of the visible events that it caused; as of ``parent_of``."""
    caused = visible.filter(causation_id=event.event_id).order_by("position").only(*_NAMED)
    found = list(caused[: MOST_CHILDREN + 1])
    return Children(events=found[:MOST_CHILDREN], has_more=len(found) > MOST_CHILDREN)


def neighbours_of(visible: StoredEventQuerySet, event: StoredEvent) -> tuple[int | None, int | None]:
    """Return the positions of the events before and after it in its stream; a published fact has none."""
    if event.version is None:
        return None, None
    around = visible.filter(
        stream_type__in=names_of(event.stream_type),
        stream_key=event.stream_key,
        version__in=[event.version - 1, event.version + 1],
    )
    positions = dict(around.values_list("version", "position"))
    return positions.get(event.version - 1), positions.get(event.version + 1)


def upcast_of(event: StoredEvent) -> Upcast:
    """Return what its data means today: older versions brought up, what was missing filled with its default."""
    try:
        read = evolution.read(event.type, event.schema_version, canonical.dumps(event.data))
        text = codec.encode(read)
    except (EventUnreadable, EventRefused) as error:
        return Upcast(data=None, problem=str(error))
    data = canonical.loads(text)
    return Upcast(data=data if isinstance(data, dict) else None, problem=None, event=read)
