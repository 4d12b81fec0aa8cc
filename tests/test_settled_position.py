"""A position is settled once every transaction that could still write at or below it has ended, and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from django.db import connection, transaction

from eventsourcing_app.log import locks
from eventsourcing_app.log.records import SettledPosition
from eventsourcing_app.log.settled import last_position, oldest_open_append, settled_position
from tests.storm.run import dsn
from tests.storm.sessions import append, append_here, begin_append, run_sql, sessions, settle, shared
from tests.storm.sql import LOG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.storm.sessions import Connect

pytestmark = pytest.mark.django_db(transaction=True)
needs_postgres = pytest.mark.needs_postgres


@pytest.fixture
def connect(transactional_db: None) -> Iterator[Connect]:
    with sessions() as connect:
        yield connect


def test_an_empty_log_is_settled_at_its_last_position() -> None:
    assert settled_position() == last_position()


def test_what_is_committed_alone_is_settled_at_once() -> None:
    position = append_here()
    assert settled_position() == last_position() == position


def test_a_transaction_counts_its_own_events_and_shares_nothing() -> None:
    with transaction.atomic():
        position = append_here()
        assert settled_position() == position
        assert not SettledPosition.objects.exists()
        transaction.set_rollback(True)
    assert not SettledPosition.objects.exists()


@pytest.mark.needs_sqlite
def test_sqlite_needs_no_shared_row() -> None:
    append_here()
    settled_position()
    assert oldest_open_append() is None
    assert not SettledPosition.objects.exists()


# An open append


@needs_postgres
@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_an_open_append_holds_back_whatever_was_drawn_after_it(connect: Connect, end: str) -> None:
    writer = connect()
    held = begin_append(writer)
    later = append_here()
    assert settle() < held
    assert last_position() == later
    writer.execute(end)
    assert settle() == later


@needs_postgres
def test_a_wait_that_one_worker_began_is_finished_by_another(connect: Connect) -> None:
    writer = connect()
    held = begin_append(writer)
    settle()
    writer.execute("COMMIT")
    begin_append(connect())  # somebody is always writing
    assert settled_position() == held
    assert shared()[0] == held


@needs_postgres
def test_an_append_that_begins_while_the_position_is_taken_is_not_overlooked(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = append_here()
    writer, asked = connect(), []

    def between(question: Callable[..., object]) -> Callable[..., object]:
        def ask(*args: object) -> object:
            asked.append(question)
            if len(asked) == 2:
                begin_append(writer)
            return question(*args)

        return ask

    for name in ("ask", "look"):
        monkeypatch.setattr(locks, name, between(getattr(locks, name)))
    assert settled_position() <= before
    assert len(asked) == 2


@needs_postgres
def test_an_append_in_a_rolled_back_savepoint_holds_nothing_back(connect: Connect) -> None:
    writer = connect()
    writer.execute("BEGIN")
    writer.execute("SAVEPOINT attempt")
    append(writer)
    writer.execute("ROLLBACK TO SAVEPOINT attempt")
    later = append_here()
    assert settle() == later
    held = append(writer)
    append_here()
    assert settle() == held - 1


@needs_postgres
def test_a_sequence_that_was_never_used_settles_nothing(connect: Connect) -> None:
    run_sql(f"ALTER TABLE {LOG} ALTER COLUMN position RESTART")
    assert settled_position() == last_position() == 0
    assert begin_append(connect()) == 1
    assert settle() == 0


@needs_postgres
def test_positions_drawn_in_vain_are_settled(connect: Connect) -> None:
    writer = connect()
    drawn = begin_append(writer)
    writer.execute("ROLLBACK")
    assert settled_position() == last_position() == drawn


# What is no concern of the log


@needs_postgres
def test_the_same_table_of_another_database_holds_nothing_back(connect: Connect) -> None:
    name = connection.settings_dict["NAME"]
    clone = f"{name}_clone"
    connection.close()
    with connection._nodb_cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{clone}" TEMPLATE "{name}"')
    try:
        with psycopg.connect(dsn(), dbname=clone, autocommit=True) as foreign:
            begin_append(foreign)
            assert settle() == append_here() - 1
            assert settle() == last_position()
            assert oldest_open_append() is None
    finally:
        with connection._nodb_cursor() as cursor:
            cursor.execute(f'DROP DATABASE "{clone}"')


@needs_postgres
def test_other_tables_and_readers_hold_nothing_back(connect: Connect) -> None:
    other = connect()
    other.execute("BEGIN")
    other.execute("INSERT INTO eventsourcing_app_wake (slot) VALUES (7)")
    other.execute(f"SELECT count(*) FROM {LOG}")
    other.execute(f"LOCK TABLE {LOG} IN ROW SHARE MODE")
    position = append_here()
    assert settled_position() == position


@needs_postgres
def test_the_log_is_found_through_the_search_path(connect: Connect) -> None:
    append_here()
    begin_append(connect())
    with transaction.atomic():
        run_sql("CREATE SCHEMA tenant")
        for table in (LOG, SettledPosition._meta.db_table):
            run_sql(f"CREATE TABLE tenant.{table} (LIKE public.{table} INCLUDING ALL)")
        run_sql("SET LOCAL search_path = tenant, public")
        assert settled_position() == last_position() == 0
        assert append_here() == settled_position() == 1
        transaction.set_rollback(True)
