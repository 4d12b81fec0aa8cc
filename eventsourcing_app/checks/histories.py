"""Checks of rows and streams against each other: rows whose history has not begun, streams that no model owns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core import checks
from django.db import DatabaseError, connections, transaction

from eventsourcing_app.access.streams import models_by_stream_type
from eventsourcing_app.aggregates.model import EventSourcedModel
from eventsourcing_app.aggregates.plain_rows import plain_rows
from eventsourcing_app.conf import conf
from eventsourcing_app.events.registry import registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

_NAMED = 5


def check_histories(*, databases: Sequence[str] | None = None, **_kwargs: Any) -> list[checks.CheckMessage]:
    """Check the log's database, if it is among those to be checked and can hold a log at all."""
    if conf.DATABASE not in (databases or ()) or conf.DATABASE not in connections:
        return []
    connection = connections[conf.DATABASE]
    if connection.vendor not in ("postgresql", "sqlite"):
        return []
    tables = set(connection.introspection.table_names())
    found = [_not_adopted(model) for model in _models() if _has_unadopted_rows(model, tables)]
    log = apps.get_model("eventsourcing_app", "StoredEvent")
    if log._meta.db_table in tables:
        unowned = _unowned(connection, log._meta.db_table)
        if unowned:
            found.append(_no_model(unowned))
    return found


def _models() -> Iterator[type[EventSourcedModel]]:
    for model in apps.get_models():
        if issubclass(model, EventSourcedModel) and not model._meta.proxy:
            yield model


def _has_unadopted_rows(model: type[EventSourcedModel], tables: set[str]) -> bool:
    if model._meta.db_table not in tables:
        return False  # not migrated yet
    rows = plain_rows(model)
    try:
        with transaction.atomic(using=conf.DATABASE):
            return rows.filter(version=0).exists()
    except DatabaseError:
        return False  # the migration that adds the column is still to come


def _unowned(connection: BaseDatabaseWrapper, log: str) -> list[str]:
    """Return the names of streams in the log that belong to no model and are no topic."""
    table = connection.ops.quote_name(log)
    with connection.cursor() as cursor:
        # Jumps from name to name in the index; DISTINCT would read the whole log.
        cursor.execute(
            f"WITH RECURSIVE stored (name) AS (SELECT min(stream_type) FROM {table} UNION ALL"
            f" SELECT (SELECT min(stream_type) FROM {table} WHERE stream_type > stored.name) FROM stored"
            " WHERE name IS NOT NULL) SELECT name FROM stored WHERE name IS NOT NULL"
        )
        stored = [row[0] for row in cursor.fetchall()]
    topics = {name for declaration in registry.all() for name in declaration.names}
    known = topics.union(models_by_stream_type())
    return [name for name in stored if name not in known]


def _not_adopted(model: type[EventSourcedModel]) -> checks.CheckMessage:
    return checks.Warning(
        f"{model._meta.label} has rows without a history: commands on them are refused.",
        hint=f"Run: python manage.py adopt {model._meta.label} (see docs/adopting.md).",
        obj=model,
        id="eventsourcing_app.W006",
    )


def _no_model(names: list[str]) -> checks.CheckMessage:
    named = ", ".join(map(repr, names[:_NAMED])) + (", …" if len(names) > _NAMED else "")
    return checks.Warning(
        f"The log holds streams that belong to no model here: {named}.",
        hint='If a stream_type was changed, keep the old name: stream_type_aliases = ("old.name",). Without it '
        "histories begin in the middle.",
        id="eventsourcing_app.W007",
    )
