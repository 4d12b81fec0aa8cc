"""Where the log is: the connection to its one database, and its model."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import connections, transaction

from eventsourcing_app.conf import conf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

    from eventsourcing_app.log.records import StoredEvent


def log_connection() -> BaseDatabaseWrapper:
    """Return the connection to the one database that holds the log."""
    return connections[conf.DATABASE]


def prepared_cursor(connection: BaseDatabaseWrapper) -> CursorWrapper:
    """Return a cursor for a statement that is run again and again with other parameters.

    Where the settings allow it (``"prepare_threshold"`` in the ``OPTIONS`` of a PostgreSQL database; Django's default
    forbids it, because some connection poolers cannot keep them), the server plans such a statement once a connection.
    Every parameter must have a type that the server can tell: by its column, or by a cast.
    """
    if connection.vendor != "postgresql" or connection.queries_logged:
        return connection.cursor()
    connection.ensure_connection()
    if getattr(connection.connection, "prepare_threshold", None) is None:
        return connection.cursor()
    return _cursor_of_driver(connection)


def reading_cursor(connection: BaseDatabaseWrapper) -> CursorWrapper:
    """Return a cursor for many rows: on PostgreSQL they come in binary, which takes a quarter of the time to read."""
    if connection.vendor != "postgresql" or connection.queries_logged:
        return connection.cursor()
    return _cursor_of_driver(connection, binary=True)


def _cursor_of_driver(connection: BaseDatabaseWrapper, *, binary: bool = False) -> CursorWrapper:
    """Do what ``connection.cursor()`` does, with a cursor that sends parameters apart from the SQL.

    Not where queries are logged: the log is to show them with their parameters, which such a cursor does not know.
    """
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    connection.validate_thread_sharing()
    psycopg: Any = connection.Database  # type: ignore[attr-defined]  # the driver, as each backend has it
    cursor = psycopg.Cursor(connection.connection)
    if binary:
        cursor.format = psycopg.pq.Format.BINARY
    return connection.make_cursor(cursor)


def announce_append(connection: BaseDatabaseWrapper) -> None:
    """Let the open transaction be seen from now on as one that may append, as its first INSERT would.

    No writer waits for another one here. On SQLite nothing is done: there, whoever writes is known as such.
    """
    if connection.vendor == "postgresql":
        table = connection.ops.quote_name(stored_event()._meta.db_table)
        with transaction.mark_for_rollback_on_error(connection.alias), connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")


def stored_event() -> type[StoredEvent]:
    """Return the model of the log. Asked for by name, so that ``publish`` can be imported before models are."""
    return apps.get_model("eventsourcing_app", "StoredEvent")


@contextmanager
def without_waiting(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """On SQLite, fail at once with ``OperationalError`` where the block would wait for another writer's transaction."""
    if connection.vendor != "sqlite":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        (timeout,) = cursor.fetchone()
        cursor.execute("PRAGMA busy_timeout = 0")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {int(timeout)}")
