"""A past state says whether it is final, or whether what somebody has recorded may still be committed and change it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.db import IntegrityError, connection, transaction

from eventsourcing_app import CommandRejected, flow
from eventsourcing_app.exceptions import ConcurrencyError
from eventsourcing_app.log.append import COPY_FROM
from eventsourcing_app.log.locks import appending
from eventsourcing_app.models import StoredEvent
from tests.reactions_sample.scene import until
from tests.samples.factories import (
    LOG,
    WAIT,
    beside,
    elsewhere,
    failing,
    fetch,
    held_elsewhere,
    insert_rows,
    open_wallet,
    run_sql,
)
from tests.samples.models import Book, Wallet
from tests.storm.sessions import another_role, begin_append, sessions

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)
needs_postgres = pytest.mark.needs_postgres

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
INSTANT = timedelta(microseconds=1)


@pytest.fixture
def tick(settings: Settings) -> Callable[[timedelta], None]:
    """A clock that stands still until it is moved."""
    now = [NOON]

    def move(by: timedelta) -> None:
        now[0] += by

    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "CLOCK": lambda: now[0]}
    return move


def test_the_state_at_a_version_is_final(tick: Callable[[timedelta], None]) -> None:
    wallet = open_wallet("Ada", 1)
    assert Wallet.objects.at(wallet.pk, version=1).past_is_final
    assert Wallet.objects.at(wallet.pk, version=2).past_is_final
    assert Wallet.objects.get().past_is_final is None


def test_a_moment_is_final_once_it_lies_further_back_than_clocks_may_differ(tick: Callable[[timedelta], None]) -> None:
    wallet = open_wallet("Ada", 1)
    for passed, final in ((0, False), (5, False), (1, True)):
        tick(passed * SECOND)
        state = Wallet.objects.at(wallet.pk, when=NOON + INSTANT)
        assert (int(state.balance), state.past_is_final) == (1, final)
    for later in (SECOND, timedelta(days=1), timedelta(days=400)):
        assert not Wallet.objects.at(wallet.pk, when=NOON + 6 * SECOND + later).past_is_final


def test_a_later_event_of_the_stream_makes_a_moment_final_at_once(tick: Callable[[timedelta], None]) -> None:
    wallet = open_wallet("Ada", 1)
    tick(INSTANT)
    wallet.add(Decimal(1))
    wallet.save()
    assert Wallet.objects.at(wallet.pk, when=NOON).past_is_final
    assert not Wallet.objects.at(wallet.pk, when=NOON + INSTANT).past_is_final


def test_after_its_end_nothing_can_change(tick: Callable[[timedelta], None]) -> None:
    wallet = open_wallet("Ada", 1)
    wallet.close()
    wallet.save()
    assert Wallet.objects.at(wallet.pk, when=NOON).past_is_final
    assert Wallet.objects.at(wallet.pk, when=NOON + timedelta(days=400)).past_is_final


def test_an_open_append_keeps_a_moment_from_being_final(tick: Callable[[timedelta], None]) -> None:
    wallet, other = open_wallet("Ada", 1), open_wallet("Eve")
    tick(60 * SECOND)
    append = held_elsewhere(lambda: Wallet.objects.perform(other.pk, Wallet.add, Decimal(1)))
    with append as go_on:
        # The clock of the test goes on, while the transaction is as old as it is.
        open_since = NOON + 60 * SECOND
        state = Wallet.objects.at(wallet.pk, when=open_since - 5 * SECOND)
        assert (int(state.balance), state.past_is_final) == (1, False)
        assert Wallet.objects.at(other.pk, when=open_since).balance == 0
        go_on.set()
    assert Wallet.objects.at(wallet.pk, when=open_since - 5 * SECOND).past_is_final
    tick(10 * SECOND)
    state = Wallet.objects.at(other.pk, when=open_since)
    assert (int(state.balance), state.past_is_final) == (1, True)


@needs_postgres
def test_a_moment_before_the_open_append_began_is_final(tick: Callable[[timedelta], None]) -> None:
    wallet = open_wallet("Ada", 1)
    tick(120 * SECOND)
    with held_elsewhere(lambda: open_wallet("Eve")):
        assert Wallet.objects.at(wallet.pk, when=NOON).past_is_final
        assert not Wallet.objects.at(wallet.pk, when=NOON + 115 * SECOND).past_is_final


@needs_postgres
def test_a_writer_that_still_waits_for_the_log_counts_as_open(tick: Callable[[timedelta], None]) -> None:
    wallet = open_wallet("Ada", 1)
    tick(60 * SECOND)
    moment = NOON + 55 * SECOND

    def waits() -> bool:
        here = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        return bool(fetch(f"SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'RowExclusiveLock' AND {here}"))

    with held_elsewhere(lambda: run_sql(f"LOCK TABLE {LOG} IN SHARE MODE")) as go_on:
        assert Wallet.objects.at(wallet.pk, when=moment).past_is_final
        with beside(lambda: Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1))) as (writer,):
            until(waits)
            assert not Wallet.objects.at(wallet.pk, when=moment).past_is_final
            go_on.set()
            writer.result(WAIT)
    assert Wallet.objects.at(wallet.pk, when=moment).past_is_final


@needs_postgres
@pytest.mark.usefixtures("prepared_transactions")
def test_a_prepared_append_has_no_age_and_so_keeps_every_moment_open(tick: Callable[[timedelta], None]) -> None:
    wallet = open_wallet("Ada", 1)
    tick(timedelta(days=400))
    with sessions() as connect:
        session = connect()
        begin_append(session)
        assert Wallet.objects.at(wallet.pk, when=NOON).past_is_final
        session.execute("PREPARE TRANSACTION 'held'")
        assert not Wallet.objects.at(wallet.pk, when=NOON).past_is_final
        session.execute("ROLLBACK PREPARED 'held'")
        assert Wallet.objects.at(wallet.pk, when=NOON).past_is_final


@needs_postgres
def test_an_open_append_whose_age_may_not_be_seen_keeps_every_moment_open(tick: Callable[[timedelta], None]) -> None:
    wallet = open_wallet("Ada", 1)
    tick(timedelta(days=400))
    with sessions() as connect, another_role():
        assert Wallet.objects.at(wallet.pk, when=NOON).past_is_final
        begin_append(connect())
        assert not Wallet.objects.at(wallet.pk, when=NOON).past_is_final


@needs_postgres
def test_a_snapshot_that_stands_still_cannot_tell(tick: Callable[[timedelta], None]) -> None:
    wallet = open_wallet("Ada", 1)
    tick(600 * SECOND)
    with transaction.atomic():
        run_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert not Wallet.objects.at(wallet.pk, when=NOON).past_is_final
    with transaction.atomic():
        assert Wallet.objects.at(wallet.pk, when=NOON).past_is_final


def test_its_own_transaction_keeps_nothing_open(tick: Callable[[timedelta], None]) -> None:
    wallet = open_wallet("Ada", 1)
    with transaction.atomic():
        wallet.add(Decimal(1))
        wallet.save()
        tick(600 * SECOND)
        state = Wallet.objects.at(wallet.pk, when=NOON)
        assert (int(state.balance), state.past_is_final) == (2, True)


def _refused(wallet: Wallet) -> None:
    with failing(CommandRejected):
        Wallet.objects.perform_new(Wallet.open, owner="x" * 41)


def _nothing_to_do(wallet: Wallet) -> None:
    Wallet.objects.once("k").perform(wallet.pk, Wallet.tidy)


def _failed(wallet: Wallet) -> None:
    with failing(IntegrityError), transaction.atomic():
        Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1_000_001))


def _taken_back(wallet: Wallet) -> None:
    run_sql("SAVEPOINT before")
    Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1))
    run_sql("ROLLBACK TO SAVEPOINT before")


def _looked_back(wallet: Wallet) -> None:
    assert not Wallet.objects.at(wallet.pk, when=NOON).past_is_final


@pytest.mark.parametrize("first", [_refused, _nothing_to_do, _failed, _taken_back, _looked_back])
def test_a_flow_records_its_first_event_when_it_writes_it_whatever_it_tried_before(
    tick: Callable[[timedelta], None], first: Callable[[Wallet], None]
) -> None:
    wallet = open_wallet("Ada", 1)

    @flow("tests.slow", attempts=1)
    def slow() -> Wallet:
        first(wallet)
        tick(60 * SECOND)
        seen = elsewhere(lambda: Wallet.objects.at(wallet.pk, when=NOON + 30 * SECOND))
        Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1))
        return seen

    seen = slow()
    state = Wallet.objects.at(wallet.pk, when=NOON + 30 * SECOND)
    assert (state.version, seen.version) == (2, 2)
    assert seen.past_is_final or connection.vendor == "sqlite"
    assert StoredEvent.objects.latest("position").recorded_at == NOON + 60 * SECOND


def listed(isbn: str) -> Book:
    book = Book(isbn=isbn)
    book.list_it(title="Emma")
    return book


def save_both() -> None:
    Book.objects.save_all([listed("1"), listed("2")])


def _one_by_one(wallet: Wallet) -> None:
    @flow("tests.one_by_one")
    def one_by_one() -> None:
        Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1))

    one_by_one()


def _by_copy(wallet: Wallet) -> None:
    for _ in range(COPY_FROM):
        wallet.add(Decimal(1))
    wallet.save()


def _together(wallet: Wallet) -> None:
    save_both()


@needs_postgres
@pytest.mark.parametrize("write", [_one_by_one, _by_copy, _together])
def test_a_write_of_several_statements_counts_as_open_before_it_reads_the_clock(
    settings: Settings, write: Callable[[Wallet], None]
) -> None:
    wallet, open_at = open_wallet("Ada", 1), list[bool]()

    def clock() -> datetime:
        open_at.append(elsewhere(lambda: appending(connection).age is not None))
        return NOON

    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "CLOCK": clock}
    write(wallet)
    assert open_at == [True]


@needs_postgres
def test_a_writer_that_still_waits_for_a_key_counts_as_open(tick: Callable[[timedelta], None]) -> None:
    def waits() -> bool:
        return bool(fetch("SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"))

    with held_elsewhere(lambda: insert_rows("2")) as go_on, beside(save_both) as (writer,):
        until(waits)
        tick(5 * SECOND)
        assert not Book.objects.as_of(NOON).is_final
        go_on.set()
        with pytest.raises(ConcurrencyError):
            writer.result(WAIT)
    assert Book.objects.as_of(NOON).is_final


def test_what_is_loaded_again_is_of_now() -> None:
    wallet = open_wallet("Ada", 1)
    state = Wallet.objects.at(wallet.pk, version=1)
    state.refresh_from_db()
    assert (state.version, int(state.balance)) == (2, 1)
    assert state.past_is_final is None
