"""The only writer of the log. Context and clock are read here, once for everything that one call writes."""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from django.db import transaction

from eventsourcing_app.conf import conf
from eventsourcing_app.context import current, reacting
from eventsourcing_app.events import canonical
from eventsourcing_app.exceptions import CausationTooDeep, EventRefused, LogUnsafe, ReactionRefused
from eventsourcing_app.failpoints import reach
from eventsourcing_app.identifiers import uuid7
from eventsourcing_app.log.clock import timestamp
from eventsourcing_app.log.commits import CommitToken
from eventsourcing_app.log.connection import log_connection, prepared_cursor, stored_event
from eventsourcing_app.log.errors import discards_translated, require_all_taken
from eventsourcing_app.log.fingerprint import envelope_of_text, fingerprint
from eventsourcing_app.log.recorded import COLUMNS
from eventsourcing_app.log.unit import unit_of_writes
from eventsourcing_app.log.watch import Written, watchers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from django.db.backends.base.base import BaseDatabaseWrapper

Last: TypeAlias = "dict[tuple[str, str], int]"
"""Position of the last event of each stream, by stream type and key."""

COPY_FROM = 64
"""Batches of at least this many events go to PostgreSQL by COPY, which is faster but tells no positions."""

_SQLITE_ROWS = 500
_WRITTEN = COLUMNS[1:]
_CASTS = ("uuid", "", "", "bigint", "", "smallint", "json", "json", "", "", "uuid", "timestamptz", "bytea")
_MAX_STREAM_KEY = 255
_TAKEN = "SELECT array_agg(position ORDER BY position), 1 / (count(*) = {written})::int FROM stored"
"""Divides by zero, and so undoes the whole statement, unless every event was taken."""


class NewEvent(NamedTuple):
    """An event to be appended. ``data`` is its canonical JSON text."""

    stream_type: str
    stream_key: str
    version: int | None
    type: str
    schema_version: int
    data: str


class StateWrite(NamedTuple):
    """The statement that writes an aggregate's row. If it changes no row, no event is appended either."""

    sql: str
    params: Sequence[Any]


class CompiledWrite(StateWrite):
    """One that Django has compiled: the server could not tell the types of its parameters, so it is never prepared."""

    __slots__ = ()


class _Places(NamedTuple):
    """Where events were written."""

    last: Last
    each: Sequence[int] | None
    """``None`` where COPY has not told it."""


class Appended(NamedTuple):
    """What a call of ``append`` wrote."""

    position: int
    """Position of the last event."""
    last: Last
    """Position of the last event of each stream."""
    token: CommitToken
    """Tells whether the write still stands."""


def append(
    events: Sequence[NewEvent], *, recorded_at: datetime, state: StateWrite | None = None, repeatable: bool = False
) -> Appended | None:
    """Append ``events`` in their order, all of them or none.

    With ``state``, row and events are written together: in one statement on PostgreSQL. Returns ``None``, having
    written nothing, if ``state`` changed no row. ``repeatable`` says that running the caller twice writes once.

    Raises ``IntegrityError`` for a taken version (see ``log.errors``), ``ReactionRefused`` inside a projection, or
    inside a subscriber unless ``repeatable``, and ``EventRefused`` for a stream key that is too long.
    """
    connection = log_connection()
    unit = unit_of_writes()
    _check(connection, events, repeatable or (unit is not None and unit.repeatable))
    rows = _rows(events, recorded_at)
    write = _append_postgresql if connection.vendor == "postgresql" else _append_sqlite
    # A caller that keeps an error of the database to itself must not believe that what it wrote before will be kept.
    with transaction.mark_for_rollback_on_error(connection.alias):
        places = write(connection, rows, state)
    if places is None:
        return None
    last = places.last
    reach("append.inserted")
    position = last[events[-1].stream_type, events[-1].stream_key]
    for watch in watchers.get():
        watch(Written(rows, places.each))
    token = CommitToken(
        connection,
        stored_event(),
        event_id=rows[-1][0],
        position=position,
        count=len(events),
        types=frozenset(event.type for event in events),
    )
    if unit is not None:
        unit.writes.append(token)
        unit.moment = recorded_at
    return Appended(position, last, token)


