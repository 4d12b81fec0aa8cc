"""The UPDATE of an aggregate's row, only as it was loaded: one text for every save, one statement for many rows."""

from __future__ import annotations

from functools import cache
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import models
from django.db.models import sql

from eventsourcing_app.aggregates.recording import history_fields
from eventsourcing_app.log.append import StateWrite
from eventsourcing_app.log.connection import log_connection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from django.db.backends.base.base import BaseDatabaseWrapper

    from eventsourcing_app.aggregates.model import EventSourcedModel

    _Field = models.Field[Any, Any]

_ROWS = 200


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


class _Change(NamedTuple):
    """The columns that are written, and their values followed by those that identify the row."""

    fields: tuple[_Field, ...]
    params: list[Any]


def update(connection: BaseDatabaseWrapper, instance: EventSourcedModel, loaded: Loaded) -> StateWrite:
    """Return the UPDATE of a row that is still as it was loaded."""
    fields = _fields(instance)
    if not _are_plain(fields, instance):
        return _compiled(connection, instance, loaded, fields)
    change = _change(connection, instance, loaded, fields)
    return StateWrite(_one(type(instance), change.fields), change.params)


def update_many(
    connection: BaseDatabaseWrapper, loaded: Sequence[tuple[EventSourcedModel, Loaded]]
) -> EventSourcedModel | None:
    """Write many rows of one model; return one that was not found as it was loaded, or ``None`` if all were."""
    together: list[tuple[EventSourcedModel, _Change]] = []
    with connection.cursor() as cursor:
        for instance, was in loaded:
            fields = _fields(instance)
            if connection.vendor == "postgresql" and _are_plain(fields, instance):
                together.append((instance, _change(connection, instance, was, fields)))
                continue
            statement = update(connection, instance, was)
            cursor.execute(statement.sql, statement.params)
            if cursor.rowcount != 1:
                return instance
        for fields, group in groupby(together, key=lambda entry: entry[1].fields):
            entries = list(group)
            for start in range(0, len(entries), _ROWS):
                part = entries[start : start + _ROWS]
                model = type(part[0][0])
                params = list(chain.from_iterable(change.params for _instance, change in part))
                cursor.execute(_many(model, fields, len(part)), params)
                found = {key for (key,) in cursor.fetchall()}
                if len(found) != len(part):
                    missing = (instance for instance, _change in part if instance.pk not in found)
                    return next(missing, part[0][0])
    return None


def _fields(instance: EventSourcedModel) -> tuple[_Field, ...]:
    values = instance.__dict__
    fields = [field for field in history_fields(type(instance)) if field.attname in values]
    return (*fields, *instance._recording.changed_outside(instance))


def _change(
    connection: BaseDatabaseWrapper, instance: EventSourcedModel, loaded: Loaded, fields: tuple[_Field, ...]
) -> _Change:
    params = [field.get_db_prep_save(field.pre_save(instance, False), connection) for field in fields]
    for field, value in zip(_identity(type(instance)), (instance.pk, *loaded), strict=True):
        params.append(field.get_db_prep_value(value, connection))
    return _Change(fields, params)


@cache
def _one(model: type[models.Model], fields: tuple[_Field, ...]) -> str:
    """One text for every save, so that neither Django nor the server has to work it out again."""
    quote = log_connection().ops.quote_name
    assignments = ", ".join(f"{quote(_column(field))} = %s" for field in fields)
    same = " AND ".join(f"{quote(_column(field))} = %s" for field in _identity(model))
    return f"UPDATE {quote(model._meta.db_table)} SET {assignments} WHERE {same}"


@cache
def _many(model: type[models.Model], fields: tuple[_Field, ...], rows: int) -> str:
    """One statement for many rows. The casts of the first row give every column of the values its type."""
    connection = log_connection()
    quote = connection.ops.quote_name
    table, columns = quote(model._meta.db_table), (*fields, *_identity(model))
    names = [f"c{number}" for number in range(len(columns))]
    first = ", ".join(f"%s::{field.cast_db_type(connection)}" for field in columns)
    values = f"({first})" + f", ({', '.join(['%s'] * len(columns))})" * (rows - 1)
    assignments = ", ".join(f"{quote(_column(field))} = v.{name}" for field, name in zip(fields, names, strict=False))
    same = " AND ".join(
        f"{table}.{quote(_column(field))} = v.{name}"
        for field, name in zip(columns[len(fields) :], names[len(fields) :], strict=True)
    )
    return (
        f"UPDATE {table} SET {assignments} FROM (VALUES {values}) AS v ({', '.join(names)}) WHERE {same} "
        f"RETURNING {table}.{quote(_column(model._meta.pk))}"
    )


@cache
def _identity(model: type[models.Model]) -> tuple[_Field, ...]:
    fields: list[Any] = [model._meta.get_field(name) for name in (model._meta.pk.name, *Loaded._fields)]
    return tuple(fields)


def _column(field: _Field) -> str:
    assert field.column is not None, "fields of history are columns"
    return field.column


def _are_plain(fields: tuple[_Field, ...], instance: EventSourcedModel) -> bool:
    """Whether the SQL to write each of them is just a parameter."""
    values = instance.__dict__
    return not any(
        hasattr(field, "get_placeholder")
        or hasattr(field, "get_placeholder_sql")
        or hasattr(values[field.attname], "resolve_expression")
        for field in fields
    )


def _compiled(
    connection: BaseDatabaseWrapper, instance: EventSourcedModel, loaded: Loaded, fields: tuple[_Field, ...]
) -> StateWrite:
    """For what has SQL of its own: arrays of PostgreSQL, and expressions in columns without history."""
    query = sql.UpdateQuery(type(instance))
    query.add_q(models.Q(pk=instance.pk, **loaded._asdict()))
    query.add_update_fields([(field, None, field.pre_save(instance, False)) for field in fields])
    statement, params = query.get_compiler(connection=connection).as_sql()
    return StateWrite(statement, params)
