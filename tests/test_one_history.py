"""Each aggregate has one history: versions 1 to n, and of two writers who loaded the same version one is refused."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from django.db import DatabaseError, IntegrityError, connection, models, transaction

from eventsourcing_app.exceptions import AppendOnly, ConcurrencyError, SpentInstance, UnrecordedChange
from eventsourcing_app.log.append import COPY_FROM, NewEvent, append
from eventsourcing_app.log.errors import conflicts_translated
from eventsourcing_app.models import StoredEvent
from tests.samples.factories import (
    LOG,
    SEVERAL,
    WAIT,
    add,
    begin_counter,
    beside,
    change_row,
    elsewhere,
    failing,
    faults,
    held_elsewhere,
    list_book,
    open_wallet,
    run_sql,
    types,
    versions,
)
from tests.samples.models import Book, Counter, Customer, Wallet

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)


def two_of(wallet: Wallet) -> tuple[Wallet, Wallet]:
    return Wallet.objects.get(pk=wallet.pk), Wallet.objects.get(pk=wallet.pk)


# Numbers


def test_versions_count_every_event_from_one() -> None:
    wallet = open_wallet("Ada", 1, 2)
    assert (wallet.version, versions(wallet)) == (3, [1, 2, 3])
    add(wallet, COPY_FROM).save()
    assert versions(wallet) == list(range(1, 4 + COPY_FROM))
    assert Wallet.objects.get(pk=wallet.pk).version == wallet.version == 3 + COPY_FROM


def test_save_tells_position_version_and_time() -> None:
    wallet = open_wallet("Ada", 1)
    last = wallet.history().last()
    assert last is not None
    assert (wallet.position, wallet.version, wallet.changed_at) == (last.position, last.version, last.recorded_at)
    assert Wallet.objects.get(pk=wallet.pk).position is None
    wallet.refresh_from_db()
    assert wallet.position is None


def test_a_version_cannot_be_assigned() -> None:
    wallet = open_wallet()
    wallet.version = 7
    with pytest.raises(UnrecordedChange, match="version"):
        add(wallet)
    with pytest.raises(UnrecordedChange, match="version"):
        Wallet(version=7).open(owner="Ada")


def test_a_copy_under_a_new_key_cannot_begin_a_history_in_its_middle() -> None:
    wallet = open_wallet("Ada", 1)
    wallet.pk, wallet._state.adding = UUID(int=5), True
    with pytest.raises(UnrecordedChange):
        wallet.open(owner="Eve")
    assert StoredEvent.objects.count() == 2


def test_a_stream_that_is_ahead_of_its_row_is_not_written_twice() -> None:
    wallet = open_wallet("Ada", 1, 1)
    change_row(Wallet, wallet.pk, version=1)
    loaded = Wallet.objects.get(pk=wallet.pk)
    with pytest.raises(ConcurrencyError), transaction.atomic():
        add(loaded).save()
    assert versions(wallet) == [1, 2, 3]


# Conflicts


@pytest.mark.parametrize("times", SEVERAL)
def test_the_second_of_two_writers_is_refused_and_told_both_versions(times: int) -> None:
    first, second = two_of(open_wallet())
    add(first, 2).save()
    add(second, times)
    with pytest.raises(ConcurrencyError) as caught:
        second.save()
    error = caught.value
    assert (error.stream_type, error.stream_key) == ("samples.wallet", str(first.pk))
    assert (error.expected, error.actual) == (1, 3)
    assert isinstance(error, DatabaseError)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.expected, again.actual) == (str(error), 1, 3)
    assert Wallet.objects.get(pk=first.pk).balance == 2
    assert versions(first) == [1, 2, 3]


@pytest.mark.parametrize("times", SEVERAL)
def test_a_conflict_leaves_the_outer_transaction_usable(times: int) -> None:
    first, second = two_of(open_wallet())
    add(first).save()
    with transaction.atomic():
        kept = open_wallet("Eve")
        add(second, times)
        with pytest.raises(ConcurrencyError):
            second.save()
        assert Wallet.objects.get(pk=first.pk).balance == 1
        add(kept).save()
    assert Wallet.objects.get(pk=kept.pk).balance == 1


def test_a_refused_writer_is_spent() -> None:
    first, second = two_of(open_wallet())
    add(first).save()
    add(second)
    with pytest.raises(ConcurrencyError):
        second.save()
    for use in (lambda: add(second), second.save, second.tidy, lambda: second.save(update_fields=["note"])):
        with pytest.raises(SpentInstance, match="ConcurrencyError"):
            use()
    second.refresh_from_db()
    add(second).save()
    assert second.balance == 2


def test_a_row_that_is_gone_is_a_conflict() -> None:
    wallet = open_wallet()
    run_sql("DELETE FROM samples_wallet WHERE id = %s", [_raw(wallet)])
    with pytest.raises(ConcurrencyError) as caught:
        add(wallet).save()
    assert (caught.value.expected, caught.value.actual) == (1, None)
    assert versions(wallet) == [1]


def _raw(wallet: Wallet) -> object:
    return wallet.pk if connection.vendor == "postgresql" else wallet.pk.hex


@pytest.mark.parametrize("times", SEVERAL)
def test_a_natural_key_is_created_once(times: int) -> None:
    list_book("1", "Emma")
    again = Book(isbn="1")
    again.list_it(title="Persuasion")
    for _ in range(times - 1):
        again.rename(title="Sanditon")
    with pytest.raises(ConcurrencyError) as caught, transaction.atomic():
        again.save()
    assert (caught.value.stream_key, caught.value.expected) == ("1", 0)
    assert types() == ["book_listed"]
    assert Book.objects.get().title == "Emma"


def test_a_drawn_key_that_is_taken_is_a_conflict() -> None:
    begin_counter(by=1)
    again = Counter(number=Counter.objects.get().pk)
    again.begin(by=2)
    with pytest.raises(ConcurrencyError), transaction.atomic():
        again.save()
    assert Counter.objects.get().total == 1
    assert types() == ["counted"]


def test_a_key_with_a_history_but_no_row_is_not_created_again() -> None:
    list_book("1")
    run_sql("DELETE FROM samples_book")
    again = Book(isbn="1")
    again.list_it(title="Persuasion")
    with pytest.raises(ConcurrencyError), transaction.atomic():
        again.save()
    assert not Book.objects.exists()
    assert types() == ["book_listed"]


def test_two_new_aggregates_of_one_key_are_refused_together() -> None:
    books = [Book(isbn="1"), Book(isbn="1")]
    for book in books:
        book.list_it(title="Emma")
    with pytest.raises((ConcurrencyError, ValueError)):
        Book.objects.save_all(books)
    assert not Book.objects.exists()
    assert not StoredEvent.objects.exists()


@pytest.mark.needs_postgres
def test_a_renamed_table_still_tells_a_taken_key() -> None:
    list_book("1")
    run_sql("ALTER TABLE samples_book RENAME CONSTRAINT samples_book_pkey TO library_book_pkey")
    again = Book(isbn="1")
    again.list_it(title="Persuasion")
    with pytest.raises(ConcurrencyError), transaction.atomic():
        again.save()


@pytest.mark.needs_postgres
@committing
def test_a_writer_waits_for_the_one_who_holds_the_row_and_is_then_refused() -> None:
    wallet = open_wallet()

    def change() -> None:
        add(Wallet.objects.get(pk=wallet.pk)).save()

    stale = add(Wallet.objects.get(pk=wallet.pk))
    with held_elsewhere(change) as go_on, beside(stale.save) as (waiting,):
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        go_on.set()
        with pytest.raises(ConcurrencyError) as caught:
            waiting.result(WAIT)
    assert (caught.value.expected, caught.value.actual) == (1, 2)
    assert versions(wallet) == [1, 2]


@pytest.mark.needs_postgres
@committing
def test_a_writer_goes_on_where_the_one_who_held_the_row_rolled_back() -> None:
    wallet = open_wallet()
    stale = add(Wallet.objects.get(pk=wallet.pk))

    def change_and_fail() -> None:
        with transaction.atomic():
            add(Wallet.objects.get(pk=wallet.pk)).save()
            transaction.set_rollback(True)

    with held_elsewhere(change_and_fail) as go_on:
        go_on.set()
    stale.save()
    assert versions(wallet) == [1, 2]


@pytest.mark.needs_postgres
@committing
def test_two_who_create_one_key_at_the_same_time_are_told_apart() -> None:
    def create() -> None:
        list_book("1", "Emma")

    with held_elsewhere(create) as go_on, beside(create) as (waiting,):
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        go_on.set()
        with pytest.raises(ConcurrencyError):
            waiting.result(WAIT)
    assert types() == ["book_listed"]


@pytest.mark.needs_postgres
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
@committing
def test_a_serialization_failure_is_a_conflict(level: str) -> None:
    wallet = open_wallet()
    for write in ("save", "perform", "locked", "save_all"):
        with failing(ConcurrencyError) as caught, transaction.atomic():
            run_sql(f"SET TRANSACTION ISOLATION LEVEL {level}")
            mine = Wallet.objects.get(pk=wallet.pk)
            elsewhere(lambda: add(Wallet.objects.get(pk=wallet.pk)).save())
            if write == "save":
                add(mine).save()
            elif write == "perform":
                Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1))
            elif write == "save_all":
                Wallet.objects.save_all([add(mine)])
            else:
                with Wallet.objects.locked([wallet.pk]) as (locked,):
                    add(locked)
        assert caught.value.stream_type == "samples.wallet", write
    assert versions(wallet) == [1, 2, 3, 4, 5]


def test_a_refusal_of_the_protection_is_not_taken_for_a_conflict() -> None:
    open_wallet()
    with (
        pytest.raises(DatabaseError, match="eventsourcing:append_only") as caught,
        conflicts_translated("samples.wallet", "1", expected=1, primary_key="samples_wallet.id"),
        transaction.atomic(),
    ):
        run_sql(f"UPDATE {LOG} SET version = 1")
    assert not isinstance(caught.value, ConcurrencyError)


def test_another_unique_column_is_not_taken_for_a_conflict() -> None:
    Customer.objects.create(pk=1, name="Ada")
    with (
        pytest.raises(IntegrityError),
        conflicts_translated("samples.wallet", "1", expected=1, primary_key="samples_wallet.id"),
        transaction.atomic(),
    ):
        models.QuerySet(Customer).create(pk=1, name="Eve")


def test_an_error_of_the_caller_passes_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError), conflicts_translated("a", "b", expected=None):
        raise ZeroDivisionError


def test_only_append_writes() -> None:
    with pytest.raises(AppendOnly):
        StoredEvent.objects.create()
    with pytest.raises(AppendOnly):
        StoredEvent.objects.bulk_create([StoredEvent()])


def test_the_database_itself_refuses_a_second_event_of_a_version() -> None:
    wallet = open_wallet()
    event = NewEvent("samples.wallet", wallet.stream_key, 1, "samples.wallet_opened", 1, '{"owner":"Eve"}')
    with pytest.raises(IntegrityError), transaction.atomic():
        append([event], recorded_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert faults() == {}
