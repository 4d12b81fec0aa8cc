"""The statements that write an aggregate's row, compiled by Django; the row only as it was loaded."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import models, transaction
from django.db.models import sql

from eventsourcing_app.aggregates.recording import history_fields
from eventsourcing_app.log.append import StateWrite
from eventsourcing_app.log.connection import log_connection

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.backends.base.base import BaseDatabaseWrapper

    from eventsourcing_app.aggregates.model import EventSourcedModel


class Loaded(NamedTuple):
    """What identifies the state that was loaded: its version, and when that was recorded.

    The version alone would not do: one that was rolled back may have been given again since, to another event.
    """

    version: int
    changed_at: datetime | None

    @classmethod
    def of(cls, instance: EventSourcedModel) -> Loaded:
        """Note it, before the instance moves on."""
        return cls(instance.version, instance.changed_at)


def state_write(connection: BaseDatabaseWrapper, instance: EventSourcedModel, loaded: Loaded) -> StateWrite:
    """Write the INSERT of a new row, or the UPDATE of one that is still as it was loaded."""
    if instance._state.adding:
        return _insert(connection, instance)
    values = instance.__dict__
    fields = [field for field in history_fields(type(instance)) if field.attname in values]
    fields += instance._recording.changed_outside(instance)
    if not all(_is_plain(field, values[field.attname]) for field in fields):
        return _compiled_update(connection, instance, loaded, fields)
    params = [field.get_db_prep_save(field.pre_save(instance, False), connection) for field in fields]
    for field, value in zip(_identity(type(instance)), (instance.pk, *loaded), strict=True):
        params.append(field.get_db_prep_value(value, connection))
    columns = tuple(field.column for field in fields)
    return StateWrite(_update(type(instance), columns), params)


@cache
def _update(model: type[models.Model], columns: tuple[str, ...]) -> str:
    """One text for every save, so that neither Django nor the server has to work it out again."""
    quote = log_connection().ops.quote_name
    assignments = ", ".join(f"{quote(column)} = %s" for column in columns)
    same = " AND ".join(f"{quote(field.column)} = %s" for field in _identity(model))
    return f"UPDATE {quote(model._meta.db_table)} SET {assignments} WHERE {same}"


@cache
def _identity(model: type[models.Model]) -> tuple[models.Field[Any, Any], ...]:
    return tuple(model._meta.get_field(name) for name in (model._meta.pk.name, *Loaded._fields))


def _is_plain(field: models.Field[Any, Any], value: Any) -> bool:
    """Whether the SQL to write it is just a parameter."""
    return not (
        hasattr(field, "get_placeholder")
        or hasattr(field, "get_placeholder_sql")
        or hasattr(value, "resolve_expression")
    )


def _compiled_update(
    connection: BaseDatabaseWrapper,
    instance: EventSourcedModel,
    loaded: Loaded,
    fields: list[models.Field[Any, Any]],
) -> StateWrite:
    """For what has SQL of its own: arrays of PostgreSQL, and expressions in columns without history."""
    query = sql.UpdateQuery(type(instance))
    query.add_q(models.Q(pk=instance.pk, **loaded._asdict()))
    query.add_update_fields([(field, None, field.pre_save(instance, False)) for field in fields])
    statement, params = query.get_compiler(connection=connection).as_sql()
    return StateWrite(statement, params)


def _insert(connection: BaseDatabaseWrapper, instance: EventSourcedModel) -> StateWrite:
    fields = [field for field in instance._meta.local_concrete_fields if not field.generated]
    if instance._meta.pk is not None and instance.pk is None:
        fields.remove(instance._meta.pk)
    query = sql.InsertQuery(type(instance))
    query.insert_values(fields, [instance], raw=False)
    ((statement, params),) = query.get_compiler(connection=connection).as_sql()
    return StateWrite(statement, params)


def draws_key_late(connection: BaseDatabaseWrapper, instance: EventSourcedModel) -> bool:
    """Whether the key is known only once the row is written."""
    return instance._state.adding and instance.pk is None and connection.vendor != "postgresql"


def insert_drawing_key(connection: BaseDatabaseWrapper, instance: EventSourcedModel) -> None:
    """Write a new row and take the key that the database drew."""
    state = _insert(connection, instance)
    with connection.cursor() as cursor:
        cursor.execute(state.sql, state.params)
        key = instance._meta.pk
        setattr(instance, key.attname, connection.ops.last_insert_id(cursor, instance._meta.db_table, key.column or ""))


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
