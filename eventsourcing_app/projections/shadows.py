"""Shadow tables: made beside the tables of a projection, compared with them, and put in their place.

What the database keeps besides columns (names of indexes, constraints and sequences, which migrations go by; grants)
is the same after the swap. Where something else hangs on a table that would be lost with it, no shadow is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import models

from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.projections import shadows_postgresql, shadows_sqlite
from eventsourcing_app.projections.replay import shadow_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model

_DIFFERENCES = """
SELECT {columns}, sum(live), sum(rebuilt) FROM (
    SELECT {compared}, 1 AS live, 0 AS rebuilt FROM {live} UNION ALL SELECT {compared}, 0, 1 FROM {shadow}
) AS rows GROUP BY {columns} HAVING sum(live) <> sum(rebuilt)
"""
_EXAMPLES = 10


class Difference(NamedTuple):
    """A row that one of the two tables has more often than the other."""

    table: str
    values: dict[str, Any]
    live: int
    """How often the table that serves has it."""
    rebuilt: int


def tables_of(read_models: Sequence[type[Model]]) -> tuple[str, ...]:
    """Return the tables of read models, those of their own many-to-many fields included."""
    own = [model._meta.db_table for model in read_models]
    throughs: list[Any] = [
        field.remote_field.through for model in read_models for field in model._meta.local_many_to_many
    ]
    return (*own, *(through._meta.db_table for through in throughs if through._meta.auto_created))


def obstacles(tables: Sequence[str]) -> list[str]:
    """Return what hangs on these tables and would be lost, each as a sentence."""
    found: list[str] = _vendor().obstacles(log_connection(), tables)
    return found


def exist(tables: Sequence[str]) -> bool:
    """Whether all of these tables have a shadow."""
    with log_connection().cursor() as cursor:
        found = set(log_connection().introspection.table_names(cursor))
    return all(shadow_of(table) in found for table in tables)


def create(tables: Sequence[str]) -> None:
    """Make the shadows, empty. Within a transaction."""
    _vendor().create(log_connection(), tables)


def drop(tables: Sequence[str]) -> None:
    """Drop the shadows that there are."""
    quote = log_connection().ops.quote_name
    with log_connection().cursor() as cursor:
        for table in reversed(tables):
            cursor.execute(f"DROP TABLE IF EXISTS {quote(shadow_of(table))}")


def swap(tables: Sequence[str]) -> None:
    """Put the shadows in the place of the tables, which are dropped. Within a transaction.

    Raises ``RebuildFailed`` if a table has been changed since its shadow was made.
    """
    _vendor().swap(log_connection(), tables)


def differences(read_models: Sequence[type[Model]]) -> tuple[int, list[Difference]]:
    """Compare tables and shadows: return how many rows differ, and the first of them.

    Keys that are drawn are left out (by the database, or by a function such as ``uuid4``), and times of the clock
    (``auto_now``): another run gives others.
    """
    count = 0
    found: list[Difference] = []
    connection = log_connection()
    quote = connection.ops.quote_name
    for model in read_models:
        fields = {field.column: field for field in model._meta.concrete_fields if field.column and not _is_drawn(field)}
        names = list(fields)
        sql = _DIFFERENCES.format(
            columns=", ".join(map(quote, names)),
            compared=", ".join(_compared(field, quote(column)) for column, field in fields.items()),
            live=quote(model._meta.db_table),
            shadow=quote(shadow_of(model._meta.db_table)),
        )
        with connection.cursor() as cursor:
            cursor.execute(sql)
            while rows := cursor.fetchmany(500):
                count += len(rows)
                for *values, live, rebuilt in rows[: _EXAMPLES - len(found)]:
                    row = dict(zip(names, values, strict=True))
                    found.append(Difference(model._meta.db_table, row, int(live), int(rebuilt)))
    return count, found


def _is_drawn(field: models.Field[Any, Any]) -> bool:
    by_the_database = isinstance(field, models.AutoField | models.BigAutoField | models.SmallAutoField)
    by_the_clock = getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False)
    return by_the_database or bool(by_the_clock) or (field.primary_key and callable(field.default))


def _compared(field: models.Field[Any, Any], column: str) -> str:
    # Values of these types cannot be compared by the database, their texts can.
    return f"CAST({column} AS text) AS {column}" if field.db_type(log_connection()) in ("json", "xml") else column


def _vendor() -> Any:
    return shadows_postgresql if log_connection().vendor == "postgresql" else shadows_sqlite
