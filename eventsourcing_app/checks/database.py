"""Checks of the log's database. They run before ``migrate`` too, so what a pending migration repairs is no error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core import checks
from django.db import DatabaseError, connections, transaction
from django.db.migrations.loader import MigrationLoader

from eventsourcing_app.conf import conf
from eventsourcing_app.events.registry import registry
from eventsourcing_app.operations import PROTECTED, MakeAppendOnly

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.db import models
    from django.db.backends.base.base import BaseDatabaseWrapper

_POSTGRESQL, _SQLITE = 14_00_00, (3, 35)
_NAMED = 5


def check_log_database(*, databases: Sequence[str] | None = None, **_kwargs: Any) -> list[checks.CheckMessage]:
    """Check the log's database, if it is among those to be checked."""
    if conf.DATABASE not in (databases or ()) or conf.DATABASE not in connections:
        return []
    connection = connections[conf.DATABASE]
    unfit = list(_unfit(connection))
    if unfit:
        return unfit
    on_vendor = _postgresql if connection.vendor == "postgresql" else _sqlite
    return [*on_vendor(connection), *_tables(connection)]


def _unfit(connection: BaseDatabaseWrapper) -> Iterator[checks.CheckMessage]:
    driver = connection.Database  # type: ignore[attr-defined]  # each backend's wrapper has it
    if connection.vendor == "postgresql":
        if driver.__name__ == "psycopg2":
            yield _old_driver()
        elif connection.pg_version < _POSTGRESQL:  # type: ignore[attr-defined]  # PostgreSQL's alone has it
            yield _unsupported(connection, "a version before 14")
    elif connection.vendor == "sqlite":
        if driver.sqlite_version_info < _SQLITE:
            yield _unsupported(connection, "a version before 3.35")
    else:
        yield _unsupported(connection, "another database")


def _postgresql(connection: BaseDatabaseWrapper) -> Iterator[checks.CheckMessage]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('default_transaction_isolation'), current_setting('lock_timeout'),"
            " current_setting('idle_in_transaction_session_timeout')"
        )
        isolation, lock_timeout, idle_timeout = cursor.fetchone()
    if "isolation_level" in connection.settings_dict["OPTIONS"]:
        isolation = connection.isolation_level.name.lower().replace("_", " ")  # type: ignore[attr-defined]
    if isolation != "read committed":
        yield _isolation(isolation)
    if idle_timeout == "0":
        yield _no_idle_timeout()
    if lock_timeout == "0":
        yield _no_lock_timeout()


def _sqlite(connection: BaseDatabaseWrapper) -> Iterator[checks.CheckMessage]:
    if connection.is_in_memory_db():  # type: ignore[attr-defined]  # SQLite's alone has it
        return
    if str(connection.settings_dict["OPTIONS"].get("transaction_mode")).upper() not in {"IMMEDIATE", "EXCLUSIVE"}:
        yield _transaction_mode()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        (journal_mode,) = cursor.fetchone()
    if journal_mode != "wal":
        yield _journal_mode(journal_mode)


def _tables(connection: BaseDatabaseWrapper) -> Iterator[checks.CheckMessage]:
    tables = connection.introspection.table_names()
    for app_label, operation in PROTECTED:
        model = apps.get_model(app_label, operation.model_name)
        if model._meta.db_table not in tables:
            continue  # not migrated yet
        problems = list(_protection(connection, operation, model))
        if problems and not _repair_is_pending(connection, app_label, operation):
            yield from problems
    log = apps.get_model("eventsourcing_app", "StoredEvent")
    if log._meta.db_table in tables:
        unknown = _unknown_types(connection, log)
        if unknown:
            yield _unknown(unknown)


def _protection(
    connection: BaseDatabaseWrapper, operation: MakeAppendOnly, model: type[models.Model]
) -> Iterator[checks.CheckMessage]:
    damage = operation.damage(connection, model)
    if damage:
        yield _unprotected(model, damage)
    if connection.vendor == "postgresql" and operation.position is not None:
        yield from _identity(connection, model, operation.position)


def _identity(
    connection: BaseDatabaseWrapper, model: type[models.Model], position: str
) -> Iterator[checks.CheckMessage]:
    table, column = connection.ops.quote_name(model._meta.db_table), _column(model, position)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attidentity, seqcache, seqrelid::regclass::text, has_sequence_privilege(seqrelid, 'SELECT, USAGE')"
            " FROM pg_catalog.pg_attribute LEFT JOIN pg_catalog.pg_sequence"
            " ON seqrelid = pg_get_serial_sequence(%s, attname)::regclass"
            " WHERE attrelid = to_regclass(%s) AND attname = %s",
            [table, table, column],
        )
        (identity, cache, sequence, readable) = cursor.fetchone()
    if identity != "a" or cache != 1:
        yield _not_identity(model, column, cache)
    elif not readable:
        yield _unreadable_sequence(sequence)


def _column(model: type[models.Model], name: str) -> str:
    return next(str(field.column) for field in model._meta.concrete_fields if field.name == name)


def _repair_is_pending(connection: BaseDatabaseWrapper, app_label: str, operation: MakeAppendOnly) -> bool:
    try:
        with transaction.atomic(using=connection.alias):
            loader = MigrationLoader(connection)
    except DatabaseError:
        return False  # a role that cannot read which migrations are applied cannot apply any
    return any(
        isinstance(other, MakeAppendOnly) and other.references_model(operation.model_name, app_label)
        for key, migration in loader.graph.nodes.items()
        if key[0] == app_label and key not in loader.applied_migrations
        for other in migration.operations
    )


