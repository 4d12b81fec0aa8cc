"""Many streams at once: their events in the order of the keys, where to part them, and which to pick at random.

For what goes through every aggregate of a type. It reads what a fold needs and nothing else, never counts, and looks
only where an index leads.
"""

from __future__ import annotations

import math
import random
from datetime import UTC
from typing import TYPE_CHECKING, Any, NamedTuple

from eventsourcing_app.log.connection import log_connection, reading_cursor
from eventsourcing_app.log.names import names_of
from eventsourcing_app.log.read import WINDOW
from eventsourcing_app.log.records import StoredEvent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    Row = tuple[str, int, int, str, int, str, datetime]
    """Stream key, version, position, wire name, schema version, data as text, and when it was recorded, in UTC."""

_ANY_VERSION = 2**62
_COLUMNS = "stream_key, version, position, type, schema_version"
_ORDER = "ORDER BY stream_key, version"
_PROBES = 500
"""Positions looked up at a time."""
_LUCK = 40
"""Random positions tried for each stream wanted, before the keys are read one after the other instead."""


class Part(NamedTuple):
    """A part of the streams of a type."""

    until: str | None
    """Its last key; ``None`` if the part has no end, so that what comes later belongs to it too."""
    events: int
    """How many events it had when it was parted off."""


def windows(
    stream_type: str, *, after_key: str = "", after_version: int = _ANY_VERSION, until_key: str | None = None
) -> Iterator[list[Row]]:
    """Yield the events of the streams above ``after_key``, up to and including ``until_key``, by key and version.

    With ``after_version`` it begins in the stream of ``after_key`` itself, above that version. Keys are in the order of
    their bytes.
    """
    key, version = after_key, after_version
    while True:
        rows = _window(stream_type, key, version, until_key)
        if rows:
            yield rows
        if len(rows) < WINDOW:
            return
        key, version = rows[-1][:2]


def _window(stream_type: str, key: str, version: int, until_key: str | None) -> list[Any]:
    conditions, params = "(stream_key, version) > (%s, %s)", [key, version]
    if until_key is not None:
        conditions += " AND stream_key <= %s"
        params.append(until_key)
    if log_connection().vendor == "postgresql":
        rows = _in_order(f"{_COLUMNS}, data::text, recorded_at", stream_type, conditions, params, WINDOW)
        # But for sessions with another time zone, they are in UTC.
        return [row if row[6].tzinfo is UTC else (*row[:6], row[6].astimezone(UTC)) for row in rows]
    rows = _in_order(f"{_COLUMNS}, data, recorded_at", stream_type, conditions, params, WINDOW)
    return [(*row[:6], row[6].replace(tzinfo=UTC)) for row in rows]


def part(stream_type: str, *, after_key: str, size: int) -> Part | None:
    """Part off the streams above ``after_key`` that have ``size`` events together, and the rest of the last of them.

    ``None`` if there is none. It walks along the index of the streams, which is cheap beside reading what it leads to.
    """
    columns, above = "stream_key, version", "stream_key > %s"
    found = _in_order(columns, stream_type, above, [after_key], 1, offset=size - 1)
    if not found:
        first, params = _ordered(columns, stream_type, above, [after_key], size)
        ((left,),) = _fetch(f"SELECT count(*) FROM ({first}) AS rest", params)
        return Part(None, left) if left else None
    ((key, version),) = found
    of_key, key_params = _of_type(stream_type)
    last = f"SELECT max(version) FROM {_log()} WHERE {of_key} AND stream_key = %s"
    ((newest,),) = _fetch(last, [*key_params, key])
    return Part(key, size + newest - version)


def with_history(stream_type: str, keys: Sequence[str]) -> set[str]:
    """Return those of ``keys`` that name a stream of the type."""
    conditions, params = _of_type(stream_type)
    places = ", ".join(["%s"] * len(keys))
    sql = f"SELECT stream_key FROM {_log()} WHERE {conditions} AND stream_key IN ({places}) AND version = 1"
    return {key for (key,) in _fetch(sql, [*params, *keys])}


