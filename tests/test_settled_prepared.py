"""Prepared transactions hold the settled position back through preparing, crashes and restarts, and no longer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from eventsourcing_app.log.locks import Look, Waiting
from eventsourcing_app.log.records import SettledPosition
from eventsourcing_app.log.settled import oldest_open_append, settled_position
from tests.storm.sessions import append, append_here, begin_append, sessions, settle, shared
from tests.storm.sql import LOG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.storm.sessions import Connect

pytestmark = pytest.mark.django_db(transaction=True)
needs_postgres = pytest.mark.needs_postgres

START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(days=1)
OPEN_LOCK = f"""
SELECT virtualtransaction FROM pg_locks WHERE mode = 'RowExclusiveLock' AND pid = %s AND relation = '{LOG}'::regclass
"""


@pytest.fixture
def connect(transactional_db: None) -> Iterator[Connect]:
    with sessions() as connect:
        yield connect


@needs_postgres
@pytest.mark.usefixtures("prepared_transactions")
@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_transaction_prepared_between_two_looks_still_holds_back(connect: Connect, end: str) -> None:
    writer = connect()
    held = begin_append(writer)
    later = append_here()
    assert settle() < held
    writer.execute("PREPARE TRANSACTION 'between'")
    assert settle() < held
    SettledPosition.objects.update(server_started_at=START)  # the server restarts: it gets another name
    assert settle() < held
    found = oldest_open_append()
    assert found
    assert (found.pid, found.prepared) == (None, "between")
    writer.execute(f"{end} PREPARED 'between'")
    assert settle() == later


@needs_postgres
@pytest.mark.usefixtures("prepared_transactions")
def test_a_prepared_transaction_survives_the_server_that_prepared_it(connect: Connect) -> None:
    writer = connect()
    writer.execute("BEGIN")
    writer.execute("SAVEPOINT inner_one")
    held = append(writer)
    writer.execute("PREPARE TRANSACTION 'survivor'")
    append_here()
    assert settle() < held
    SettledPosition.objects.update(server_started_at=START)
    assert settle() < held
    assert shared()[2][0].startswith("prepared ")


def test_a_vanished_transaction_may_be_any_of_the_prepared_ones() -> None:
    waiting = Waiting(candidate=9, holders=frozenset({"3/45", "4/7"}), server_started_at=START)
    prepared = Look(server_started_at=START, plain=frozenset({"4/7", "5/1"}), prepared=frozenset({"prepared 733"}))
    assert waiting.still_open(prepared) == {"4/7", "prepared 733"}


def test_waiting_for_a_vanished_transaction_comes_to_an_end() -> None:
    waiting = Waiting(candidate=9, holders=frozenset({"prepared 733"}), server_started_at=START)
    others = Look(server_started_at=START, plain=frozenset({"5/1"}), prepared=frozenset({"prepared 800"}))
    assert waiting.still_open(others) == set()


def test_of_another_servers_transactions_only_prepared_ones_are_waited_for() -> None:
    waiting = Waiting(candidate=9, holders=frozenset({"3/45", "prepared 700"}), server_started_at=START)
    again = Look(server_started_at=LATER, plain=frozenset({"3/45"}), prepared=frozenset({"prepared 733"}))
    assert waiting.still_open(again) == {"prepared 733"}


@needs_postgres
def test_after_a_restart_a_name_used_again_is_not_waited_for(connect: Connect) -> None:
    writer, candidate = connect(), append_here()
    begin_append(writer)
    pid = writer.info.backend_pid
    ((name,),) = writer.execute(OPEN_LOCK, [pid]).fetchall()
    SettledPosition.objects.create(candidate=candidate, holders=[name], server_started_at=START)
    assert settled_position() == candidate
