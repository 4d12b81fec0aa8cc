"""Lifts the append-only protection for a flush between tests, in test databases only.

Lifting, writing and restoring are one transaction: whatever happens, no committed state of a database is unprotected.
Imported by the pytest plugin before Django has settings, so it imports nothing that needs them.
"""

from __future__ import annotations

import os
import re
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from django.core import mail
from django.db import connections, transaction
from django.db.backends.base.creation import TEST_DATABASE_PREFIX
from django.db.backends.signals import connection_created

from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import AppendOnly
from eventsourcing_app.operations.append_only_sql import SQLITE_MARK, TRIGGER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper
    from django.test import TransactionTestCase

    _TestCase = TransactionTestCase
else:
    _TestCase = object

_FLUSH = {"postgresql": re.compile(r"TRUNCATE "), "sqlite": re.compile(r'DELETE FROM "(?P<table>[^"]+)";?\Z')}
"""What Django's ``sql_flush()`` writes."""


class AppendOnlyTestMixin(_TestCase):
    """Lets a ``TransactionTestCase`` empty protected tables after each test. Name it before the test case::

    class TransferTests(AppendOnlyTestMixin, TransactionTestCase): ...
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        first = next(base for base in cls.__mro__ if "_fixture_teardown" in vars(base))
        if first.__module__.startswith("django."):
            raise TypeError(f"{cls.__name__}: name AppendOnlyTestMixin before the test case.")

    def _fixture_teardown(self) -> None:
        with flush_allowed():
            super()._fixture_teardown()  # type: ignore[misc]  # not in Django's stubs


@contextmanager
def flush_allowed() -> Iterator[None]:
    """Let Django's flush (as its ``TransactionTestCase`` runs it) empty protected tables inside the block.

    Only that statement passes; every other write is refused as ever. Outside a test database it raises ``AppendOnly``.
    """
    with ExitStack() as stack:

        def wrap(connection: BaseDatabaseWrapper, **_signal: Any) -> None:
            if connection.vendor in _FLUSH and _lift_for_flush not in connection.execute_wrappers:
                stack.enter_context(connection.execute_wrapper(_lift_for_flush))

        for known in connections.all():
            wrap(known)
        # The flush may get a connection of its own: after an event loop has run in the thread, Django makes new ones.
        connection_created.connect(wrap)
        stack.callback(connection_created.disconnect, wrap)
        yield


@contextmanager
def append_only_lifted(using: str | None = None) -> Iterator[None]:
    """Let a test tamper with protected rows inside the block, which is one transaction; restored at its end.

    ``using`` is the database's alias, by default the log's. Outside a test database it raises ``AppendOnly``.
    """
    connection = connections[conf.DATABASE if using is None else using]
    with _lifted(connection, table=None):
        yield


def is_test_database(connection: BaseDatabaseWrapper) -> bool:
    """Whether a test run is under way and this database is one that it made, judged by its name.

    That is: in memory, or starting with ``test_``, or as the setting ``TEST`` says; copies for parallel runs have a
    number behind it.
    """
    if not hasattr(mail, "outbox"):  # made by Django's setup_test_environment(), and only there
        return False
    name, given = str(connection.settings_dict["NAME"]), connection.settings_dict.get("TEST", {}).get("NAME")
    extension = ""
    if connection.vendor == "sqlite":
        if name == ":memory:" or "mode=memory" in name or os.path.basename(name).startswith(TEST_DATABASE_PREFIX):  # noqa: PTH119
            return True
        given, extension = os.path.splitext(given or "")  # noqa: PTH122  # copies are named by this very call
    elif name.startswith(TEST_DATABASE_PREFIX):
        return True
    return bool(given) and bool(re.fullmatch(rf"{re.escape(str(given))}(_(gw)?\d+)?{re.escape(extension)}", name))


def _lift_for_flush(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    connection: BaseDatabaseWrapper = context["connection"]
    flush = _FLUSH[connection.vendor].match(sql) if isinstance(sql, str) else None
    if flush is None:
        return execute(sql, params, many, context)
    with _lifted(connection, table=flush.groupdict().get("table")):
        return execute(sql, params, many, context)


@contextmanager
def _lifted(connection: BaseDatabaseWrapper, *, table: str | None) -> Iterator[None]:
    with transaction.atomic(using=connection.alias):
        with connection.cursor() as cursor:
            triggers = _TRIGGERS[connection.vendor](cursor, table)
            if triggers:
                _require_test_database(connection, cursor, "Lifting the append-only protection")
            lift, restore = _STATEMENTS[connection.vendor](connection, triggers)
            for statement in lift:
                cursor.execute(statement)
        yield
        with connection.cursor() as cursor:
            for statement in restore:
                cursor.execute(statement)


def require_test_database(connection: BaseDatabaseWrapper, what: str) -> None:
    """Raise ``AppendOnly``, saying ``what`` is refused, unless this database belongs to a test run."""
    with connection.cursor() as cursor:
        _require_test_database(connection, cursor, what)


def _require_test_database(connection: BaseDatabaseWrapper, cursor: CursorWrapper, what: str) -> None:
    name = connection.settings_dict["NAME"]
    if connection.vendor == "postgresql":
        cursor.execute("SELECT current_database()")
        (actual,) = cursor.fetchone()
        known = is_test_database(connection) and actual == name
    else:
        known = is_test_database(connection)
    if not known:
        raise AppendOnly(
            f"{what} of database {name!r} (alias {connection.alias!r}) is refused: it is not a test database. "
            "Run this under Django's test runner or pytest-django, which make one "
            "(test_<name>, or the name in DATABASES[alias]['TEST']['NAME'])."
        )


def _postgresql_triggers(cursor: CursorWrapper, table: str | None) -> list[tuple[str, str]]:
    found: list[tuple[str, str]]
    cursor.execute(
        "SELECT tgrelid::regclass::text, quote_ident(tgname) FROM pg_catalog.pg_trigger"
        " WHERE NOT tgisinternal AND starts_with(tgname::text, %s) AND pg_table_is_visible(tgrelid)",
        [f"{TRIGGER}_"],
    )
    found = cursor.fetchall()
    return found


def _sqlite_triggers(cursor: CursorWrapper, table: str | None) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]]
    cursor.execute(
        "SELECT tbl_name, name, sql FROM sqlite_master"
        " WHERE type = 'trigger' AND instr(name, %s) AND tbl_name = coalesce(%s, tbl_name)",
        [SQLITE_MARK, table],
    )
    found = cursor.fetchall()
    return found


def _postgresql_statements(
    connection: BaseDatabaseWrapper, triggers: list[tuple[str, str]]
) -> tuple[list[str], list[str]]:
    lift = [f"ALTER TABLE {table} DISABLE TRIGGER {name}" for table, name in triggers]
    return lift, [f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}" for table, name in triggers]


def _sqlite_statements(
    connection: BaseDatabaseWrapper, triggers: list[tuple[str, str, str]]
) -> tuple[list[str], list[str]]:
    quote = connection.ops.quote_name
    lift = [f"DROP TRIGGER {quote(name)}" for _, name, _ in triggers]
    restore = [sql for _, _, sql in triggers]
    # The next position follows the last row that is left, else the guard of positions would refuse it.
    restore += [
        f"UPDATE sqlite_sequence SET seq = (SELECT coalesce(max(rowid), 0) FROM {quote(table)}) WHERE name = '{table}'"
        for table in dict.fromkeys(table for table, _, _ in triggers)
    ]
    return lift, restore


_TRIGGERS: dict[str, Callable[..., list[Any]]] = {"postgresql": _postgresql_triggers, "sqlite": _sqlite_triggers}
_STATEMENTS: dict[str, Callable[..., tuple[list[str], list[str]]]] = {
    "postgresql": _postgresql_statements,
    "sqlite": _sqlite_statements,
}
