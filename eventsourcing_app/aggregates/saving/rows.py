"""The statement that writes an aggregate's row, and where the key of a new one comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models, transaction
from django.db.models import sql

from eventsourcing_app.aggregates.saving.ends import removes_row
from eventsourcing_app.aggregates.saving.updates import Loaded, are_plain, as_loaded, update
from eventsourcing_app.log.append import CompiledWrite, StateWrite

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from eventsourcing_app.aggregates.model import EventSourcedModel


def state_write(connection: BaseDatabaseWrapper, instance: EventSourcedModel, loaded: Loaded) -> StateWrite | None:
    """Return the INSERT of a new row, or the UPDATE or DELETE of one that is still as it was loaded.

    ``None`` for an aggregate that ends as soon as it begins, and leaves no row.
    """
    if removes_row(instance):
        return None if instance._state.adding else _delete(connection, instance, as_loaded(instance, loaded))
    return insert(connection, instance) if instance._state.adding else update(connection, instance, loaded)


def _delete(connection: BaseDatabaseWrapper, instance: EventSourcedModel, which: models.Q) -> StateWrite:
    query = sql.DeleteQuery(type(instance))
    query.add_q(which)
    statement, params = query.get_compiler(connection=connection).as_sql()
    return StateWrite(statement, params)


def insert(connection: BaseDatabaseWrapper, instance: EventSourcedModel) -> StateWrite:
    """Return the INSERT of a new row."""
    fields = [field for field in instance._meta.concrete_fields if not field.generated]
    if instance._meta.pk is not None and instance.pk is None:
        fields.remove(instance._meta.pk)
    query = sql.InsertQuery(type(instance))
    query.insert_values(fields, [instance], raw=False)
    ((statement, params),) = query.get_compiler(connection=connection).as_sql()
    return (StateWrite if are_plain(fields, instance) else CompiledWrite)(statement, params)


def draws_key_late(connection: BaseDatabaseWrapper, instance: EventSourcedModel) -> bool:
    """Whether the key is known only once the row is written."""
    return instance._state.adding and instance.pk is None and connection.vendor != "postgresql"


def insert_drawing_key(connection: BaseDatabaseWrapper, instance: EventSourcedModel) -> None:
    """Write a new row and take the key that the database drew."""
    state = insert(connection, instance)
    with connection.cursor() as cursor:
        cursor.execute(state.sql, state.params)
        key = instance._meta.pk
        setattr(instance, key.attname, connection.ops.last_insert_id(cursor, instance._meta.db_table, key.column or ""))
        if removes_row(instance):
            cursor.execute(*_delete(connection, instance, models.Q(pk=instance.pk)))


def draw_key(connection: BaseDatabaseWrapper, instance: EventSourcedModel) -> None:
    """Draw the key before the row is written, so that row and events can go in one statement."""
    if not instance._state.adding or instance.pk is not None:
        return
    table, column = connection.ops.quote_name(instance._meta.db_table), instance._meta.pk.column
    with transaction.mark_for_rollback_on_error(connection.alias), connection.cursor() as cursor:
        cursor.execute("SELECT nextval(pg_get_serial_sequence(%s, %s))", [table, column])
        (instance.pk,) = cursor.fetchone()


def new_key(instance: EventSourcedModel) -> str | None:
    """Return ``table.column`` of the key that an INSERT would add; ``None`` for a row that exists."""
    if not instance._state.adding:
        return None
    return f"{instance._meta.db_table}.{instance._meta.pk.column}"
