"""An instance that no longer agrees with the database says so when it is used; one that agrees never does."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.db import IntegrityError, connection, transaction

from eventsourcing_app import CommandRejected
from eventsourcing_app.exceptions import ConcurrencyError, SpentInstance, UnrecordedChange
from eventsourcing_app.models import StoredEvent
from tests.samples.factories import (
    SEVERAL,
    add,
    failing,
    list_book,
    open_wallet,
    run_sql,
    types,
    versions,
)
from tests.samples.models import Book, Contract, Customer, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)


def two_of(wallet: Wallet) -> tuple[Wallet, Wallet]:
    return Wallet.objects.get(pk=wallet.pk), Wallet.objects.get(pk=wallet.pk)


@pytest.mark.parametrize("times", SEVERAL)
def test_a_check_constraint_rejects_the_command_and_stores_no_event(times: int) -> None:
    wallet = open_wallet()
    add(wallet, times)
    wallet.add(Decimal(1_000_001))
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        wallet.save()
    assert not isinstance(caught.value, ConcurrencyError)
    assert types() == ["wallet_opened"]
    assert Wallet.objects.get().balance == 0
    with pytest.raises(SpentInstance):
        wallet.add(Decimal(1))


def test_a_check_constraint_rejects_a_creation() -> None:
    wallet = Wallet()
    wallet.open(owner="Ada")
    wallet.add(Decimal(1_000_001))
    with pytest.raises(IntegrityError), transaction.atomic():
        wallet.save()
    assert not StoredEvent.objects.exists()
    assert not Wallet.objects.exists()


def test_a_unique_constraint_rejects_the_command_and_stores_no_event() -> None:
    run_sql("CREATE UNIQUE INDEX one_title ON samples_book (title)")
    try:
        list_book("1", "Emma")
        other = list_book("2", "Persuasion")
        other.rename(title="Emma")
        with pytest.raises(IntegrityError) as caught, transaction.atomic():
            other.save()
        assert not isinstance(caught.value, ConcurrencyError)
        with pytest.raises(IntegrityError) as caught, transaction.atomic():
            list_book("3", "Emma")
        assert not isinstance(caught.value, ConcurrencyError)
        assert types() == ["book_listed", "book_listed"]
    finally:
        run_sql("DROP INDEX one_title")


def test_a_command_that_fails_after_it_recorded_spends_the_instance() -> None:
    wallet = open_wallet()
    with pytest.raises(CommandRejected, match="After all"):
        wallet.add_then_fail(Decimal(1))
    for use in (wallet.save, wallet.tidy, lambda: add(wallet)):
        with pytest.raises(SpentInstance, match="add_then_fail"):
            use()
    assert types() == ["wallet_opened"]


def test_a_command_that_refuses_before_it_records_spends_nothing() -> None:
    wallet = open_wallet()
    with pytest.raises(CommandRejected):
        wallet.take(Decimal(1))
    add(wallet).save()
    assert wallet.version == 2


def test_a_new_instance_whose_save_failed_is_spent_as_well() -> None:
    list_book("1")
    again = Book(isbn="1")
    again.list_it(title="Emma")
    with pytest.raises(ConcurrencyError), transaction.atomic():
        again.save()
    uses: list[Callable[[], object]] = [
        again.save,
        lambda: again.rename(title="x"),
        lambda: again.list_it(title="x"),
    ]
    for use in uses:
        with pytest.raises(SpentInstance):
            use()


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.django_db(transaction=True)
def test_a_rollback_spends_what_was_saved_in_it(durable: bool) -> None:
    wallet, untouched = open_wallet(), open_wallet("Eve")
    with failing(ZeroDivisionError), transaction.atomic(durable=durable):
        add(wallet).save()
        created = open_wallet("Bob")
        assert (created.version, wallet.version) == (1, 2)
        raise ZeroDivisionError
    for instance in (wallet, created):
        with pytest.raises(SpentInstance, match="rolled back"):
            add(instance)
    add(untouched).save()
    wallet.refresh_from_db()
    assert wallet.version == 1
    add(wallet).save()
    assert versions(wallet) == [1, 2]


def test_a_savepoint_that_is_rolled_back_spends_only_what_was_saved_in_it() -> None:
    outer, inner, innermost = open_wallet("a"), open_wallet("b"), open_wallet("c")
    with transaction.atomic():
        add(outer).save()
        with failing(ZeroDivisionError), transaction.atomic():
            add(inner).save()
            with transaction.atomic():
                add(innermost).save()
            raise ZeroDivisionError
        with transaction.atomic():
            add(outer).save()
    add(outer).save()
    for wallet in (inner, innermost):
        with pytest.raises(SpentInstance, match="rolled back"):
            add(wallet)
    assert versions(outer) == [1, 2, 3, 4]
    assert versions(inner) == versions(innermost) == [1]


def test_a_released_savepoint_spends_nothing() -> None:
    wallet = open_wallet()
    with transaction.atomic(), transaction.atomic():
        add(wallet).save()
    add(wallet).save()
    assert wallet.version == 3


@committing
def test_what_is_committed_stays_usable() -> None:
    wallet = open_wallet()
    with transaction.atomic():
        add(wallet).save()
    with failing(ZeroDivisionError), transaction.atomic():
        raise ZeroDivisionError
    add(wallet).save()
    assert versions(wallet) == [1, 2, 3]


@committing
def test_hooks_that_run_after_the_commit_can_use_what_was_saved() -> None:
    wallet, outcomes = open_wallet(), []

    def use() -> None:
        add(wallet).save()
        outcomes.append(wallet.version)

    with transaction.atomic():
        transaction.on_commit(use)
        add(wallet).save()
    assert outcomes == [3]
    assert versions(wallet) == [1, 2, 3]


@committing
def test_a_commit_that_fails_spends_the_instance() -> None:
    customer = Customer.objects.create(name="Ada")
    with failing(IntegrityError), transaction.atomic():
        contract = Contract()
        contract.sign(customer_id=customer.pk + 1)
        contract.save()
    assert not StoredEvent.objects.exists()
    with pytest.raises(SpentInstance, match="rolled back"):
        contract.save()


def test_inside_the_transaction_of_a_test_case_nothing_is_spent() -> None:
    assert connection.in_atomic_block
    wallet = open_wallet()
    for _ in range(3):
        add(wallet).save()
    assert versions(wallet) == [1, 2, 3, 4]


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda wallet: pickle.loads(pickle.dumps(wallet))])
def test_a_copy_of_a_saved_instance_goes_its_own_way(duplicate: Callable[[Wallet], Wallet]) -> None:
    wallet = open_wallet()
    other = duplicate(wallet)
    add(wallet, 2).save()
    add(other)
    with pytest.raises(ConcurrencyError):
        other.save()
    assert versions(wallet) == [1, 2, 3]
    add(wallet).save()


def test_a_copy_keeps_what_is_wrong_with_the_original() -> None:
    wallet = open_wallet()
    wallet.balance = Decimal(7)
    other = pickle.loads(pickle.dumps(wallet))
    with pytest.raises(UnrecordedChange, match="balance"):
        add(other)
    wallet.refresh_from_db()
    with pytest.raises(CommandRejected):
        wallet.add_then_fail(Decimal(1))
    with pytest.raises(SpentInstance):
        add(pickle.loads(pickle.dumps(wallet)))
