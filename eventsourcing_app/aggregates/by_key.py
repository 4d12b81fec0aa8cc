"""Loading one aggregate by its key: the row that ``get(pk=…)`` gives, by a statement that is compiled only once.

To compile such a query costs Django more than the database takes to answer it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import UUID

from django.db import models
from django.db.backends.base.operations import BaseDatabaseOperations

from eventsourcing_app.aggregates.plain_rows import plain_rows
from eventsourcing_app.conf import conf
from eventsourcing_app.log.connection import log_connection, prepared_cursor

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.expressions import Col

    from eventsourcing_app.aggregates.model import EventSourcedModel

M = TypeVar("M", bound="EventSourcedModel")

_INT32 = (-(2**31), 2**31 - 1)


class _Statement(NamedTuple):
    sql: str
    names: list[str]
    columns: list[tuple[int, Col, list[Callable[..., Any]]]]
    """Place, expression and the field's own converters."""


def is_simple_key(model: type[models.Model], pk: object) -> bool:
    """Whether the key needs none of what Django does for expressions, relations, and numbers out of range."""
    key = model._meta.pk
    if isinstance(pk, bool) or key.is_relation or hasattr(key, "get_placeholder"):
        return False
    if isinstance(pk, int) or (isinstance(pk, str) and isinstance(key, models.IntegerField)):
        return _is_in_range(key, pk)
    return isinstance(pk, UUID | str)


def _is_in_range(key: models.Field[Any, Any], pk: int | str) -> bool:
    """Whether a number, or a text for one, is one that its column could hold. Of others Django knows what to say."""
    least, most = BaseDatabaseOperations.integer_field_ranges.get(key.get_internal_type(), _INT32)
    try:
        return least <= int(pk) <= most
    except ValueError:
        return False


def load(model: type[M], pk: object, *, lock: bool = False) -> M | None:
    """Return the aggregate, or ``None`` if it does not exist; with ``lock``, locked until the transaction ends.

    Only for a key that ``is_simple_key``. Raises what Django raises for a text that is no such key.
    """
    connection = log_connection()
    key = model._meta.pk
    param = key.get_db_prep_value(key.get_prep_value(pk), connection, prepared=True)
    statement = _statements.get((model, lock, connection.vendor)) or _compile(connection, model, pk, lock)
    with prepared_cursor(connection) as cursor:
        cursor.execute(statement.sql, [param])
        found = cursor.fetchone()
    if found is None:
        return None
    row = list(found)
    for place, column, converters in statement.columns:
        for convert in (*connection.ops.get_db_converters(column), *converters):
            row[place] = convert(row[place], column, connection)
    return model.from_db(conf.DATABASE, statement.names, row)


_statements: dict[tuple[type[models.Model], bool, str], _Statement] = {}


def _compile(connection: BaseDatabaseWrapper, model: type[models.Model], pk: object, lock: bool) -> _Statement:
    rows = plain_rows(model).order_by().filter(pk=pk)
    if lock:
        rows = rows.select_for_update(no_key=True, of=("self",))
    compiler = rows.query.get_compiler(connection=connection)
    sql, params = compiler.as_sql()
    assert len(params) == 1, "the key is its only parameter"
    columns: list[Col] = [expression for expression, _sql, _alias in compiler.select]
    statement = _Statement(
        sql,
        [column.target.attname for column in columns],
        [(place, column, column.get_db_converters(connection)) for place, column in enumerate(columns)],
    )
    _statements[model, lock, connection.vendor] = statement
    return statement
