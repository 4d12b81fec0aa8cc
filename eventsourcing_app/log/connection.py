"""Where the log is: the connection to its one database, and its model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import apps
from django.db import connections

from eventsourcing_app.conf import conf

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from eventsourcing_app.log.records import StoredEvent


def log_connection() -> BaseDatabaseWrapper:
    """Return the connection to the one database that holds the log."""
    return connections[conf.DATABASE]


def stored_event() -> type[StoredEvent]:
    """Return the model of the log. Asked for by name, so that ``publish`` can be imported before models are."""
    return apps.get_model("eventsourcing_app", "StoredEvent")
