"""A row is what its events make of it: whatever would change it without an event is refused or noticed."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.db.models.signals import pre_save

from eventsourcing_app.exceptions import (
    DirectWriteRefused,
    NothingRecorded,
    UnrecordedChange,
)
from tests.samples.factories import change_row, drifts, list_book, open_wallet, rebuild, types
from tests.samples.models import Book, Contract, Customer, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_row_drifts(db: None) -> Iterator[None]:
    """Whatever a test tried, rows and histories agree at its end."""
    yield
    if not connection.needs_rollback:
        assert drifts() == []


def facts(wallet: Wallet) -> tuple[str, Decimal, list[str], int, bool]:
    return wallet.owner, wallet.balance, wallet.labels, wallet.version, wallet.ended


# What is saved


def test_the_row_is_what_its_events_say() -> None:
    wallet = Wallet()
    wallet.open(owner="Ada")
    wallet.add(Decimal("5.50"))
    wallet.label(labels=["a", "b"])
    assert facts(wallet) == ("Ada", Decimal("5.50"), ["a", "b"], 0, False)
    assert not Wallet.objects.exists()
    wallet.save()
    assert facts(Wallet.objects.get(pk=wallet.pk)) == facts(wallet) == ("Ada", Decimal("5.50"), ["a", "b"], 3, False)


def test_save_with_nothing_recorded_is_refused() -> None:
    wallet = open_wallet()
    for instance in (wallet, Wallet.objects.get(), Wallet()):
        with pytest.raises(NothingRecorded, match="command"):
            instance.save()
    with pytest.raises(NothingRecorded):
        Wallet.objects.save_all([wallet])
    wallet.add(Decimal(1))
    wallet.save()


def test_a_save_writes_its_events_once() -> None:
    wallet = open_wallet("Ada", 1)
    with pytest.raises(NothingRecorded):
        wallet.save()
    assert types() == ["wallet_opened", "money_added"]


def test_save_takes_no_other_database() -> None:
    wallet = open_wallet()
    wallet.add(Decimal(1))
    with pytest.raises(DirectWriteRefused, match="other"):
        wallet.save(using="other")
    wallet.save(using="default")


# Assignments


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("owner", "Eve"),
        ("balance", Decimal(7)),
        ("labels", ["x"]),
        ("ended", True),
        ("changed_at", None),
        ("balance", 0),
    ],
)
def test_an_assignment_outside_applies_is_noticed_when_recording_and_when_saving(name: str, value: object) -> None:
    wallet = open_wallet()
    wallet.add(Decimal(1))
    setattr(wallet, name, value)
    uses: list[Callable[[], object]] = [
        lambda: wallet.add(Decimal(1)),
        wallet.save,
        lambda: wallet.save(update_fields=["note"]),
    ]
    for use in uses:
        with pytest.raises(UnrecordedChange) as caught:
            use()
        assert caught.value.fields == (name,)
        assert name in str(caught.value)
    wallet.refresh_from_db()
    wallet.add(Decimal(1))
    wallet.save()
    assert facts(Wallet.objects.get()) == ("Ada", Decimal(1), [], 2, False)


def test_every_changed_field_is_named() -> None:
    wallet = open_wallet()
    wallet.owner, wallet.balance = "Eve", Decimal(3)
    with pytest.raises(UnrecordedChange) as caught:
        wallet.add(Decimal(1))
    assert sorted(caught.value.fields) == ["balance", "owner"]


def test_a_new_instance_starts_with_defaults_only() -> None:
    for wallet in (Wallet(owner="Ada"), Wallet(balance=Decimal(5)), Wallet(ended=True)):
        with pytest.raises(UnrecordedChange):
            wallet.open(owner="Ada")
    book = Book(isbn="1", title="Emma")
    with pytest.raises(UnrecordedChange, match="title"):
        book.list_it(title="Emma")


def test_a_value_that_is_assigned_and_put_back_is_no_change() -> None:
    wallet = open_wallet("Ada", 5)
    wallet.balance += 1
    wallet.balance -= 1
    wallet.add(Decimal(1))
    wallet.save()
    assert facts(Wallet.objects.get()) == ("Ada", Decimal(6), [], 3, False)


def test_a_mutable_value_changed_in_place_is_noticed() -> None:
    wallet = open_wallet()
    wallet.label(labels=["a"])
    wallet.labels.append("b")
    with pytest.raises(UnrecordedChange, match="labels"):
        wallet.save()
    wallet.labels.pop()
    wallet.save()
    loaded = Wallet.objects.get()
    loaded.labels[0] = "c"
    with pytest.raises(UnrecordedChange, match="labels"):
        loaded.add(Decimal(1))


def test_another_key_is_a_change() -> None:
    book = list_book("1")
    book.isbn = "2"
    with pytest.raises(UnrecordedChange, match="isbn"):
        book.rename(title="x")


def test_a_foreign_key_is_watched_by_its_column() -> None:
    ada, eve = Customer.objects.create(name="Ada"), Customer.objects.create(name="Eve")
    contract = Contract()
    contract.sign(customer_id=ada.pk)
    contract.save()
    contract.customer = eve
    with pytest.raises(UnrecordedChange, match="customer_id"):
        contract.save()
    contract.refresh_from_db(fields=["customer"])
    assert contract.customer == ada
    with pytest.raises(NothingRecorded):
        contract.save()


def test_what_a_receiver_of_pre_save_assigns_is_noticed() -> None:
    def meddle(instance: Wallet, **_facts: object) -> None:
        instance.owner = "Eve"

    wallet = open_wallet()
    wallet.add(Decimal(1))
    pre_save.connect(meddle, sender=Wallet)
    try:
        with pytest.raises(UnrecordedChange, match="owner"):
            wallet.save()
    finally:
        pre_save.disconnect(meddle, sender=Wallet)
    assert types() == ["wallet_opened"]


# Columns without history


def test_columns_without_history_are_written_without_an_event() -> None:
    wallet = open_wallet()
    assert Wallet.objects.filter(pk=wallet.pk).update(note="by update") == 1
    assert Wallet.objects.get().note == "by update"
    wallet.note = "by save"
    wallet.save(update_fields=["note"])
    assert Wallet.objects.get().note == "by save"
    assert types() == ["wallet_opened"]
    wallet.add(Decimal(1))
    wallet.save()


def test_a_new_row_takes_its_columns_without_history_along() -> None:
    wallet = Wallet(note="first")
    wallet.open(owner="Ada")
    wallet.save()
    assert Wallet.objects.get().note == "first"


def test_a_stale_column_without_history_is_not_written_by_a_command() -> None:
    wallet = open_wallet()
    Wallet.objects.update(note="newer")
    wallet.add(Decimal(1))
    wallet.save()
    with Wallet.objects.locked([wallet.pk]) as (locked,):
        Wallet.objects.update(note="newest")
        locked.add(Decimal(1))
    assert (Wallet.objects.get().note, Wallet.objects.get().balance) == ("newest", Decimal(2))


def test_other_columns_are_not_written_without_an_event() -> None:
    wallet = open_wallet()
    for names in (["balance"], ["note", "owner"], ["version"]):
        with pytest.raises(DirectWriteRefused, match="unrecorded"):
            wallet.save(update_fields=names)
    with pytest.raises(DirectWriteRefused):
        Wallet(note="x").save(update_fields=["note"])


def test_a_save_of_no_column_writes_nothing() -> None:
    stale = open_wallet()
    Wallet.objects.perform(stale.pk, Wallet.add, Decimal(5))
    stale.save(update_fields=[])
    assert facts(Wallet.objects.get()) == ("Ada", Decimal(5), [], 2, False)


# Loading again


def test_refresh_takes_the_state_of_the_database_and_forgets_what_was_recorded() -> None:
    wallet = open_wallet()
    Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(5))
    wallet.label(labels=["a"])
    wallet.refresh_from_db()
    assert facts(wallet) == ("Ada", Decimal(5), [], 2, False)
    with pytest.raises(NothingRecorded):
        wallet.save()
    wallet.add(Decimal(1))
    wallet.save()
    assert wallet.version == 3


def test_refreshing_one_field_forgets_nothing() -> None:
    wallet = open_wallet()
    wallet.add(Decimal(5))
    Wallet.objects.update(note="n")
    wallet.refresh_from_db(fields=["note"])
    assert wallet.note == "n"
    wallet.save()
    assert Wallet.objects.get().balance == 5


def test_a_row_changed_behind_the_library_is_not_hidden_by_loading_it() -> None:
    wallet = open_wallet("Ada", 5)
    change_row(Wallet, wallet.pk, balance=50)
    (drift,) = rebuild(Wallet, check=True)
    assert drift.fields == {"balance": (Decimal(50), Decimal(5))}
    list(rebuild(Wallet, check=False))