def _unknown_types(connection: BaseDatabaseWrapper, log: type[models.Model]) -> list[str]:
    table = connection.ops.quote_name(log._meta.db_table)
    with connection.cursor() as cursor:
        # Jumps from type to type in the index; DISTINCT would read the whole log.
        cursor.execute(
            f"WITH RECURSIVE stored (type) AS (SELECT min(type) FROM {table} UNION ALL"
            f" SELECT (SELECT min(type) FROM {table} WHERE type > stored.type) FROM stored WHERE type IS NOT NULL)"
            " SELECT type FROM stored WHERE type IS NOT NULL"
        )
        stored = [row[0] for row in cursor.fetchall()]
    known = {name for declaration in registry.all() for name in declaration.names}
    return [name for name in stored if name not in known]


def _unprotected(model: type[models.Model], damage: list[str]) -> checks.CheckMessage:
    return checks.Error(
        f"The table of {model._meta.label} is not append-only: {'; '.join(damage)}.",
        hint=f'Run: python manage.py shell -c "from eventsourcing_app.operations import protect; '
        f"protect('{conf.DATABASE}')\". On SQLite, a migration that alters the table drops its triggers: end it with "
        "MakeAppendOnly.",
        obj=model,
        id="eventsourcing_app.E001",
    )


def _not_identity(model: type[models.Model], column: str, cache: int | None) -> checks.CheckMessage:
    return checks.Error(
        f"{model._meta.label}.{column} is not GENERATED ALWAYS AS IDENTITY with CACHE 1 (its cache is {cache}): "
        "readers of the log could skip events.",
        hint=f'Run: ALTER TABLE "{model._meta.db_table}" ALTER COLUMN "{column}" SET GENERATED ALWAYS SET CACHE 1;',
        obj=model,
        id="eventsourcing_app.E002",
    )


def _unsupported(connection: BaseDatabaseWrapper, what: str) -> checks.CheckMessage:
    return checks.Error(
        f"The log's database {conf.DATABASE!r} is {what} ({connection.display_name}): the log cannot be kept safely "
        "there.",
        hint="Use PostgreSQL 14 or newer, or SQLite 3.35 or newer; EVENTSOURCING['DATABASE'] names the alias.",
        id="eventsourcing_app.E003",
    )


def _old_driver() -> checks.CheckMessage:
    return checks.Error(
        f"The log's database {conf.DATABASE!r} is reached through psycopg 2.",
        hint='Run: pip install "psycopg[binary]>=3.2". Django prefers it as soon as it is installed.',
        id="eventsourcing_app.E004",
    )


def _isolation(level: str) -> checks.CheckMessage:
    return checks.Error(
        f"Transactions on the log's database {conf.DATABASE!r} are {level.upper()}: a reader would not see what was "
        "committed after its transaction began.",
        hint="Remove isolation_level from the OPTIONS of that database and set default_transaction_isolation = 'read "
        "committed' on the server.",
        id="eventsourcing_app.E005",
    )


def _unreadable_sequence(sequence: str) -> checks.CheckMessage:
    return checks.Error(
        f"This database role may not read the sequence {sequence}: it can neither append nor read in a safe order.",
        # With USAGE, too, it could draw a position without storing an event at once.
        hint=f"Run, as the owner: GRANT SELECT ON SEQUENCE {sequence} TO <role>;",
        id="eventsourcing_app.E006",
    )


def _transaction_mode() -> checks.CheckMessage:
    return checks.Warning(
        f"SQLite database {conf.DATABASE!r} has no transaction_mode IMMEDIATE: of two writers at once, one fails with "
        '"database is locked" in the middle of its transaction.',
        hint='Write in its OPTIONS: "transaction_mode": "IMMEDIATE", "timeout": 20.',
        id="eventsourcing_app.W001",
    )


def _journal_mode(mode: str) -> checks.CheckMessage:
    return checks.Warning(
        f"SQLite database {conf.DATABASE!r} is in journal mode {mode!r}: readers and the writer block each other.",
        hint='Write in its OPTIONS: "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL".',
        id="eventsourcing_app.W002",
    )


def _unknown(types: list[str]) -> checks.CheckMessage:
    named = ", ".join(map(repr, types[:_NAMED])) + (", …" if len(types) > _NAMED else "")
    return checks.Warning(
        f"The log holds events of {len(types)} type(s) that this code does not declare: {named}.",
        hint='If one was renamed, keep its old name: @event("new.name", aliases=("old.name",)). If its app was '
        "removed, keep the declarations: history is made of them.",
        id="eventsourcing_app.W003",
    )


def _no_idle_timeout() -> checks.CheckMessage:
    return checks.Warning(
        "idle_in_transaction_session_timeout is 0: a forgotten transaction that has appended holds back every "
        "subscription until somebody ends it.",
        hint='Write in the OPTIONS of the database: "options": "-c idle_in_transaction_session_timeout=60s '
        '-c lock_timeout=10s".',
        id="eventsourcing_app.W004",
    )


def _no_lock_timeout() -> checks.CheckMessage:
    return checks.Warning(
        "lock_timeout is 0: a writer waits without end for a row that somebody else keeps locked.",
        hint='Write in the OPTIONS of the database: "options": "-c idle_in_transaction_session_timeout=60s '
        '-c lock_timeout=10s".',
        id="eventsourcing_app.W005",
    )
