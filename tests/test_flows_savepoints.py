"""A flow may roll back a savepoint by whatever means: nothing is built upon what it took back, nor told of it."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.db import transaction

from eventsourcing_app import flow
from eventsourcing_app.exceptions import ConcurrencyError, SpentInstance
from eventsourcing_app.models import StoredEvent
from eventsourcing_app.signals import events_appended
from tests.reactions_sample.scene import rolled_back
from tests.samples.factories import add, drifts, open_wallet, run_sql, versions
from tests.samples.models import Counter, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)

ONE, HUNDRED = Decimal(1), Decimal(100)

# Django 6.1 renames it.
savepoint_create = getattr(transaction, "savepoint_create", None) or transaction.savepoint


@contextmanager
def by_hand() -> Iterator[None]:
    savepoint = savepoint_create()
    yield
    transaction.savepoint_rollback(savepoint)


@contextmanager
def by_sql() -> Iterator[None]:
    run_sql("SAVEPOINT by_sql")
    yield
    run_sql("ROLLBACK TO SAVEPOINT by_sql")


MEANS = [rolled_back, by_hand, by_sql]
by_any_means = pytest.mark.parametrize("undone", MEANS)


@by_any_means
def test_what_was_taken_back_is_not_built_upon(undone: Callable[[], AbstractContextManager[None]]) -> None:
    wallet = open_wallet()

    @flow("tests.taken_back", attempts=1)
    def taken_back() -> None:
        held = Wallet.objects.get(pk=wallet.pk)
        with undone():
            add(held).save()
        Wallet.objects.perform(wallet.pk, Wallet.add, HUNDRED)
        add(held).save()

    with pytest.raises(SpentInstance, match="rolled back"):
        taken_back()
    assert versions(wallet) == [1]


@by_any_means
def test_nor_is_what_was_loaded_of_it(undone: Callable[[], AbstractContextManager[None]]) -> None:
    wallet = open_wallet()

    @flow("tests.loaded_of_it", attempts=1)
    def loaded_of_it() -> None:
        with undone():
            Wallet.objects.perform(wallet.pk, Wallet.add, ONE)
            held = Wallet.objects.get(pk=wallet.pk)
        Wallet.objects.perform(wallet.pk, Wallet.add, HUNDRED)
        add(held).save()

    with pytest.raises(ConcurrencyError):
        loaded_of_it()
    assert versions(wallet) == [1]


@by_any_means
def test_nor_is_what_was_created_in_it(undone: Callable[[], AbstractContextManager[None]]) -> None:
    @flow("tests.created_in_it", attempts=1)
    def created_in_it() -> None:
        with undone():
            held = Counter.objects.get(pk=Counter.objects.perform_new(Counter.begin, by=1).pk)
        Counter.objects.perform_new(Counter.begin, by=100)  # SQLite draws the same key again
        held.count()
        held.save()

    with pytest.raises(ConcurrencyError):
        created_in_it()
    assert Counter.objects.count() == 0


@by_any_means
def test_what_goes_on_from_what_stands_is_stored(undone: Callable[[], AbstractContextManager[None]]) -> None:
    wallet, other = open_wallet(), open_wallet("Eve")

    @flow("tests.goes_on", attempts=1)
    def goes_on() -> int:
        Wallet.objects.perform(other.pk, Wallet.add, ONE)
        with undone():
            Wallet.objects.perform(wallet.pk, Wallet.add, ONE)
            Wallet.objects.perform(other.pk, Wallet.add, ONE)
        return Wallet.objects.perform(wallet.pk, Wallet.add, HUNDRED).position

    receipt = goes_on.receipt()
    assert receipt.position == receipt.value == StoredEvent.objects.latest("position").position
    assert [Wallet.objects.get(pk=each.pk).balance for each in (wallet, other)] == [100, 1]
    assert drifts() == []


@committing
@by_any_means
def test_neither_its_receipt_nor_the_signal_tells_of_it(undone: Callable[[], AbstractContextManager[None]]) -> None:
    wallet, told = open_wallet(), list[int]()

    @flow("tests.tells")
    def tells() -> int:
        kept = Wallet.objects.perform(wallet.pk, Wallet.add, ONE)
        with undone():
            Wallet.objects.perform(wallet.pk, Wallet.add, ONE)
        return kept.position

    def note(position: int, **_signal: Any) -> None:
        told.append(position)

    events_appended.connect(note)
    try:
        receipt = tells.receipt()
    finally:
        events_appended.disconnect(note)
    assert receipt.position == receipt.value == StoredEvent.objects.latest("position").position
    assert told == [receipt.value]


@committing
def test_a_flow_that_took_back_all_of_it_has_written_nothing() -> None:
    wallet = open_wallet()

    @flow("tests.all_of_it")
    def all_of_it() -> None:
        with by_hand():
            Wallet.objects.perform(wallet.pk, Wallet.add, ONE)

    assert all_of_it.once("k").receipt().position is None
    assert all_of_it.once("k").receipt().replayed
    assert versions(wallet) == [1]


def test_what_was_written_before_stands_beside_an_error_in_a_savepoint() -> None:
    wallet = open_wallet()

    @flow("tests.beside_an_error")
    def beside_an_error() -> None:
        kept = add(Wallet.objects.get(pk=wallet.pk))
        kept.save()
        with suppress(ZeroDivisionError), transaction.atomic():
            transaction.set_rollback(True)
            with suppress(transaction.TransactionManagementError):
                Wallet.objects.perform(wallet.pk, Wallet.add, ONE)
            raise ZeroDivisionError
        add(kept).save()

    beside_an_error()
    assert versions(wallet) == [1, 2, 3]
