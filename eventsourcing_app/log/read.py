"""Readers of the log: windows by key, so that memory stays constant and no page is ever counted or skipped over."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from eventsourcing_app.log.connection import log_connection, reading_cursor
from eventsourcing_app.log.names import names_of
from eventsourcing_app.log.recorded import COLUMNS, FROM_ROW, RecordedEvent
from eventsourcing_app.log.records import StoredEvent

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from uuid import UUID

    from django.db.backends.base.base import BaseDatabaseWrapper

WINDOW = 500
"""Events fetched at a time: large enough to be fast, small enough to be decoded while still in the cache."""

_DISTINCT = """
WITH RECURSIVE found ({column}) AS (
    SELECT min({column}) FROM {log} UNION ALL
    SELECT (SELECT min({column}) FROM {log} l WHERE l.{column} > found.{column}) FROM found
    WHERE found.{column} IS NOT NULL
) SELECT {column} FROM found WHERE {column} IS NOT NULL ORDER BY {column}
"""
_SHORT = """
SELECT {columns}, found FROM (
    SELECT *, sum({length}) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) - {length} AS before,
        count(*) OVER () AS found
    FROM ({window}) AS read
) AS measured WHERE before < {most} ORDER BY {order}
"""


class Window(NamedTuple):
    """Events that follow one another, and whether they are all that there are."""

    events: list[RecordedEvent]
    is_whole: bool


_LENGTH = {
    "postgresql": "(octet_length(data) + octet_length(metadata))",
    "sqlite": "(length(CAST(data AS BLOB)) + length(CAST(metadata AS BLOB)))",
}


def read(
    *, after: int = 0, until: int | None = None, types: Collection[str] | None = None, window: int = WINDOW
) -> Iterator[RecordedEvent]:
    """Yield the events at positions above ``after``, up to and including ``until``, in order.

    ``types`` keeps only these wire names. Without ``until`` the reader ends where the log ends when it gets there; a
    reader that must not miss an event of an open transaction passes the settled position.
    """
    while True:
        events = read_window(after=after, until=until, types=types, limit=window)
        yield from events
        if len(events) < window:
            return
        after = events[-1].position


def read_window(
    *,
    after: int,
    until: int | None = None,
    types: Collection[str] | None = None,
    limit: int = WINDOW,
) -> list[RecordedEvent]:
    """Return the first ``limit`` events above ``after``; the arguments are those of ``read``."""
    if types is not None and not types:
        return []
    return _fetch(*_between(after, until, types), "position", limit)


def read_bounded(
    *,
    after: int,
    until: int | None = None,
    types: Collection[str] | None = None,
    limit: int = WINDOW,
    max_bytes: int,
) -> Window:
    """Return the first ``limit`` events above ``after``, or fewer, but one at least: no more than it takes for their
    texts to be ``max_bytes`` long, as the database counts. Whether others follow only the database can tell.
    """
    if types is not None and not types:
        return Window([], is_whole=True)
    connection = log_connection()
    conditions, params = _between(after, until, types)
    # The limit stays inside: so the database looks at no more rows than it would without.
    window = _window(connection, conditions, "position", limit)
    length = _LENGTH[connection.vendor]
    columns = ", ".join(COLUMNS)
    sql = _SHORT.format(columns=columns, length=length, window=window, order="position", most=int(max_bytes))
    make = FROM_ROW[connection.vendor]
    with reading_cursor(connection) as cursor:
        cursor.execute(sql, params)
        rows = cursor.fetchall()
    found = rows[0][-1] if rows else 0
    return Window([make(row[:-1]) for row in rows], is_whole=len(rows) == found < limit)


def _between(after: int, until: int | None, types: Collection[str] | None) -> tuple[list[str], list[Any]]:
    conditions: list[str] = ["position > %s"]
    params: list[Any] = [after]
    if until is not None:
        conditions.append("position <= %s")
        params.append(until)
    if types is not None:
        conditions.append(f"type IN ({', '.join(['%s'] * len(types))})")
        params += sorted(types)
    return conditions, params


def types_in_log() -> list[str]:
    """Return the wire name of every event in the log, in order. Costs one look into the index for each."""
    return _distinct("type")


def stream_types_in_log() -> list[str]:
    """Return the name of every kind of stream in the log, topics included; as ``types_in_log``."""
    return _distinct("stream_type")


def _distinct(column: str) -> list[str]:
    log = log_connection().ops.quote_name(StoredEvent._meta.db_table)
    with log_connection().cursor() as cursor:
        cursor.execute(_DISTINCT.format(log=log, column=column))
        return [name for (name,) in cursor.fetchall()]


def read_by_id(event_ids: Sequence[UUID]) -> list[RecordedEvent]:
    """Return those of these events that are in the log, in order of position."""
    connection = log_connection()
    found: list[RecordedEvent] = []
    for start in range(0, len(event_ids), WINDOW):
        part = event_ids[start : start + WINDOW]
        keys = [each if connection.features.has_native_uuid_field else each.hex for each in part]
        found += _fetch([f"event_id IN ({', '.join(['%s'] * len(keys))})"], keys, "position", WINDOW)
    return sorted(found, key=attrgetter("position"))


def read_stream(
    stream_type: str,
    stream_key: str,
    *,
    after_version: int = 0,
    until_version: int | None = None,
    window: int = WINDOW,
) -> Iterator[RecordedEvent]:
    """Yield the events of one aggregate above ``after_version``, up to and including ``until_version``, in order.

    Of a stream that was renamed, all of it, whichever of its names is given.
    """
    names = names_of(stream_type)
    while True:
        conditions = ["stream_key = %s", "version > %s"]
        params: list[Any] = [stream_key, after_version]
        if until_version is not None:
            conditions.append("version <= %s")
            params.append(until_version)
        events = _fetch_named(names, conditions, params, "version", window)
        yield from events
        if len(events) < window:
            return
        after_version = events[-1].version or 0


def _fetch_named(
    names: tuple[str, ...], conditions: list[str], params: list[Any], order: str, limit: int
) -> list[RecordedEvent]:
    """Fetch a window of streams, under each of their names, in one statement.

    Of one moment, because while a rename is rolled out both names are written: read one after the other, a version
    could be missed that the next one follows. Each part is read along the unique index, and only a window of each.
    """
    part = ["stream_type = %s", *conditions]
    return _fetch_parts([part] * len(names), [each for name in names for each in (name, *params)], order, limit)


def _fetch(conditions: list[str], params: list[Any], order: str, limit: int) -> list[RecordedEvent]:
    return _fetch_parts([conditions], params, order, limit)


def _fetch_parts(parts: list[list[str]], params: list[Any], order: str, limit: int) -> list[RecordedEvent]:
    connection = log_connection()
    windows = [_window(connection, conditions, order, limit) for conditions in parts]
    sql = windows[0]
    if len(windows) > 1:
        united = " UNION ALL ".join(f"SELECT * FROM ({each}) AS part" for each in windows)
        sql = f"{united} {_end(order, limit)}"
    make = FROM_ROW[connection.vendor]
    with reading_cursor(connection) as cursor:
        cursor.execute(sql, params)
        return [make(row) for row in cursor.fetchall()]


def _window(connection: BaseDatabaseWrapper, conditions: list[str], order: str, limit: int) -> str:
    return f"{_select(connection)} WHERE {' AND '.join(conditions)} {_end(order, limit)}"


def _end(order: str, limit: int) -> str:
    return f"ORDER BY {order} LIMIT {int(limit)}"


def _select(connection: BaseDatabaseWrapper) -> str:
    text = "{0}::text AS {0}" if connection.vendor == "postgresql" else "{0}"
    columns = [text.format(name) if name in ("data", "metadata") else name for name in COLUMNS]
    return f"SELECT {', '.join(columns)} FROM {connection.ops.quote_name(StoredEvent._meta.db_table)}"
