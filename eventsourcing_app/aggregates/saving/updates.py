"""The UPDATE of an aggregate's row, only as it was loaded: one text for every save, one statement for many rows."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import models
from django.db.models import sql

from eventsourcing_app.aggregates.recording import history_fields, outside_fields
from eventsourcing_app.log.append import CompiledWrite, StateWrite
from eventsourcing_app.log.connection import log_connection, prepared_cursor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from django.db.backends.base.base import BaseDatabaseWrapper

    from eventsourcing_app.aggregates.model import EventSourcedModel

    _Field = models.Field[Any, Any]

_ROWS = 500


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


def as_loaded(instance: EventSourcedModel, loaded: Loaded) -> models.Q:
    """The row of an instance, if it still is what was loaded."""
    return models.Q(pk=instance.pk, **loaded._asdict())


def update(connection: BaseDatabaseWrapper, instance: EventSourcedModel, loaded: Loaded) -> StateWrite:
    """Return the UPDATE of a row that is still as it was loaded."""
    fields = _fields(instance)
    if not are_plain(fields, instance):
        return _compiled(connection, instance, loaded, fields)
    columns = tuple([field.attname for field in fields])
    return StateWrite(_one(type(instance), columns), _params(connection, instance, loaded, fields))


def update_many(
    connection: BaseDatabaseWrapper, loaded: Sequence[tuple[EventSourcedModel, Loaded]]
) -> EventSourcedModel | None:
    """Write many rows of one model; return one that was not found as it was loaded, or ``None`` if all were."""
    groups: dict[tuple[_Field, ...], list[tuple[EventSourcedModel, Loaded]]] = {}
    for entry in loaded:
        groups.setdefault(_fields(entry[0]), []).append(entry)
    for fields, entries in groups.items():
        for start in range(0, len(entries), _ROWS):
            lost = _update_group(connection, fields, entries[start : start + _ROWS])
            if lost is not None:
                return lost
    return None


def _update_group(
    connection: BaseDatabaseWrapper, fields: tuple[_Field, ...], entries: list[tuple[EventSourcedModel, Loaded]]
) -> EventSourcedModel | None:
    plain = all(are_plain(fields, instance) for instance, _loaded in entries)
    columns = _columns(connection, fields, entries) if plain and connection.vendor == "postgresql" else None
    with prepared_cursor(connection) if plain else connection.cursor() as cursor:
        if columns is not None:
            cursor.execute(_many(type(entries[0][0]), fields), columns)
            found = {key for (key,) in cursor.fetchall()}
            lost = (instance for instance, _loaded in entries if instance.pk not in found)
            return None if len(found) == len(entries) else next(lost, entries[0][0])
        for instance, was in entries:
            statement = update(connection, instance, was)
            cursor.execute(statement.sql, statement.params)
            if cursor.rowcount != 1:
                return instance
    return None


def _columns(
    connection: BaseDatabaseWrapper, fields: tuple[_Field, ...], entries: list[tuple[EventSourcedModel, Loaded]]
) -> list[list[Any]] | None:
    """The values column by column; ``None`` if one has several types, or lists, which an array would flatten."""
    rows = [_params(connection, instance, was, fields) for instance, was in entries]
    columns = [list(column) for column in zip(*rows, strict=True)]
    for column in columns:
        types = {type(value) for value in column if value is not None}
        if len(types) > 1 or any(issubclass(each, list | tuple) for each in types):
            return None
    return columns


def _fields(instance: EventSourcedModel) -> tuple[_Field, ...]:
    values = instance.__dict__
    fields = [field for field in history_fields(type(instance)) if field.attname in values]
    return (*fields, *instance._recording.changed_outside(instance))


def _params(
    connection: BaseDatabaseWrapper, instance: EventSourcedModel, loaded: Loaded, fields: tuple[_Field, ...]
) -> list[Any]:
    """The values of the columns, and those that identify the row as it was loaded."""
    params = [field.get_db_prep_save(field.pre_save(instance, False), connection) for field in fields]
    for field, value in zip(_identity(type(instance)), (instance.pk, *loaded), strict=True):
        params.append(field.get_db_prep_value(value, connection))
    return params


@cache
def _one(model: type[models.Model], names: tuple[str, ...]) -> str:
    """One text for every save, so that neither Django nor the server has to work it out again.

    By names, because fields are compared in Python, each time, and texts are not.
    """
    quote = log_connection().ops.quote_name
    fields = [field for name in names for field in model._meta.concrete_fields if field.attname == name]
    assignments = ", ".join(f"{quote(_column(field))} = %s" for field in fields)
    same = " AND ".join(f"{quote(_column(field))} = %s" for field in _identity(model))
    return f"UPDATE {quote(model._meta.db_table)} SET {assignments} WHERE {same}"


@cache
def _many(model: type[models.Model], fields: tuple[_Field, ...]) -> str:
    """One statement for any number of rows: an array for each column."""
    connection = log_connection()
    quote = connection.ops.quote_name
    table, columns = quote(model._meta.db_table), (*fields, *_identity(model))
    names = [f"c{number}" for number in range(len(columns))]
    arrays = ", ".join(f"%s::{field.cast_db_type(connection)}[]" for field in columns)
    assignments = ", ".join(f"{quote(_column(field))} = v.{name}" for field, name in zip(fields, names, strict=False))
    same = " AND ".join(
        f"{table}.{quote(_column(field))} = v.{name}"
        for field, name in zip(columns[len(fields) :], names[len(fields) :], strict=True)
    )
    return (
        f"UPDATE {table} SET {assignments} FROM unnest({arrays}) AS v ({', '.join(names)}) WHERE {same} "
        f"RETURNING {table}.{quote(_column(model._meta.pk))}"
    )


@cache
def _identity(model: type[models.Model]) -> tuple[_Field, ...]:
    fields: list[Any] = [model._meta.get_field(name) for name in (model._meta.pk.name, *Loaded._fields)]
    return tuple(fields)


def _column(field: _Field) -> str:
    assert field.column is not None, "fields of history are columns"
    return field.column


def are_plain(fields: Sequence[_Field], instance: EventSourcedModel) -> bool:
    """Whether the SQL to write each of them is just a parameter; only columns without history take expressions."""
    values, special = instance.__dict__, _with_own_sql(type(instance))
    if special and any(field.attname in special for field in fields):
        return False
    outside = outside_fields(type(instance))
    return not any(hasattr(values.get(field.attname), "resolve_expression") for field in outside)


@cache
def _with_own_sql(model: type[models.Model]) -> frozenset[str]:
    found = [
        field
        for field in model._meta.concrete_fields
        if hasattr(field, "get_placeholder") or hasattr(field, "get_placeholder_sql")
    ]
    return frozenset(field.attname for field in found)


def _compiled(
    connection: BaseDatabaseWrapper, instance: EventSourcedModel, loaded: Loaded, fields: tuple[_Field, ...]
) -> StateWrite:
    """For what has SQL of its own: arrays of PostgreSQL, and expressions in columns without history."""
    query = sql.UpdateQuery(type(instance))
    query.add_q(as_loaded(instance, loaded))
    query.add_update_fields([(field, None, field.pre_save(instance, False)) for field in fields])
    statement, params = query.get_compiler(connection=connection).as_sql()
    return CompiledWrite(statement, params)
