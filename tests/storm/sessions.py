"""Sessions beside Django's own, and what they do to the log: for tests that need one open append, not a storm."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
from django.db import connection, transaction

from eventsourcing_app.log.records import SettledPosition
from eventsourcing_app.log.settled import settled_position
from tests.storm.run import dsn
from tests.storm.sql import APPEND, LOG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Connect = Callable[[], psycopg.Connection]


@contextmanager
def sessions() -> Iterator[Connect]:
    """Open sessions on call and end them all, prepared transactions included: nothing may outlive the test."""
    opened: list[psycopg.Connection] = []

    def connect() -> psycopg.Connection:
        opened.append(psycopg.connect(dsn(), autocommit=True))
        return opened[-1]

    try:
        yield connect
    finally:
        for session in opened:
            session.close()
        forget_prepared()


def forget_prepared() -> None:
    """Roll back every prepared transaction of the tests' database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
        for (gid,) in cursor.fetchall():
            cursor.execute(f"ROLLBACK PREPARED '{gid}'")


def append(session: psycopg.Connection, rows: int = 1) -> int:
    """Append in the session's transaction, and return the last position drawn."""
    given = {"stream": str(uuid4()), "version": 0, "rows": rows}
    drawn = session.execute(APPEND, given).fetchall()
    return int(drawn[-1][0])


def begin_append(session: psycopg.Connection) -> int:
    session.execute("BEGIN")
    return append(session)


def append_here() -> int:
    """Append on Django's connection, on either database."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {LOG} (event_id, stream_type, stream_key, version, type, schema_version, data, metadata, "
            "actor, correlation_id, recorded_at, hash) "
            "VALUES (%s, 'here', %s, 1, 'storm.happened', 1, '{}', '{}', '', '', CURRENT_TIMESTAMP, '')",
            [uuid4().hex, str(uuid4())],
        )
        cursor.execute(f"SELECT max(position) FROM {LOG}")
        return int(cursor.fetchone()[0])


def settle() -> int:
    """Ask as often as a reader would until nothing more can be expected without another commit."""
    return max(settled_position() for _ in range(3))


def shared() -> tuple[int, int | None, list[str]]:
    row = SettledPosition.objects.get()
    return row.settled, row.candidate, row.holders


def run_sql(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


@contextmanager
def another_role() -> Iterator[None]:
    """A role that owns nothing, in a transaction that is rolled back."""
    with transaction.atomic():
        run_sql("CREATE ROLE eventsourcing_reader")
        run_sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO eventsourcing_reader")
        run_sql("SET LOCAL ROLE eventsourcing_reader")
        yield
        run_sql("RESET ROLE")
        transaction.set_rollback(True)
