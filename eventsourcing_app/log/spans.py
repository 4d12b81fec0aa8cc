"""Reader of parts of many streams, each up to the last event that was recorded in time. Memory stays constant.

What comes after is not looked at, however much it is: a list of a past long gone costs no more for what has happened
since. The statements are written so that no database walks through more of a stream than it gives out, unless it was
renamed: then what it has under each name is sorted together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventsourcing_app.log.connection import log_connection, reading_cursor
from eventsourcing_app.log.names import names_of
from eventsourcing_app.log.read import WINDOW
from eventsourcing_app.log.recorded import COLUMNS, FROM_ROW, RecordedEvent
from eventsourcing_app.log.records import StoredEvent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from django.db.backends.base.base import BaseDatabaseWrapper

    Span = tuple[str, int, int]
    """A stream key, the first version that is wanted, and the first after it that is not."""

# The first event that is too late, found by a walk that ends with it. The condition on the time is kept from choosing
# another way, the index of times: that would be a walk through all of the log, once for each stream.
_FIRST_LATE = {
    "postgresql": """
SELECT walk.version FROM (
    SELECT version, recorded_at FROM {log} l
    WHERE l.stream_type IN ({names}) AND l.stream_key = wanted.stream_key AND l.version >= since
    ORDER BY l.version LIMIT 4611686018427387904
) AS walk WHERE walk.recorded_at > %s ORDER BY walk.version LIMIT 1
""",
    "sqlite": """
SELECT l.version FROM {log} l
WHERE l.stream_type IN ({names}) AND l.stream_key = wanted.stream_key AND l.version >= since AND +l.recorded_at > %s
ORDER BY l.version LIMIT 1
""",
}
_BOUNDS = """
WITH wanted (stream_key, since, late) AS (VALUES {wanted})
SELECT stream_key, COALESCE(
    ({first_late}),
    (SELECT max(version) + 1 FROM {log} m WHERE m.stream_type IN ({names}) AND m.stream_key = wanted.stream_key)
) FROM wanted
"""

# Each stream by its own walk through the index; without LATERAL, PostgreSQL may merge with all streams of the type.
_EVENTS = {
    "postgresql": """
WITH wanted (stream_key, since, late) AS (VALUES {wanted})
SELECT {columns} FROM wanted CROSS JOIN LATERAL (
    SELECT * FROM {log} l
    WHERE l.stream_type IN ({names}) AND l.stream_key = wanted.stream_key AND l.version >= since AND l.version < late
    ORDER BY l.version LIMIT {limit}
) AS e ORDER BY e.stream_key, e.version
""",
    "sqlite": """
WITH wanted (stream_key, since, late) AS (VALUES {wanted})
SELECT {columns} FROM wanted CROSS JOIN {log} e
WHERE e.stream_type IN ({names}) AND e.stream_key = wanted.stream_key AND e.version >= since AND e.version < late
ORDER BY e.stream_key, e.version LIMIT {limit}
""",
}


def read_until(
    stream_type: str, since: Mapping[str, int], *, until_time: datetime, window: int = WINDOW
) -> Iterator[RecordedEvent]:
    """Yield, stream after stream, the events of several aggregates of a type.

    ``since`` says with which version of each stream to begin; it ends before its first event that was recorded after
    ``until_time``. Streams come in the order of the bytes of their keys, each in the order of its versions. One query
    finds where they end, and each further one fetches ``window`` events.
    """
    connection = log_connection()
    batch: list[Span] = []
    room = window
    for key, begin, late in _bounded(connection, stream_type, since, until_time):
        first = begin
        while first < late:
            end = min(late, first + room)
            batch.append((key, first, end))
            room -= end - first
            first = end
            if not room:
                yield from _fetch(connection, stream_type, batch, window)
                batch, room = [], window
    if batch:
        yield from _fetch(connection, stream_type, batch, window)


def _bounded(
    connection: BaseDatabaseWrapper, stream_type: str, since: Mapping[str, int], until_time: datetime
) -> list[Span]:
    if not since:
        return []
    moment = connection.ops.adapt_datetimefield_value(until_time)
    names = names_of(stream_type)
    spans = [(key, first, first) for key, first in since.items()]
    bounds = _BOUNDS.replace("{first_late}", _FIRST_LATE[connection.vendor])
    statement, params = _about(connection, bounds, spans, names)
    with connection.cursor() as cursor:
        cursor.execute(statement, [*params, *names, moment, *names])
        late: dict[str, int | None] = dict(cursor.fetchall())
    return [(key, first, late[key] or 0) for key, first in sorted(since.items())]


def _fetch(connection: BaseDatabaseWrapper, stream_type: str, spans: Sequence[Span], limit: int) -> list[RecordedEvent]:
    text = "e.{}::text" if connection.vendor == "postgresql" else "e.{}"
    columns = ", ".join(text.format(name) if name in ("data", "metadata") else f"e.{name}" for name in COLUMNS)
    names = names_of(stream_type)
    statement, params = _about(
        connection, _EVENTS[connection.vendor], spans, names, columns=columns, limit=str(int(limit))
    )
    make = FROM_ROW[connection.vendor]
    with reading_cursor(connection) as cursor:
        cursor.execute(statement, [*params, *names])
        return [make(row) for row in cursor.fetchall()]


def _about(
    connection: BaseDatabaseWrapper, statement: str, spans: Sequence[Span], names: Sequence[str], **parts: str
) -> tuple[str, list[Any]]:
    """Put the spans into a statement. Keys are given the collation of the log's: two that differ do not compare."""
    key = 'CAST(%s AS varchar) COLLATE "C"' if connection.vendor == "postgresql" else "%s"
    wanted = ", ".join([f"({key}, CAST(%s AS bigint), CAST(%s AS bigint))"] * len(spans))
    log = connection.ops.quote_name(StoredEvent._meta.db_table)
    marks = ", ".join(["%s"] * len(names))
    return statement.format(wanted=wanted, log=log, names=marks, **parts), [part for span in spans for part in span]
