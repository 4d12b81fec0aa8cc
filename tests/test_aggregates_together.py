"""Commands under lock: one aggregate or several, as asked for, all or nothing."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from eventsourcing_app import CommandRejected
from eventsourcing_app.exceptions import ConcurrencyError, NothingRecorded, SpentInstance, UnrecordedChange
from eventsourcing_app.models import StoredEvent
from tests.samples.factories import WAIT, beside, failing, held_elsewhere, list_book, open_wallet, types
from tests.samples.habits import Fleet, Ship
from tests.samples.models import Book, Counter, Wallet

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)


def balances(*wallets: Wallet) -> list[Decimal]:
    return [Wallet.objects.get(pk=wallet.pk).balance for wallet in wallets]


# One


def test_perform_locks_decides_and_saves() -> None:
    wallet = open_wallet()
    receipt = Wallet.objects.perform(wallet.pk, Wallet.add, amount=Decimal(5))
    last = wallet.history().last()
    assert last is not None
    assert (receipt.pk, receipt.version, receipt.position, receipt.replayed) == (wallet.pk, 2, last.position, False)
    assert balances(wallet) == [5]


def test_perform_takes_a_key_as_text_and_arguments_by_place() -> None:
    wallet = open_wallet()
    assert Wallet.objects.perform(str(wallet.pk), Wallet.add, Decimal(5), "r").pk == wallet.pk
    assert wallet.history().get(version=2).data == {"amount": "5", "reference": "r"}


def test_perform_new_creates() -> None:
    receipt = Wallet.objects.perform_new(Wallet.open, owner="Ada")
    assert (Wallet.objects.get(pk=receipt.pk).owner, receipt.version) == ("Ada", 1)
    assert receipt.position == StoredEvent.objects.get().position
    drawn = Counter.objects.perform_new(Counter.begin, 7)
    assert Counter.objects.get(pk=drawn.pk).total == 7


def test_perform_says_what_is_missing_or_wrong() -> None:
    wallet = open_wallet()
    with pytest.raises(Wallet.DoesNotExist):
        Wallet.objects.perform(uuid4(), Wallet.add, Decimal(1))
    with pytest.raises(CommandRejected) as caught:
        Wallet.objects.perform(wallet.pk, Wallet.take, Decimal(1))
    assert (caught.value.code, str(caught.value)) == ("not_enough", "There is not that much in it.")
    with pytest.raises(CommandRejected):
        Wallet.objects.perform(wallet.pk, Wallet.open, owner="Eve")
    with pytest.raises(CommandRejected):
        Wallet.objects.perform_new(Wallet.add, Decimal(1))
    with pytest.raises(TypeError, match="@command"):
        Wallet.objects.perform(wallet.pk, Wallet.history)
    assert types() == ["wallet_opened"]


def test_a_command_that_raised_after_it_recorded_stores_nothing() -> None:
    wallet = open_wallet()
    with pytest.raises(CommandRejected):
        Wallet.objects.perform(wallet.pk, Wallet.add_then_fail, Decimal(1))
    assert types() == ["wallet_opened"]


def test_a_command_with_nothing_to_do_answers_with_where_the_aggregate_stands() -> None:
    wallet = open_wallet("Ada", 1)
    list_book()
    receipt = Wallet.objects.perform(wallet.pk, Wallet.tidy)
    assert (receipt.version, receipt.position) == (2, wallet.position)
    assert StoredEvent.objects.count() == 3


@pytest.mark.needs_postgres
def test_perform_locks_the_row_without_hindering_foreign_keys() -> None:
    wallet = open_wallet()
    with CaptureQueriesContext(connection) as queries:
        Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1))
    assert any("FOR NO KEY UPDATE" in query["sql"] for query in queries)


@committing
def test_two_who_perform_wait_for_each_other_and_both_succeed() -> None:
    wallet = open_wallet()

    def perform() -> int:
        return Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1)).version

    with held_elsewhere(perform) as go_on, beside(perform) as (waiting,):
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        go_on.set()
        assert waiting.result(WAIT) == 3
    assert balances(wallet) == [2]


# Several


def test_locked_hands_out_what_was_asked_for_in_that_order() -> None:
    wallets = [open_wallet(str(n)) for n in range(4)]
    for order in (wallets, wallets[::-1], [wallets[2], wallets[0]]):
        with Wallet.objects.locked([wallet.pk for wallet in order]) as locked:
            assert [wallet.owner for wallet in locked] == [wallet.owner for wallet in order]
    with Wallet.objects.locked([str(wallets[0].pk)]) as (only,):
        assert only.pk == wallets[0].pk
    with Wallet.objects.locked([]) as none:
        assert none == ()


def test_locked_saves_all_at_its_end() -> None:
    first, second, third = open_wallet("a", 5), open_wallet("b"), open_wallet("c")
    with Wallet.objects.locked([second.pk, first.pk, third.pk]) as (to, source, bystander):
        source.take(Decimal(3))
        to.add(Decimal(3))
        assert balances(first, second) == [5, 0]
    assert balances(first, second, third) == [2, 3, 0]
    assert (source.version, to.version, bystander.version) == (3, 2, 1)
    # In the order in which they were recorded, whoever they belong to.
    assert types()[-2:] == ["money_taken", "money_added"]
    assert source.position is not None
    assert to.position == source.position + 1
    assert Wallet.objects.get(pk=third.pk).version == 1


def test_locked_refuses_a_key_that_comes_twice() -> None:
    wallet = open_wallet()
    with pytest.raises(ValueError, match="twice"), Wallet.objects.locked([wallet.pk, str(wallet.pk)]):
        pytest.fail("was let in")


def test_locked_refuses_a_key_that_does_not_exist() -> None:
    wallet, missing = open_wallet(), uuid4()
    with pytest.raises(Wallet.DoesNotExist, match=str(missing)), Wallet.objects.locked([wallet.pk, missing]):
        pytest.fail("was let in")


def test_an_exception_in_a_locked_block_takes_everything_back_and_spends() -> None:
    first, second = open_wallet("a", 5), open_wallet("b")
    with failing(ZeroDivisionError), Wallet.objects.locked([first.pk, second.pk]) as (source, to):
        source.take(Decimal(3))
        to.add(Decimal(3))
        raise ZeroDivisionError
    assert balances(first, second) == [5, 0]
    for wallet in (source, to):
        with pytest.raises(SpentInstance, match=r"locked\(\)"):
            wallet.add(Decimal(1))


def test_a_constraint_that_rejects_one_of_them_takes_everything_back() -> None:
    first, second = open_wallet("a", 5), open_wallet("b", 1_000_000)
    with failing(IntegrityError, "not_too_rich"), Wallet.objects.locked([first.pk, second.pk]) as (source, to):
        source.take(Decimal(3))
        to.add(Decimal(3))
    assert balances(first, second) == [5, 1_000_000]
    assert StoredEvent.objects.count() == 4


def test_an_assignment_in_a_locked_block_is_noticed() -> None:
    wallet = open_wallet("a", 5)
    with failing(UnrecordedChange), Wallet.objects.locked([wallet.pk]) as (locked,):
        locked.add(Decimal(1))
        locked.balance = Decimal(0)
    assert balances(wallet) == [5]


def test_an_assignment_on_one_that_recorded_nothing_is_not_dropped_silently() -> None:
    wallet = open_wallet("a", 5)
    with failing(UnrecordedChange), Wallet.objects.locked([wallet.pk]) as (locked,):
        locked.balance = Decimal(0)


def test_what_is_saved_inside_a_locked_block_is_not_saved_again() -> None:
    wallet = open_wallet()
    with Wallet.objects.locked([wallet.pk]) as (locked,):
        locked.add(Decimal(1))
        locked.save()
        locked.add(Decimal(1))
    assert (locked.version, Wallet.objects.get().balance) == (3, Decimal(2))


@pytest.mark.needs_postgres
def test_locks_are_taken_in_the_order_of_the_keys() -> None:
    wallets = sorted((open_wallet(str(n)) for n in range(3)), key=lambda wallet: wallet.pk)
    with CaptureQueriesContext(connection) as queries, Wallet.objects.locked([w.pk for w in wallets[::-1]]):
        pass
    (lock,) = [query["sql"] for query in queries if "FOR NO KEY UPDATE" in query["sql"]]
    assert 'ORDER BY "samples_wallet"."id" ASC' in lock


@pytest.mark.needs_postgres
@committing
def test_opposite_transfers_do_not_deadlock() -> None:
    first, second = open_wallet("a", 50), open_wallet("b", 50)

    def transfer(source: Wallet, to: Wallet) -> None:
        for _ in range(20):
            with Wallet.objects.locked([source.pk, to.pk]) as (giving, taking):
                giving.take(Decimal(1))
                taking.add(Decimal(1))

    with beside(lambda: transfer(first, second), lambda: transfer(second, first)) as futures:
        for future in futures:
            future.result(WAIT)
    assert balances(first, second) == [50, 50]
    assert first.history().count() == second.history().count() == 42


# In bulk


def test_save_all_saves_new_and_old_together() -> None:
    old, new, book = open_wallet("a"), Wallet(), open_wallet("c")
    old.add(Decimal(1))
    new.open(owner="b")
    book.add(Decimal(2))
    old.add(Decimal(1))
    Wallet.objects.save_all([new, book, old])
    assert balances(old, new, book) == [2, 0, 2]
    assert (old.version, new.version, book.version) == (3, 1, 2)
    for wallet in (new, book, old):
        assert wallet.position == wallet.history().get(version=wallet.version).position
    Wallet.objects.save_all([])


def test_save_all_refuses_what_is_of_another_model() -> None:
    wallet, book = open_wallet(), list_book()
    wallet.add(Decimal(1))
    book.rename(title="Emma again")
    for manager in (Wallet.objects, Book.objects):
        mixed: Any = manager
        with pytest.raises(TypeError, match=r"instances of samples\.(Book|Wallet), whose rows it would not lock"):
            mixed.save_all([wallet, book])
    Wallet.objects.save_all([wallet])
    Book.objects.save_all([book])
    assert (wallet.version, book.version) == (2, 2), "what was refused is not spent"


def test_save_all_takes_a_proxy_for_its_model() -> None:
    ship, fleet = Ship(), Fleet()
    ship.begin(name="Vasa")
    fleet.begin(name="Mary Rose")
    Ship.objects.save_all([ship, fleet])
    assert Ship.objects.count() == 2


def test_save_all_is_all_or_nothing() -> None:
    stale, other = open_wallet("a"), open_wallet("b")
    Wallet.objects.perform(stale.pk, Wallet.add, Decimal(1))
    for wallet in (stale, other):
        wallet.add(Decimal(5))
    with pytest.raises(ConcurrencyError) as caught:
        Wallet.objects.save_all([other, stale])
    assert (caught.value.stream_key, caught.value.expected, caught.value.actual) == (str(stale.pk), 1, 2)
    assert balances(stale, other) == [1, 0]
    for wallet in (stale, other):
        with pytest.raises(SpentInstance):
            wallet.save()


def test_save_all_needs_events_on_each() -> None:
    first, second = open_wallet("a"), open_wallet("b")
    first.add(Decimal(1))
    with pytest.raises(NothingRecorded):
        Wallet.objects.save_all([first, second])
    first.save()
    assert balances(first) == [1]


def test_save_all_refuses_an_aggregate_that_comes_twice() -> None:
    wallet = open_wallet()
    wallet.add(Decimal(1))
    other = Wallet.objects.get(pk=wallet.pk)
    other.add(Decimal(1))
    new, drawn = Wallet(), Counter()
    new.open(owner="b")
    drawn.begin()
    with pytest.raises(ValueError, match="two instances"):
        Wallet.objects.save_all([wallet, other])
    with pytest.raises(ValueError, match="two instances"):
        Wallet.objects.save_all([new, new])
    with pytest.raises(ValueError, match="two instances"):
        Counter.objects.save_all([drawn, drawn])
    assert types() == ["wallet_opened"]


@pytest.mark.needs_postgres
@committing
def test_new_natural_keys_in_opposite_order_do_not_deadlock() -> None:
    def create(*isbns: str) -> None:
        books = [Book(isbn=isbn) for isbn in isbns]
        for book in books:
            book.list_it(title="Emma")
        Book.objects.save_all(books)

    for n in range(8):
        keys = [f"{n}-{m}" for m in range(20)]
        with beside(lambda keys=keys: create(*keys), lambda keys=keys: create(*keys[::-1])) as futures:  # type: ignore[misc]
            errors = [future.exception(WAIT) for future in futures]
        assert sorted(type(error).__name__ for error in errors) == ["ConcurrencyError", "NoneType"]
    assert Book.objects.count() == StoredEvent.objects.count() == 160


def test_everything_goes_with_the_outer_transaction() -> None:
    wallet = open_wallet()
    with failing(ZeroDivisionError), transaction.atomic():
        Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1))
        with Wallet.objects.locked([wallet.pk]) as (locked,):
            locked.add(Decimal(1))
        Wallet.objects.perform_new(Wallet.open, owner="Eve")
        raise ZeroDivisionError
    assert types() == ["wallet_opened"]
    assert balances(wallet) == [0]
