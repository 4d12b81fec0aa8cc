"""Where the log is: the connection to its one database, and its model."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.apps import apps
from django.db import connections

from eventsourcing_app.conf import conf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

    from eventsourcing_app.log.records import StoredEvent


def log_connection() -> BaseDatabaseWrapper:
    """Return the connection to the one database that holds the log."""
    return connections[conf.DATABASE]


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
