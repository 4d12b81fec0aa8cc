"""A correlation: everything that happened because of one request, as trees of causes and effects across streams.

An event belongs below the one that caused it, if that is among the same events and stands before it in the log; so
there can be no circle, whatever causes were stored. All others are roots. Nothing here recurses: a chain may be as long
as the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from eventsourcing_app.access.events import is_text
from eventsourcing_app.context import MAX_CORRELATION_ID
from eventsourcing_app.log.names import names_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import timedelta
    from uuid import UUID

    from eventsourcing_app.log.records import StoredEvent, StoredEventQuerySet

MOST_EVENTS: Final = 500
"""How many events of a correlation are told at a time."""
_NAMED: Final = ("position", "event_id", "type", "correlation_id", "recorded_at")


@dataclass(slots=True, kw_only=True)
class Node:
    """An event, and where it belongs."""

    event: StoredEvent
    level: int
    """0 for a root, else one more than that of its cause."""
    cause: StoredEvent | None
    """What caused it, if that is visible: for a root, an event outside of these."""
    children: list[Node]

    @property
    def is_root(self) -> bool:
        """Whether nothing among these events caused it."""
        return self.level == 0

    @property
    def has_unseen_cause(self) -> bool:
        """Whether it has a cause that is not there for whoever asks."""
        return self.cause is None and self.event.causation_id is not None

    @property
    def since_cause(self) -> timedelta | None:
        """How long after its cause it was recorded."""
        return None if self.cause is None else self.event.recorded_at - self.cause.recorded_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """The events of one correlation, or as many as are told at a time, in order of position."""

    events: Sequence[StoredEvent]
    roots: Sequence[Node]
    streams: Sequence[tuple[str, str]]
    """Type and key of each stream, in the order of its first event. Facts without a key are one stream a topic."""
    has_more: bool

    @property
    def duration(self) -> timedelta | None:
        """From the first event to the last one; ``None`` without events."""
        if not self.events:
            return None
        times = [event.recorded_at for event in self.events]
        return max(times) - min(times)

    def nodes(self) -> Iterator[Node]:
        """Yield every event after its cause, and all that it led to before the next one that its cause led to."""
        waiting = list(reversed(self.roots))
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.children))


def check_correlation_id(text: str) -> None:
    """Raise ``ValueError`` if no event can have it."""
    if not text:
        raise ValueError("A correlation has an id: give it as 'id'.")
    if len(text) > MAX_CORRELATION_ID:
        raise ValueError(f"The id of a correlation has {MAX_CORRELATION_ID} characters at most.")
    if not is_text(text):
        raise ValueError("The id of a correlation cannot contain NUL or half a character.")


def correlation_of(visible: StoredEventQuerySet, correlation_id: str, *, after: int = 0) -> Correlation:
    """Return the first ``MOST_EVENTS`` of the visible events of a correlation above a position; two statements.

    Raises ``ValueError`` for an id that none can have.
    """
    check_correlation_id(correlation_id)
    wanted = visible.filter(correlation_id=correlation_id, position__gt=after).order_by("position")
    events = list(wanted[: MOST_EVENTS + 1])
    has_more, events = len(events) > MOST_EVENTS, events[:MOST_EVENTS]
    return Correlation(
        events=events,
        roots=_roots(events, _outside(visible, events)),
        streams=list(dict.fromkeys(map(stream_of, events))),
        has_more=has_more,
    )


def stream_of(event: StoredEvent) -> tuple[str, str]:
    """Return type and key of the stream of an event; a stream that was renamed goes by its present name."""
    stream_type = event.stream_type if event.version is None else names_of(event.stream_type)[0]
    return stream_type, event.stream_key


def _roots(events: Sequence[StoredEvent], outside: Mapping[UUID, StoredEvent]) -> list[Node]:
    placed: dict[UUID, Node] = {}
    roots = []
    for event in events:  # by position: a cause is placed before what it caused
        above = None if event.causation_id is None else placed.get(event.causation_id)
        if above is None:
            cause = None if event.causation_id is None else outside.get(event.causation_id)
            node = Node(event=event, level=0, cause=cause, children=[])
            roots.append(node)
        else:
            node = Node(event=event, level=above.level + 1, cause=above.event, children=[])
            above.children.append(node)
        placed[event.event_id] = node
    return roots


def _outside(visible: StoredEventQuerySet, events: Sequence[StoredEvent]) -> dict[UUID, StoredEvent]:
    """Return the visible causes that are not among the events: of another correlation, or told before these."""
    known = {event.event_id: event.position for event in events}
    asked = set()
    for event in events:
        if event.causation_id is not None and known.get(event.causation_id, event.position) >= event.position:
            asked.add(event.causation_id)
    if not asked:
        return {}
    return {cause.event_id: cause for cause in visible.filter(event_id__in=list(asked)).only(*_NAMED)}
