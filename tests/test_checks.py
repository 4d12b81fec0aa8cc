"""System checks name what would make the log unsafe, slow or unreadable, and say what to write instead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from django.core import checks
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test.utils import override_settings

from eventsourcing_app.checks import database as database_checks
from eventsourcing_app.checks import declarations as declaration_checks
from eventsourcing_app.checks import register_checks
from eventsourcing_app.checks.database import check_log_database
from eventsourcing_app.checks.declarations import check_declarations
from eventsourcing_app.checks.queue import check_queue
from eventsourcing_app.checks.routing import check_routing
from eventsourcing_app.checks.settings import check_settings
from eventsourcing_app.events.registry import Declaration, Registry
from eventsourcing_app.events.registry import registry as events
from eventsourcing_app.models import StoredEvent
from tests.test_append_only import SEQUENCE, TABLE, insert, run

if TYPE_CHECKING:
    from collections.abc import Iterable

on_postgres, on_sqlite = pytest.mark.needs_postgres, pytest.mark.needs_sqlite
# What is checked depends on the kind of database, though none is asked.
pytestmark = pytest.mark.usefixtures("django_db_setup")

ADVICE = {"W004", "W005"}


def ids(messages: Iterable[checks.CheckMessage]) -> set[str]:
    """Every message also says what to do."""
    messages = list(messages)
    assert all(message.hint for message in messages)
    return {str(message.id).removeprefix("eventsourcing_app.") for message in messages}


def found_in_database() -> set[str]:
    return ids(check_log_database(databases=["default"])) - ADVICE


# The setting


@pytest.mark.parametrize(
    ("given", "expected", "said"),
    [
        ({}, set(), ""),
        ({"DATABASE": "default", "DISPATCHER": "none"}, set(), ""),
        ({"DATABSE": "default"}, {"W020"}, "Did you mean 'DATABASE'?"),
        ({"clock": None}, {"W020"}, "Did you mean 'CLOCK'?"),
        ({"XYZZY": 1}, {"W020"}, "It knows DATABASE, "),
        ({"CLOCK": lambda: datetime(2020, 1, 1, tzinfo=UTC)}, {"E021"}, "Remove CLOCK"),
        ({"DATABASE": "ledger"}, {"E022"}, "Name one of: 'default'"),
        ("default", {"E020"}, 'EVENTSOURCING = {"DATABASE": "default"}'),
    ],
)
def test_the_setting_is_checked_key_by_key(settings: Any, given: Any, expected: set[str], said: str) -> None:
    settings.EVENTSOURCING = given
    messages = check_settings()
    assert ids(messages) == expected
    assert said in "".join(str(message.hint) for message in messages)


def test_a_clock_is_allowed_while_debugging(settings: Any) -> None:
    settings.EVENTSOURCING = {"CLOCK": "somewhere.clock"}
    settings.DEBUG = True
    assert check_settings() == []


def test_requests_in_one_transaction_are_advised_against(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    assert ids(check_settings()) == {"W021"}


# Declared events


@dataclass
class Earlier:
    """Stands for an event."""


@dataclass
class Later:
    """Stands for another one."""


def test_a_wire_name_that_two_classes_claim_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry()
    registry.add(Declaration(name="bank.opened", cls=Earlier))
    registry.add(Declaration(name="bank.opened_again", cls=Later, aliases=("bank.opened",)))
    monkeypatch.setattr(declaration_checks, "registry", registry)
    (message,) = check_declarations()
    assert ids([message]) == {"E030"}
    assert "Earlier" in message.msg
    assert "Later" in message.msg


def test_a_gap_in_a_chain_of_upcasters_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry()
    registry.add(Declaration(name="bank.opened", cls=Earlier, version=4, upcasters={1: dict, 3: dict}))
    monkeypatch.setattr(declaration_checks, "registry", registry)
    (message,) = check_declarations()
    assert ids([message]) == {"E031"}
    assert "from version 2 to 3" in message.msg


# The queue

GOOD_CLUSTER = {"orm": "default", "timeout": 60, "retry": 120, "ack_failures": True, "save_limit": -1}


@pytest.mark.parametrize(
    ("changes", "expected", "line"),
    [
        ({}, set(), ""),
        ({"orm": None}, {"W040"}, '"orm": "default"'),
        ({"orm": None, "redis": {"host": "localhost"}}, {"W040"}, '"orm": "default"'),
        ({"orm": None, "sqs": {"aws_region": "eu"}}, set(), ""),
        ({"orm": "queue"}, {"W041"}, '"orm": "default"'),
        ({"timeout": None}, {"W042"}, '"timeout": 60'),
        ({"timeout": 120}, {"W043"}, '"retry": 240'),
        ({"timeout": 60, "retry": None}, {"W043"}, '"retry": 120'),
        ({"ack_failures": False}, {"W044"}, '"ack_failures": True'),
        ({"ack_failures": None}, {"W044"}, '"ack_failures": True'),
        ({"save_limit": 0}, {"W045"}, '"save_limit": -1'),
        ({"save_limit": None}, {"W045"}, '"save_limit": -1'),
    ],
)
def test_each_setting_of_the_queue_that_costs_something_is_named(
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    expected: set[str],
    line: str,
) -> None:
    settings.EVENTSOURCING = {"DISPATCHER": "django_q"}
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 60)
    settings.Q_CLUSTER = {key: value for key, value in {**GOOD_CLUSTER, **changes}.items() if value is not None}
    messages = check_queue()
    assert ids(messages) == expected
    assert line in "".join(str(message.hint) for message in messages)


def test_a_queue_that_is_not_used_is_not_checked(settings: Any) -> None:
    settings.EVENTSOURCING = {"DISPATCHER": "none"}
    settings.Q_CLUSTER = {}
    assert check_queue() == []


def test_a_queue_that_is_not_installed_is_an_error(settings: Any) -> None:
    settings.EVENTSOURCING = {"DISPATCHER": "django_q"}
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_q"]
    assert ids(check_queue()) == {"E040"}


@on_postgres
def test_connecting_for_each_task_is_advised_against(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.EVENTSOURCING = {"DISPATCHER": "django_q"}
    settings.Q_CLUSTER = GOOD_CLUSTER
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 0)
    assert ids(check_queue()) == {"W046"}
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "pool", True)
    assert check_queue() == []


# Routers


class ElsewhereRouter:
    """Sends one model away."""

    def db_for_write(self, model: Any, **_hints: Any) -> str | None:
        return "replica" if model.__name__ in {"StoredEvent", "Wallet"} else None


class ClosedRouter:
    """Keeps one model out."""

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **_hints: Any) -> bool | None:
        return False if model_name in {"segment", "wallet"} else None


@pytest.mark.parametrize(
    ("router", "expected", "models"),
    [(ElsewhereRouter, "E050", {"StoredEvent", "Wallet"}), (ClosedRouter, "E051", {"Segment", "Wallet"})],
)
def test_a_router_that_parts_log_and_state_is_an_error(
    settings: Any, router: type, expected: str, models: set[str]
) -> None:
    assert check_routing() == []
    settings.DATABASE_ROUTERS = [router()]
    messages = check_routing()
    assert ids(messages) == {expected}
    assert {message.obj.__name__ for message in messages} == models


# The database


@pytest.mark.django_db
def test_a_database_is_checked_only_if_it_was_asked_for() -> None:
    run(f"DROP TRIGGER {on_table('statement', 'delete')}")
    assert check_log_database(databases=None) == []
    assert check_log_database(databases=["other"]) == []
    assert found_in_database() == {"E001"}


def on_table(postgres: str, sqlite: str) -> str:
    if connection.vendor == "postgresql":
        return f"eventsourcing_append_only_{postgres} ON {TABLE}"
    return f"{TABLE}_append_only_{sqlite}"


@pytest.mark.django_db
def test_the_database_of_these_tests_is_in_order() -> None:
    assert found_in_database() == set()


@pytest.mark.django_db
def test_nothing_is_said_of_tables_that_are_still_to_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoredEvent._meta, "db_table", "no_such_table")
    assert found_in_database() == set()


@pytest.mark.django_db
def test_what_a_pending_migration_repairs_does_not_stop_migrate() -> None:
    run(f"DROP TRIGGER {on_table('row', 'update')}")
    assert found_in_database() == {"E001"}
    MigrationRecorder(connection).record_unapplied("eventsourcing_app", "0001_initial")
    assert found_in_database() == set()


@pytest.mark.django_db
def test_stored_types_that_the_code_no_longer_knows_are_named() -> None:
    for number, name in enumerate(["samples.counted", "gone.a", "gone.b", "gone.b", "samples.counted", "gone.a"]):
        insert(type=name, version=number + 1)
    (message,) = [message for message in check_log_database(databases=["default"]) if str(message.id).endswith("W003")]
    assert "2 type(s)" in message.msg
    assert "'gone.a', 'gone.b'" in message.msg


@pytest.mark.django_db
def test_types_are_found_by_jumping_through_the_index() -> None:
    for version in range(1, 200):
        insert(type=f"gone.{version % 3}", version=version)
    with connection.execute_wrapper(explained := Explained()):
        assert found_in_database() == {"W003"}
    assert "eventsourcing_type" in explained.plan
    assert "DISTINCT" not in explained.plan


class Explained:
    """Keeps the plan of the query over types."""

    plan = ""

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("WITH RECURSIVE"):
            with connection.cursor() as cursor:
                if connection.vendor == "postgresql":
                    cursor.execute("SET LOCAL enable_seqscan = off")
                cursor.execute(f"EXPLAIN {'' if connection.vendor == 'postgresql' else 'QUERY PLAN '}{sql}")
                self.plan = str(cursor.fetchall())
        return execute(sql, params, many, context)


@on_postgres
@pytest.mark.django_db
@pytest.mark.parametrize("change", ["SET GENERATED BY DEFAULT", "SET CACHE 20"])
def test_an_identity_that_could_hand_out_positions_early_is_an_error(change: str) -> None:
    run(f"ALTER TABLE {TABLE} ALTER COLUMN position {change}")
    assert found_in_database() == {"E002"}


@on_postgres
@pytest.mark.django_db
def test_a_disabled_trigger_is_an_error() -> None:
    run(f"ALTER TABLE {TABLE} DISABLE TRIGGER USER")
    (message,) = [message for message in check_log_database(databases=["default"]) if str(message.id).endswith("E001")]
    assert message.msg.count("is disabled") == 3


@on_postgres
@pytest.mark.django_db
def test_a_role_that_cannot_read_the_sequence_gets_the_grant_to_ask_for() -> None:
    run("CREATE ROLE eventsourcing_reader")
    run(f"GRANT SELECT, INSERT ON {TABLE} TO eventsourcing_reader")
    run("SET LOCAL ROLE eventsourcing_reader")
    (message,) = [message for message in check_log_database(databases=["default"]) if str(message.id).endswith("E006")]
    assert f"GRANT SELECT ON SEQUENCE {SEQUENCE} TO" in str(message.hint)


@on_postgres
@pytest.mark.django_db
def test_another_isolation_level_is_an_error() -> None:
    run("SET LOCAL default_transaction_isolation = 'repeatable read'")
    assert found_in_database() == {"E005"}


@on_postgres
@pytest.mark.django_db
def test_an_isolation_level_in_the_options_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "isolation_level", 3)
    monkeypatch.setattr(connection, "isolation_level", SimpleNamespace(name="SERIALIZABLE"))
    assert found_in_database() == {"E005"}


@on_postgres
@pytest.mark.django_db
def test_timeouts_that_are_off_are_advised_against() -> None:
    run("SET LOCAL lock_timeout = 0")
    run("SET LOCAL idle_in_transaction_session_timeout = 0")
    assert ids(check_log_database(databases=["default"])) == {"W004", "W005"}
    run("SET LOCAL lock_timeout = '10s'")
    run("SET LOCAL idle_in_transaction_session_timeout = '60s'")
    assert ids(check_log_database(databases=["default"])) == set()


@on_sqlite
@pytest.mark.django_db
def test_sqlite_without_immediate_transactions_or_wal_is_advised_against(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(connection.settings_dict["OPTIONS"], "transaction_mode")
    assert found_in_database() == {"W001"}
    assert ids(database_checks._sqlite(in_journal_mode("delete"))) == {"W002"}


def in_journal_mode(mode: str) -> Any:
    cursor = SimpleNamespace(execute=lambda _sql: None, fetchone=lambda: (mode,))

    class Cursor:
        def __enter__(self) -> Any:
            return cursor

        def __exit__(self, *_error: object) -> None:
            pass

    options = {"transaction_mode": "immediate"}
    return SimpleNamespace(is_in_memory_db=lambda: False, settings_dict={"OPTIONS": options}, cursor=Cursor)


@pytest.mark.parametrize(
    ("unfit", "expected"),
    [
        ({"vendor": "mysql", "Database": SimpleNamespace(__name__="MySQLdb")}, "E003"),
        ({"vendor": "postgresql", "Database": SimpleNamespace(__name__="psycopg"), "pg_version": 13_00_09}, "E003"),
        ({"vendor": "postgresql", "Database": SimpleNamespace(__name__="psycopg2"), "pg_version": 16_00_00}, "E004"),
        ({"vendor": "sqlite", "Database": SimpleNamespace(__name__="sqlite3", sqlite_version_info=(3, 34, 1))}, "E003"),
    ],
)
def test_a_database_that_cannot_keep_the_log_is_an_error(
    monkeypatch: pytest.MonkeyPatch, unfit: dict[str, Any], expected: str
) -> None:
    made = SimpleNamespace(display_name="X", **unfit)
    monkeypatch.setattr(database_checks, "connections", {"default": made})
    assert found_in_database() == {expected}


# All together


def test_the_checks_are_registered_under_their_tags() -> None:
    register_checks()
    registered: set[Any] = set(checks.registry.registry.registered_checks)
    tags = {check.__name__: check.tags for check in registered}
    assert tags["check_log_database"] == (checks.Tags.database, "eventsourcing")
    for name in ("check_settings", "check_declarations", "check_queue", "check_routing"):
        assert tags[name] == ("eventsourcing",)


@pytest.mark.django_db
def test_the_tests_project_passes_its_own_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without the events, some of them wrong on purpose, that modules of tests declare for themselves.
    own = Registry()
    for declaration in events.all():
        if not declaration.place.startswith("tests.test_"):
            own.add(declaration)
    monkeypatch.setattr(declaration_checks, "registry", own)
    register_checks()
    call_command("check", "--tag", "eventsourcing", "--database", "default")


def test_a_field_that_cannot_be_stored_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Vague:
        what: list  # type: ignore[type-arg]
        why: object

    registry = Registry()
    registry.add(Declaration(name="bank.vague", cls=Vague))
    monkeypatch.setattr(declaration_checks, "registry", registry)
    assert [message.id for message in check_declarations()] == ["eventsourcing_app.E032"] * 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("DISPATCHER", "djano_q"),
        ("LEASE_SECONDS", "60"),
        ("LEASE_SECONDS", 0),
        ("SNAPSHOT_EVERY", -1),
        ("SNAPSHOT_EVERY", True),
        ("RETRY_SECONDS", 5),
        ("RETRY_SECONDS", (300.0, 1.0)),
        ("DENIED_METADATA", "iban"),
        ("MAX_EVENT_BYTES", 1.5),
        ("VISIBLE_EVENTS", "nowhere.to_be_found"),
        ("VISIBLE_EVENTS", True),
    ],
)
def test_a_setting_of_the_wrong_shape_is_an_error(key: str, value: object) -> None:
    with override_settings(EVENTSOURCING={key: value}):
        assert ids(check_settings()) == {"E023"}