def _check(connection: BaseDatabaseWrapper, events: Sequence[NewEvent], repeatable: bool) -> None:
    reaction = reacting.get()
    if reaction is not None and reaction.kind == "projection":
        raise ReactionRefused(
            f"{reaction.subscription} is a projection (or a transactional subscriber) and tried to append "
            f"{events[0].type!r}: its transaction would hold back every reader of the log. Append from an ordinary "
            "@subscriber instead."
        )
    if reaction is not None and reaction.depth > conf.MAX_CAUSATION_DEPTH:
        raise CausationTooDeep(
            f"{reaction.subscription} tried to append {events[0].type!r} as number {reaction.depth} of a chain of "
            "events, each of them caused by a subscriber that handled the one before: they react to one another, it "
            "seems. Let one of them look whether there is anything left to do. If such long chains are meant, raise "
            "EVENTSOURCING['MAX_CAUSATION_DEPTH']."
        )
    if reaction is not None and reaction.kind == "batch" and not repeatable:
        raise ReactionRefused(
            f"{reaction.subscription} handles lists of events and tried to append {events[0].type!r}: after a crash "
            "the events come in other lists and the write would happen twice. Give the command a key of its own, such "
            "as objects.once(str(recorded.event_id)), or handle one event at a time."
        )
    if reaction is not None and not repeatable:
        raise ReactionRefused(
            f"{reaction.subscription} tried to save() inside a subscriber: after a crash the event is handled "
            "again and the write would happen twice. Use objects.perform(), objects.perform_new(), publish() or a "
            "@flow, which do not repeat themselves."
        )
    if not connection.get_autocommit() and not connection.in_atomic_block:
        raise LogUnsafe("Autocommit is off: use transaction.atomic() around writes to the log instead.")
    for event in events:
        if len(event.stream_key) > _MAX_STREAM_KEY or "\x00" in event.stream_key:
            raise EventRefused(event.type, "stream_key", f"longer than {_MAX_STREAM_KEY} characters, or contains NUL.")


def _rows(events: Sequence[NewEvent], recorded_at: datetime) -> list[tuple[Any, ...]]:
    context = current()
    event_ids = [uuid7() for _ in events]
    actor, metadata = context.resolve_actor(), canonical.dumps(context.metadata)
    correlation_id, causation_id = context.correlation_id or str(event_ids[0]), context.causation_id
    moment, cause = timestamp(recorded_at), None if causation_id is None else str(causation_id)
    rows: list[tuple[Any, ...]] = []
    for event_id, (stream_type, stream_key, version, type_, schema_version, data) in zip(
        event_ids, events, strict=True
    ):
        sealed = envelope_of_text(
            *(actor, cause, correlation_id, data, str(event_id), metadata, moment),
            *(schema_version, stream_key, stream_type, type_, version),
        )
        rows.append(
            (
                *(event_id, stream_type, stream_key, version, type_, schema_version, data, metadata),
                *(actor, correlation_id, causation_id, recorded_at, fingerprint(sealed)),
            )
        )
    return rows


def _insert() -> str:
    quote = log_connection().ops.quote_name
    return f"INSERT INTO {quote(stored_event()._meta.db_table)} ({', '.join(map(quote, _WRITTEN))})"


