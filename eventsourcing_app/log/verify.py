"""Verification of the log by itself: every hash, every canonical form, and the versions of every stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eventsourcing_app.events import canonical
from eventsourcing_app.log.connection import log_connection, stored_event
from eventsourcing_app.log.fingerprint import envelope, fingerprint
from eventsourcing_app.log.names import renamed
from eventsourcing_app.log.read import WINDOW, read_window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from eventsourcing_app.log.recorded import RecordedEvent

_UNREADABLE = (AttributeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something about a stored event that cannot be as it was written."""

    position: int
    what: str


def verify(
    *, first: int = 1, last: int | None = None, progress: Callable[[int], None] = lambda _count: None
) -> Iterator[Fault]:
    """Yield what is wrong with the events at positions ``first`` to ``last``, in order, in constant memory.

    ``progress`` is called with the number of events of each window. What was cut off at the end of the log, or of a
    stream, leaves nothing here that could be wrong: comparing rows with their history, and seals, find that.
    """
    after = first - 1
    while True:
        try:
            events: Sequence[RecordedEvent | Fault] = read_window(after=after, until=last)
        except _UNREADABLE:
            events = _one_by_one(after=after, until=last)
        if not events:
            return
        disordered = _disordered(events)
        for recorded in events:
            if isinstance(recorded, Fault):
                yield recorded
            else:
                yield from (Fault(recorded.position, what) for what in _faults(recorded))
            if recorded.position in disordered:
                yield Fault(recorded.position, disordered[recorded.position])
        progress(len(events))
        if len(events) < WINDOW:
            return
        after = events[-1].position


def _one_by_one(*, after: int, until: int | None) -> list[RecordedEvent | Fault]:
    """Read a window in which some row holds what its columns cannot hold: SQLite would take anything."""
    rows = stored_event().objects.using(log_connection().alias).filter(position__gt=after)
    if until is not None:
        rows = rows.filter(position__lte=until)
    events: list[RecordedEvent | Fault] = []
    for position in rows.order_by("position").values_list("position", flat=True)[:WINDOW]:
        try:
            events += read_window(after=position - 1, until=position)
        except _UNREADABLE:
            events.append(Fault(position, "it holds values of another type than its columns have"))
    return events


def _faults(recorded: RecordedEvent) -> Iterator[str]:
    for name, text in (("data", recorded.data_text), ("metadata", recorded.metadata_text)):
        try:
            if canonical.dumps(canonical.loads(text)) != text:
                yield f"its {name} is not canonical JSON"
        except ValueError as error:
            yield f"its {name} is not canonical JSON: {error}"
    try:
        fits = fingerprint(_envelope(recorded)) == recorded.hash
    except _UNREADABLE:
        fits = False
    if not fits:
        yield "its hash does not fit its content"


def _envelope(recorded: RecordedEvent) -> bytes:
    return envelope(
        event_id=recorded.event_id,
        stream_type=recorded.stream_type,
        stream_key=recorded.stream_key,
        version=recorded.version,
        type=recorded.type,
        schema_version=recorded.schema_version,
        data=recorded.data_text,
        metadata=recorded.metadata_text,
        actor=recorded.actor,
        correlation_id=recorded.correlation_id,
        causation_id=recorded.causation_id,
        recorded_at=recorded.recorded_at,
    )


def _disordered(events: Sequence[RecordedEvent | Fault]) -> dict[int, str]:
    """Find events of this window that do not follow the one before them in their stream."""
    first, last = events[0].position, events[-1].position
    groups = list(renamed())
    several = [name for names in groups for name in names]
    among = ", ".join(["%s"] * len(several))
    found = _disordered_of(
        f"e.stream_type NOT IN ({among})" if several else "TRUE",
        "{}.stream_type = e.stream_type",
        [],
        several,
        first,
        last,
    )
    for names in groups:  # the versions of a stream count on over its names
        among = ", ".join(["%s"] * len(names))
        same = f"{{}}.stream_type IN ({among})"
        found |= _disordered_of(f"e.stream_type IN ({among})", same, names, names, first, last)
    return found


def _disordered_of(
    which: str, same_stream: str, names: Sequence[str], of: Sequence[str], first: int, last: int
) -> dict[int, str]:
    connection = log_connection()
    log = connection.ops.quote_name(stored_event()._meta.db_table)
    # The predecessor of version n is version n - 1 at a lower position, recorded no later; version 1 has none.
    sql = f"""
        SELECT e.position,
               e.version = 1 OR EXISTS (
                   SELECT 1 FROM {log} p
                   WHERE {same_stream.format("p")} AND p.stream_key = e.stream_key AND p.version = e.version - 1
                     AND p.position < e.position AND p.recorded_at <= e.recorded_at),
               NOT EXISTS (
                   SELECT 1 FROM {log} t
                   WHERE {same_stream.format("t")} AND t.stream_key = e.stream_key AND t.version = e.version
                     AND t.position <> e.position)
        FROM {log} e WHERE e.position BETWEEN %s AND %s AND e.version IS NOT NULL AND {which}
    """
    found = {}
    with connection.cursor() as cursor:
        cursor.execute(sql, [*names, *names, first, last, *of])
        for position, follows, alone in cursor.fetchall():
            if not follows:
                found[position] = "the event before it in its stream is missing, comes later, or is younger"
            elif not alone:
                found[position] = "another event has its version"
    return found
