"""Where the log is: the connection to its one database, and its model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import connections

from eventsourcing_app.conf import conf

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

    from eventsourcing_app.log.records import StoredEvent


def log_connection() -> BaseDatabaseWrapper:
    """Return the connection to the one database that holds the log."""
    return connections[conf.DATABASE]


def reading_cursor(connection: BaseDatabaseWrapper) -> CursorWrapper:
    """Return a cursor for many rows: on PostgreSQL they come in binary, which takes a quarter of the time to read.

    It is psycopg's own cursor on Django's connection, in Django's wrapper (debugging, errors). Django's are bound on
    the client, where psycopg has text only. Whether it prepares statements is left to the connection's settings.
    """
    if connection.vendor != "postgresql":
        return connection.cursor()
    # What connection.cursor() does, with another cursor.
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    connection.validate_thread_sharing()
    psycopg: Any = connection.Database  # type: ignore[attr-defined]  # the driver, as each backend has it
    cursor = psycopg.Cursor(connection.connection)
    cursor.format = psycopg.pq.Format.BINARY
    wrap = connection.make_debug_cursor if connection.queries_logged else connection.make_cursor
    return wrap(cursor)


def stored_event() -> type[StoredEvent]:
    """Return the model of the log. Asked for by name, so that ``publish`` can be imported before models are."""
    return apps.get_model("eventsourcing_app", "StoredEvent")