def sample(stream_type: str, *, size: int | None = None, share: float | None = None) -> list[str]:
    """Pick streams at random, each with the same chance, without reading the log: ``size`` of them, or a ``share``.

    Every stream has one first event, so a position that is drawn at random and holds a first event of the type picks
    streams evenly; the other draws are thrown away. Where that would take too many, because the type is rare in the
    log, the keys are read along the index of the streams.
    """
    if share is not None:
        return sorted(key for drawn in _batches(_skipping(share)) for key in _first_events(stream_type, drawn))
    assert size is not None, "either a size or a share"
    last = _last_position()
    found: set[str] = set()
    for _ in range(0, _LUCK * size, _PROBES):
        keys = _first_events(stream_type, [random.randint(1, last) for _ in range(_PROBES)]) if last else []
        random.shuffle(keys)
        for key in keys:
            found.add(key)
            if len(found) == size:
                return sorted(found)
    return sorted(_reservoir(stream_type, size))


def _skipping(share: float) -> Iterator[int]:
    """Draw each position of the log with the same chance: the gaps between them have a geometric distribution."""
    position, last = 0, _last_position()
    while True:
        gap = 1 if share >= 1 else 1 + int(math.log(1 - random.random()) / math.log1p(-share))
        position += gap
        if position > last:
            return
        yield position


def _batches(positions: Iterator[int]) -> Iterator[list[int]]:
    batch: list[int] = []
    for position in positions:
        batch.append(position)
        if len(batch) == _PROBES:
            yield batch
            batch = []
    if batch:
        yield batch


def _first_events(stream_type: str, positions: Sequence[int]) -> list[str]:
    conditions, params = _of_type(stream_type)
    places = ", ".join(["%s"] * len(positions))
    sql = f"SELECT stream_key FROM {_log()} WHERE position IN ({places}) AND {conditions} AND version = 1"
    return [key for (key,) in _fetch(sql, [*positions, *params])]


def _reservoir(stream_type: str, size: int) -> list[str]:
    # Vitter's algorithm R (ACM TOMS 11, 1985): after n keys, each of them is kept with the chance size / n.
    kept: list[str] = []
    for seen, key in enumerate(_keys(stream_type)):
        if seen < size:
            kept.append(key)
        elif (place := random.randint(0, seen)) < size:
            kept[place] = key
    return kept


def _keys(stream_type: str) -> Iterator[str]:
    after = ""
    while True:
        firsts = _in_order("stream_key, version", stream_type, "stream_key > %s AND version = 1", [after], WINDOW)
        keys = [key for key, _version in firsts]
        yield from keys
        if len(keys) < WINDOW:
            return
        after = keys[-1]


def _of_type(stream_type: str) -> tuple[str, list[Any]]:
    """What names the streams of a type, whichever of its names they were stored under. Facts have no version."""
    names = names_of(stream_type)
    return f"stream_type IN ({', '.join(['%s'] * len(names))}) AND version IS NOT NULL", list(names)


def _in_order(
    columns: str, stream_type: str, conditions: str, params: Sequence[Any], limit: int, *, offset: int = 0
) -> list[tuple[Any, ...]]:
    """Fetch events of the streams of a type, by key and version, which are among the columns."""
    sql, all_params = _ordered(columns, stream_type, conditions, params, limit + offset)
    if offset:
        sql = f"SELECT * FROM ({sql}) AS ordered {_ORDER} LIMIT {limit} OFFSET {offset}"
    return _fetch(sql, all_params)


def _ordered(
    columns: str, stream_type: str, conditions: str, params: Sequence[Any], limit: int
) -> tuple[str, list[Any]]:
    """Each name of a renamed type by a walk of its own along the index, of which no more than ``limit`` are taken."""
    names = names_of(stream_type)
    where = f"WHERE stream_type = %s AND version IS NOT NULL AND {conditions}"
    walk = f"SELECT {columns} FROM {_log()} {where} {_ORDER} LIMIT {limit}"
    if len(names) > 1:
        walks = " UNION ALL ".join([f"SELECT * FROM ({walk}) AS walk"] * len(names))
        walk = f"{walks} {_ORDER} LIMIT {limit}"
    return walk, [param for name in names for param in (name, *params)]


def _last_position() -> int:
    ((last,),) = _fetch(f"SELECT max(position) FROM {_log()}", [])
    return last or 0


def _log() -> str:
    return log_connection().ops.quote_name(StoredEvent._meta.db_table)


def _fetch(sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    with reading_cursor(log_connection()) as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())