def _append_postgresql(
    connection: BaseDatabaseWrapper, rows: list[tuple[Any, ...]], state: StateWrite | None
) -> _Places | None:
    if len(rows) >= COPY_FROM:
        return _copy(connection, rows, state)
    params: list[Any] = list(chain.from_iterable(rows))
    if state is not None:
        params = [*state.params, *params]
    sql = _statement(None if state is None else state.sql, len(rows))
    compiled = isinstance(state, CompiledWrite)
    with discards_translated(), connection.cursor() if compiled else prepared_cursor(connection) as cursor:
        cursor.execute(sql, params)
        positions: list[int] | None = cursor.fetchone()[0]
    return None if positions is None else _places(rows, positions)


def _places(rows: list[tuple[Any, ...]], positions: list[int]) -> _Places:
    return _Places({(row[1], row[2]): position for row, position in zip(rows, positions, strict=True)}, positions)


@lru_cache(maxsize=1024)
def _statement(state: str | None, rows: int) -> str:
    """The one statement that writes a row and its events; it undoes itself unless the log takes all of them."""
    first = ", ".join(f"%s::{cast}" if cast else "%s" for cast in _CASTS)
    values = f"VALUES ({first})" + f", ({', '.join(['%s'] * len(_CASTS))})" * (rows - 1)
    if state is None:
        return f"WITH stored AS ({_insert()} {values} RETURNING position) {_TAKEN.format(written=rows)}"
    return (
        f"WITH state AS ({state} RETURNING 1), stored AS ({_insert()} SELECT v.* FROM state, ({values}) AS v "
        f"RETURNING position) {_TAKEN.format(written=f'(SELECT count(*) FROM state) * {rows}')}"
    )


def _copy(connection: BaseDatabaseWrapper, rows: list[tuple[Any, ...]], state: StateWrite | None) -> _Places | None:
    quote = connection.ops.quote_name
    table = quote(stored_event()._meta.db_table)
    sql = f"COPY {table} ({', '.join(map(quote, _WRITTEN))}) FROM STDIN"
    with transaction.atomic(using=connection.alias, savepoint=False), connection.cursor() as cursor:
        if state is not None and not _write_state(cursor, state):
            return None
        # Django wraps the errors of execute(), not of copy().
        with connection.wrap_database_errors, cursor.copy(sql) as copy:
            for row in rows:
                copy.write_row(row)
        require_all_taken(cursor.rowcount, len(rows))
        # COPY tells no positions; the unique index on event_id finds the last event of each stream again.
        streams = {(row[1], row[2]): row[0] for row in rows}
        cursor.execute(f"SELECT event_id, position FROM {table} WHERE event_id = ANY(%s)", [list(streams.values())])
        found: dict[UUID, int] = dict(cursor.fetchall())
        require_all_taken(len(found), len(streams))
    return _Places({stream: found[event_id] for stream, event_id in streams.items()}, None)


def _append_sqlite(
    connection: BaseDatabaseWrapper, rows: list[tuple[Any, ...]], state: StateWrite | None
) -> _Places | None:
    adapt_time = connection.ops.adapt_datetimefield_value
    positions: list[int] = []
    with transaction.atomic(using=connection.alias, savepoint=False), connection.cursor() as cursor:
        if state is not None and not _write_state(cursor, state):
            return None
        for start in range(0, len(rows), _SQLITE_ROWS):
            part = rows[start : start + _SQLITE_ROWS]
            values = ", ".join(["(" + ", ".join(["%s"] * len(_WRITTEN)) + ")"] * len(part))
            params: list[Any] = []
            for row in part:
                causation = None if row[10] is None else row[10].hex
                params += (row[0].hex, *row[1:10], causation, adapt_time(row[11]), row[12])
            cursor.execute(f"{_insert()} VALUES {values} RETURNING position", params)
            # There is one writer and no gap: the order of the positions is the order of the rows.
            positions += sorted(row[0] for row in cursor.fetchall())
        require_all_taken(len(positions), len(rows))
    return _places(rows, positions)


def _write_state(cursor: Any, state: StateWrite) -> bool:
    cursor.execute(state.sql, state.params)
    changed: bool = cursor.rowcount == 1
    return changed
