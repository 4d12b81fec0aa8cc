"""Shadow tables on SQLite: made by the statements that made the tables. Indexes get their names at the swap."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from eventsourcing_app.exceptions import RebuildFailed
from eventsourcing_app.projections.replay import shadow_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

_TABLE = re.compile(r"""^CREATE TABLE\s+(?:"(?:[^"]|"")*"|\S+?)(?=[\s(])""")
_REFERENCE = re.compile(r"""REFERENCES\s+"(?:[^"]|"")*"\s*""")
_INDEX = re.compile(r"""^CREATE (UNIQUE )?INDEX\s+("(?:[^"]|"")*"|\S+)\s+ON\s+("(?:[^"]|"")*"|\S+?)(?=[\s(])""")


def obstacles(connection: BaseDatabaseWrapper, tables: Sequence[str]) -> list[str]:
    """See ``shadows``."""
    found = []
    others = [name for (name,) in _rows(connection, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    for other in others:
        if other not in tables:
            keys = _rows(connection, f"PRAGMA foreign_key_list({connection.ops.quote_name(other)})")
            found += [f"{row[2]}: a foreign key of {other} points to it" for row in keys if row[2] in tables]
    for table in tables:
        triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = %s"
        found += [f"{table}: the trigger {name} is on it" for (name,) in _rows(connection, triggers, [table])]
        views = _rows(connection, "SELECT name, sql FROM sqlite_master WHERE type = 'view'")
        word = re.compile(rf"\b{re.escape(table)}\b", re.IGNORECASE)
        found += [f"{table}: the view {name} reads it" for name, sql in views if word.search(sql)]
    return found


def create(connection: BaseDatabaseWrapper, tables: Sequence[str]) -> None:
    """See ``shadows``."""
    quote = connection.ops.quote_name
    for table in tables:
        (sql,), *_ = _rows(connection, "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = %s", [table])
        head = f"CREATE TABLE {quote(shadow_of(table))}"
        made = head + _TABLE.sub("", sql)
        for other in tables:
            made = made.replace(f"REFERENCES {quote(other)}", f"REFERENCES {quote(shadow_of(other))}")
        _run(connection, made)
        for name, index in _indexes(connection, table):
            _run(connection, _index(index, quote(_for_now(table, name)), quote(shadow_of(table))))


def swap(connection: BaseDatabaseWrapper, tables: Sequence[str]) -> None:
    """See ``shadows``."""
    quote = connection.ops.quote_name
    for table in reversed(tables):
        # Dropped while rows of another one still point to it, a table would break their key.
        _run(connection, f"DELETE FROM {quote(table)}")
    for table in tables:
        indexes = _indexes(connection, table)
        _refuse_changed(connection, table, indexes)
        _run(connection, f"DROP TABLE {quote(table)}")
        _run(connection, f"ALTER TABLE {quote(shadow_of(table))} RENAME TO {quote(table)}")
        for name, index in indexes:
            _run(connection, f"DROP INDEX {quote(_for_now(table, name))}")
            _run(connection, _index(index, quote(name), quote(table)))


def _refuse_changed(connection: BaseDatabaseWrapper, table: str, indexes: list[tuple[str, str]]) -> None:
    quote = connection.ops.quote_name
    # Name, type, not null, default, key.
    columns = [
        [row[1:] for row in _rows(connection, f"PRAGMA table_info({quote(name)})")]
        for name in (table, shadow_of(table))
    ]
    # What follows the name: constraints, too.
    made = [_tail(connection, name) for name in (table, shadow_of(table))]
    wanted = {_for_now(table, name) for name, _ in indexes}
    if (
        columns[0] != columns[1]
        or made[0] != made[1]
        or wanted != {name for name, _ in _indexes(connection, shadow_of(table))}
    ):
        raise RebuildFailed(
            f"The table {table} has been changed since its rebuild began: the new one would not be what migrations "
            "have made. Begin anew with --restart."
        )


def _tail(connection: BaseDatabaseWrapper, table: str) -> str:
    (sql,), *_ = _rows(connection, "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = %s", [table])
    return _REFERENCE.sub("REFERENCES ", _TABLE.sub("", sql))


def _indexes(connection: BaseDatabaseWrapper, table: str) -> list[tuple[str, str]]:
    sql = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = %s AND sql IS NOT NULL ORDER BY name"
    return [(name, made) for name, made in _rows(connection, sql, [table])]


def _index(sql: str, name: str, table: str) -> str:
    return _INDEX.sub(lambda match: f"CREATE {match[1] or ''}INDEX {name} ON {table}", sql)


def _for_now(table: str, name: str) -> str:
    return f"{sha256(f'{table} {name}'.encode()).hexdigest()[:24]}~rebuild"


def _run(connection: BaseDatabaseWrapper, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def _rows(connection: BaseDatabaseWrapper, sql: str, params: Any = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())
