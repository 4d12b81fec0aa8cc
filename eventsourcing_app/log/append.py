"""The only writer of the log. Context and clock are read here, once for everything that one call writes."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import transaction

from eventsourcing_app.context import current, reacting
from eventsourcing_app.events import canonical
from eventsourcing_app.exceptions import EventRefused, LogUnsafe, ReactionRefused
from eventsourcing_app.identifiers import uuid7
from eventsourcing_app.log.commits import CommitToken
from eventsourcing_app.log.connection import log_connection, stored_event
from eventsourcing_app.log.errors import discards_translated, require_all_taken
from eventsourcing_app.log.fingerprint import envelope, fingerprint
from eventsourcing_app.log.recorded import COLUMNS
from eventsourcing_app.log.unit import unit_of_writes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from django.db.backends.base.base import BaseDatabaseWrapper

COPY_FROM = 64
"""Batches of at least this many events go to PostgreSQL by COPY, which is faster but tells no positions."""

_SQLITE_ROWS = 500
_WRITTEN = COLUMNS[1:]
_CASTS = ("uuid", "", "", "bigint", "", "smallint", "json", "json", "", "", "uuid", "timestamptz", "bytea")
_MAX_STREAM_KEY = 255


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


class Appended(NamedTuple):
    """What a call of ``append`` wrote."""

    position: int
    """Position of the last event."""
    last: dict[tuple[str, str], int]
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
        positions = write(connection, rows, state)
    if positions is None:
        return None
    last = {(event.stream_type, event.stream_key): position for event, position in zip(events, positions, strict=True)}
    token = CommitToken(
        connection,
        stored_event(),
        event_id=rows[-1][0],
        position=positions[-1],
        count=len(events),
        types=frozenset(event.type for event in events),
    )
    if unit is not None:
        unit.writes.append(token)
    return Appended(positions[-1], last, token)


def _check(connection: BaseDatabaseWrapper, events: Sequence[NewEvent], repeatable: bool) -> None:
    reaction = reacting.get()
    if reaction is not None and reaction.kind == "projection":
        raise ReactionRefused(
            f"{reaction.subscription} is a projection (or a transactional subscriber) and tried to append "
            f"{events[0].type!r}: its transaction would hold back every reader of the log. Append from an ordinary "
            "@subscriber instead."
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
    shared: dict[str, Any] = {
        "metadata": canonical.dumps(context.metadata),
        "actor": context.resolve_actor(),
        "correlation_id": context.correlation_id or str(event_ids[0]),
        "causation_id": context.causation_id,
        "recorded_at": recorded_at,
    }
    rows = []
    for event_id, event in zip(event_ids, events, strict=True):
        columns: dict[str, Any] = {"event_id": event_id, **event._asdict(), **shared}
        rows.append((*columns.values(), fingerprint(envelope(**columns))))
    return rows


def _insert(connection: BaseDatabaseWrapper) -> str:
    quote = connection.ops.quote_name
    return f"INSERT INTO {quote(stored_event()._meta.db_table)} ({', '.join(map(quote, _WRITTEN))})"


def _append_postgresql(
    connection: BaseDatabaseWrapper, rows: list[tuple[Any, ...]], state: StateWrite | None
) -> list[int] | None:
    if len(rows) >= COPY_FROM:
        return _copy(connection, rows, state)
    values = ", ".join(["(" + ", ".join(["%s"] * len(_WRITTEN)) + ")"] * len(rows))
    params: list[Any] = list(chain.from_iterable(rows))
    written, insert = f"{len(rows)}", f"{_insert(connection)} VALUES {values}"
    head = "WITH"
    if state is not None:
        head = f"WITH state AS ({state.sql} RETURNING 1),"
        columns = ", ".join(
            f"v.{name}::{cast}" if cast else f"v.{name}" for name, cast in zip(_WRITTEN, _CASTS, strict=True)
        )
        insert = (
            f"{_insert(connection)} SELECT {columns} FROM (VALUES {values}) AS v ({', '.join(_WRITTEN)}) "
            "WHERE EXISTS (SELECT FROM state)"
        )
        written = f"(SELECT count(*) FROM state) * {len(rows)}"
        params = [*state.params, *params]
    # Divides by zero, and so undoes the whole statement, if the log has not taken every event.
    sql = (
        f"{head} stored AS ({insert} RETURNING position) SELECT array_agg(position ORDER BY position), "
        f"1 / CASE WHEN count(*) = {written} THEN 1 ELSE 0 END FROM stored"
    )
    with discards_translated(), connection.cursor() as cursor:
        cursor.execute(sql, params)
        positions: list[int] | None = cursor.fetchone()[0]
    return positions


def _copy(connection: BaseDatabaseWrapper, rows: list[tuple[Any, ...]], state: StateWrite | None) -> list[int] | None:
    quote = connection.ops.quote_name
    sql = f"COPY {quote(stored_event()._meta.db_table)} ({', '.join(map(quote, _WRITTEN))}) FROM STDIN"
    with transaction.atomic(using=connection.alias, savepoint=False), connection.cursor() as cursor:
        if state is not None and not _write_state(cursor, state):
            return None
        # Django wraps the errors of execute(), not of copy().
        with connection.wrap_database_errors, cursor.copy(sql) as copy:
            for row in rows:
                copy.write_row(row)
        # COPY returns nothing; the unique index on event_id finds the rows again.
        cursor.execute(
            f"SELECT event_id, position FROM {quote(stored_event()._meta.db_table)} WHERE event_id = ANY(%s)",
            [[row[0] for row in rows]],
        )
        found: dict[UUID, int] = dict(cursor.fetchall())
        require_all_taken(len(found), len(rows))
    return [found[row[0]] for row in rows]


def _append_sqlite(
    connection: BaseDatabaseWrapper, rows: list[tuple[Any, ...]], state: StateWrite | None
) -> list[int] | None:
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
            cursor.execute(f"{_insert(connection)} VALUES {values} RETURNING position", params)
            # There is one writer and no gap: the order of the positions is the order of the rows.
            positions += sorted(row[0] for row in cursor.fetchall())
        require_all_taken(len(positions), len(rows))
    return positions


def _write_state(cursor: Any, state: StateWrite) -> bool:
    cursor.execute(state.sql, state.params)
    changed: bool = cursor.rowcount == 1
    return changed
