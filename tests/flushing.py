"""Empties, after a test that commits, only the tables that it wrote to.

Django empties all of them, and has permissions and content types made again: on PostgreSQL that takes a quarter of a
second after each of hundreds of tests. Here what is empty already is left alone, and so are permissions and content
types that are as the migrations left them.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

from django.core.management.sql import sql_flush
from django.db import DEFAULT_DB_ALIAS, connections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

MADE_BY_MIGRATE = ("auth_permission", "django_content_type")
_MADE = """
    SELECT app_label, model, codename, name FROM django_content_type
    LEFT JOIN auth_permission ON content_type_id = django_content_type.id ORDER BY 1, 2, 3, 4
"""
_CHILDREN = """
    WITH RECURSIVE emptied (oid) AS (
        SELECT oid FROM pg_class WHERE oid = ANY (%s::regclass[])
        UNION SELECT conrelid FROM pg_constraint JOIN emptied ON confrelid = emptied.oid WHERE contype = 'f'
    )
    SELECT relname FROM emptied JOIN pg_class USING (oid)
"""


@contextmanager
def only_what_was_written() -> Iterator[None]:
    """Let Django's ``flush`` empty only tables that have rows. To be entered before the first test."""
    made = _rows(connections[DEFAULT_DB_ALIAS], _MADE)

    def sql_of(style: Any, connection: BaseDatabaseWrapper, **options: Any) -> list[str]:
        if connection.alias != DEFAULT_DB_ALIAS or _rows(connection, _MADE) != made:
            return sql_flush(style, connection, **options)
        statements: list[str] = connection.ops.sql_flush(style, _written(connection), **options)
        return statements or ["SELECT 1"]  # none would mean to Django that there are no tables

    with mock.patch("django.core.management.commands.flush.sql_flush", sql_of):
        yield


def _written(connection: BaseDatabaseWrapper) -> list[str]:
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    quote = connection.ops.quote_name
    looks = [f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {quote(table)})" for table in tables]
    written = [table for (table,) in _rows(connection, " UNION ALL ".join(looks)) if table not in MADE_BY_MIGRATE]
    if connection.vendor == "postgresql" and written:  # it truncates no table without those that refer to it
        written = [table for (table,) in _rows(connection, _CHILDREN, [[quote(table) for table in written]])]
    return written


def _rows(connection: BaseDatabaseWrapper, sql: str, params: Any = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
