"""Workers share how far the log is settled without waiting for each other."""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from eventsourcing_app.log import locks
from eventsourcing_app.log.locks import Look
from eventsourcing_app.log.records import SettledPosition
from eventsourcing_app.log.settled import last_position, settled_position
from tests.storm.sessions import append_here, begin_append, run_sql, sessions, settle, shared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.storm.sessions import Connect

pytestmark = [pytest.mark.needs_postgres, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def connect(transactional_db: None) -> Iterator[Connect]:
    with sessions() as connect:
        yield connect


def test_what_another_worker_found_suffices_if_it_lies_beyond() -> None:
    position = append_here()
    settled_position()
    append_here()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert settled_position(beyond=position - 1) == position
    assert len(queries) == 1
    assert settled_position(beyond=position) == position + 1


def test_nothing_is_written_where_nothing_is_new(connect: Connect) -> None:
    append_here()
    begin_append(connect())
    settle()
    with CaptureQueriesContext(connection) as queries:
        settled_position()
    assert not [query for query in queries if not query["sql"].lstrip().startswith(("SELECT", "WITH"))]


def test_the_shared_row_comes_back_after_it_was_deleted(connect: Connect) -> None:
    writer = connect()
    held = begin_append(writer)
    settle()
    SettledPosition.objects.all().delete()
    assert settle() < held
    writer.execute("COMMIT")
    SettledPosition.objects.all().delete()
    assert settle() == held
    assert shared() == (held, None, [])


def test_a_worker_never_waits_for_another_to_share(connect: Connect) -> None:
    append_here()
    settled_position()
    other, position = connect(), append_here()
    other.execute("BEGIN")
    other.execute(f"SELECT 1 FROM {SettledPosition._meta.db_table} FOR UPDATE")
    run_sql("SET lock_timeout = '1s'")
    try:
        assert settled_position() == position
    finally:
        run_sql("RESET lock_timeout")
    assert shared()[0] < position


def test_a_transaction_does_not_keep_the_shared_row_locked(connect: Connect) -> None:
    append_here()
    settled_position()
    append_here()
    with transaction.atomic():
        settled_position()
        connect().execute(f"SELECT 1 FROM {SettledPosition._meta.db_table} FOR UPDATE NOWAIT")


def test_a_slow_worker_puts_no_older_candidate_back(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    append_here()
    settled_position()
    begin_append(connect())
    look, slow = locks.look, [True]

    def look_slowly(*args: object) -> Look:
        found = look(connection)
        if slow:
            slow.clear()
            newer = begin_append(connect())
            worker = Thread(target=advance_in_another_session)
            worker.start()
            worker.join()
            assert shared()[1] == newer
        return found

    def advance_in_another_session() -> None:
        settled_position()
        connection.close()

    monkeypatch.setattr(locks, "look", look_slowly)
    settled_position()
    assert shared()[1] == last_position()
