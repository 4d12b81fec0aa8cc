"""Checks of subscriptions: what the database knows of them and this code does not, or knows otherwise.

They read the database, so they run with ``manage.py check --database`` and before ``migrate``. Nothing that they find
loses an event: a subscription that is in doubt waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from eventsourcing_app.conf import conf
from eventsourcing_app.subscriptions.records import Subscription
from eventsourcing_app.subscriptions.registry import registry
from eventsourcing_app.subscriptions.subscribed import definition_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eventsourcing_app.subscriptions.registry import Definition


def check_subscriptions(*, databases: Sequence[str] | None = None, **_kwargs: Any) -> list[checks.CheckMessage]:
    """Compare what is stored of each subscription with what this code says of it."""
    if conf.DATABASE not in (databases or ()):
        return []
    with connections[conf.DATABASE].cursor() as cursor:
        columns = _columns(cursor)
    if not {field.column for field in Subscription._meta.concrete_fields} <= columns:
        return []  # before the first migrate, or one that brings a column
    rows = Subscription.objects.using(conf.DATABASE).exclude(kind=Subscription.Kind.REBUILD)
    return [found for row in rows for found in _of_row(row)]


def _columns(cursor: Any) -> set[str]:
    introspection = connections[conf.DATABASE].introspection
    table = Subscription._meta.db_table
    if table not in introspection.table_names(cursor):
        return set()
    return {column.name for column in introspection.get_table_description(cursor, table)}


def _of_row(row: Subscription) -> Iterator[checks.CheckMessage]:
    definition = registry.get(row.name)
    if row.status == Subscription.Status.UNSUBSCRIBED:
        return
    if definition is None and row.handler:
        try:
            definition = definition_of(row)
        except ImproperlyConfigured as error:
            yield _not_importable(row, error)
            return
    if definition is None:
        yield _unknown(row)
        return
    if row.segment_count != definition.segments:
        yield _other_segments(row, definition)
    if missing := sorted(set(row.types) - definition.types):
        yield _fewer_events(row, missing)
    if row.kind != definition.kind:
        yield _other_kind(row, definition)


def _unknown(row: Subscription) -> checks.CheckMessage:
    return checks.Warning(
        f"The database has the subscription {row.name!r}, which this code does not declare: nobody serves it.",
        hint=f"If it was removed on purpose, run manage.py subscriptions unsubscribe {row.name} --reason …; if it was "
        "renamed, give it its old name back: the name is the key of its checkpoint.",
        id="eventsourcing_app.W080",
    )


def _other_segments(row: Subscription, definition: Definition) -> checks.CheckMessage:
    return checks.Warning(
        f"{row.name} has segments={definition.segments} in {definition.place}, but was created with "
        f"{row.segment_count}, which stays: streams would be in other segments than their checkpoints.",
        hint=f"Write segments={row.segment_count}. To change it, let it catch up and use a new name with start='now'.",
        id="eventsourcing_app.W081",
    )


def _fewer_events(row: Subscription, missing: list[str]) -> checks.CheckMessage:
    return checks.Warning(
        f"{row.name} is stored as reacting to {', '.join(missing)}, to which this code does not react: until migrate "
        "has run it is left to the code that does.",
        hint="Run manage.py migrate with the newest code.",
        id="eventsourcing_app.W082",
    )


def _other_kind(row: Subscription, definition: Definition) -> checks.CheckMessage:
    return checks.Warning(
        f"{row.name} was a {row.kind} and is a {definition.kind} now, with the same checkpoint.",
        hint="Give it a name of its own, so that it begins as its `start` says.",
        id="eventsourcing_app.W083",
    )


def _not_importable(row: Subscription, error: Exception) -> checks.CheckMessage:
    return checks.Warning(
        f"{error} Workers with this code leave it to others.",
        hint=f"Put the function back, or run manage.py subscriptions unsubscribe {row.name} --reason ….",
        id="eventsourcing_app.W084",
    )
