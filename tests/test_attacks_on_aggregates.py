"""However a program comes by an instance, and whatever it does with it, the row stays what its events say."""

from __future__ import annotations

import pickle
from contextlib import contextmanager
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest
from django.db import transaction
from django.db.models.signals import post_save

from eventsourcing_app import CommandRejected
from eventsourcing_app.exceptions import ConcurrencyError, KeyRefused, KeyReused, SpentInstance
from tests.reactions_sample.scene import rolled_back
from tests.samples.factories import add, change_row, drifts, list_book, open_wallet, types, versions
from tests.samples.models import Book, Contract, Customer, Folder, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)


# Django 6.1 renames it.
savepoint_create = getattr(transaction, "savepoint_create", None) or transaction.savepoint


def filed(name: str = "a.pdf", pages: int = 0) -> Folder:
    receipt = Folder.objects.perform_new(Folder.file, name=name, pages=pages)
    return Folder.objects.get(pk=receipt.pk)


# A version that never was


def hundred(wallet: Wallet) -> Wallet:
    wallet.add(Decimal(100))
    return wallet


def _loaded(wallet: Wallet, *deferred: str) -> Wallet:
    with rolled_back():
        Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(100))
        loaded = [Wallet.objects.defer(*deferred).get(pk=wallet.pk)]
    return loaded[0]


def _partly_loaded(wallet: Wallet) -> Wallet:
    return _loaded(wallet, "changed_at")


def _refreshed(wallet: Wallet) -> Wallet:
    wallet = Wallet.objects.get(pk=wallet.pk)
    with rolled_back():
        Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(100))
        wallet.refresh_from_db()
    return wallet


def _saved(wallet: Wallet) -> Wallet:
    with rolled_back():
        hundred(wallet).save()
    return wallet


def _unpickled(wallet: Wallet) -> Wallet:
    with rolled_back():
        hundred(wallet).save()
        copied = pickle.dumps(wallet)
    unpickled: Wallet = pickle.loads(copied)
    return unpickled


def _saved_in_a_savepoint(wallet: Wallet) -> Wallet:
    with transaction.atomic():
        savepoint = savepoint_create()
        hundred(wallet).save()
        transaction.savepoint_rollback(savepoint)
    return wallet


@pytest.mark.parametrize("phantom", [_loaded, _partly_loaded, _refreshed, _saved, _unpickled, _saved_in_a_savepoint])
@pytest.mark.parametrize("commits", [False, pytest.param(True, marks=committing)])
def test_what_was_rolled_back_is_never_built_upon_although_its_version_exists_again(
    phantom: Callable[[Wallet], Wallet], commits: bool
) -> None:
    opened = open_wallet()
    held = phantom(Wallet.objects.get(pk=opened.pk))
    while Wallet.objects.get(pk=opened.pk).version < held.version:
        Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1))
    now = Wallet.objects.get(pk=opened.pk)
    try:
        add(held).save()
    except (ConcurrencyError, SpentInstance):
        assert Wallet.objects.get(pk=opened.pk).version == now.version
    assert drifts() == []
    assert Wallet.objects.get(pk=opened.pk).balance < 200


@pytest.mark.parametrize("phantom", [_loaded, _refreshed, _unpickled])
def test_what_was_rolled_back_is_not_built_upon_together_with_others(phantom: Callable[[Wallet], Wallet]) -> None:
    opened, other = open_wallet(), open_wallet("Eve")
    held = phantom(Wallet.objects.get(pk=opened.pk))
    while Wallet.objects.get(pk=opened.pk).version < held.version:
        Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1))
    with pytest.raises(ConcurrencyError), transaction.atomic():
        Wallet.objects.save_all([add(other), add(held)])
    assert drifts() == []
    assert versions(other) == [1]


# What happens around a save


@pytest.mark.parametrize("command", ["count_after_saving", "count_after_loading"])
def test_a_command_that_saves_or_loads_inside_and_then_refuses_spends_the_instance(command: str) -> None:
    folder = filed()
    folder.count(by=1)
    with pytest.raises(CommandRejected, match="After all"):
        getattr(folder, command)(by=2)
    with pytest.raises(SpentInstance, match="after it had recorded"):
        folder.save()
    with pytest.raises(SpentInstance, match="after it had recorded"):
        folder.count(by=3)
    assert "2" not in Folder.objects.get(pk=folder.pk).counts
    assert drifts() == []


@contextmanager
def receiver_that_raises() -> Iterator[None]:
    def refuse(**_signal: Any) -> None:
        raise ZeroDivisionError

    post_save.connect(refuse, sender=Wallet)
    try:
        yield
    finally:
        post_save.disconnect(refuse, sender=Wallet)


@committing
def test_a_receiver_that_raises_after_the_save_leaves_nothing_stored() -> None:
    opened, other = open_wallet(), open_wallet("Eve")
    with receiver_that_raises():
        writes: list[Callable[[], object]] = [
            add(Wallet.objects.get(pk=opened.pk)).save,
            add(opened, 100).save,
            lambda: Wallet.objects.perform(other.pk, Wallet.add, Decimal(1)),
            lambda: Wallet.objects.save_all([add(wallet) for wallet in Wallet.objects.all()]),
            lambda: open_wallet("Bob"),
        ]
        for write in writes:
            with pytest.raises(ZeroDivisionError):
                write()
    assert types() == ["wallet_opened"] * 2
    assert [wallet.version for wallet in Wallet.objects.all()] == [1, 1]
    with pytest.raises(SpentInstance):
        add(opened)


# Values that a column would keep otherwise


@pytest.mark.parametrize("amount", ["0.005", "1000000000000"])
def test_a_decimal_that_its_column_would_round_or_cut_is_refused(amount: str) -> None:
    opened = open_wallet()
    with pytest.raises(CommandRejected) as refused:
        Wallet.objects.perform(opened.pk, Wallet.add, Decimal(amount))
    assert refused.value.code == "does_not_fit"
    assert versions(opened) == [1]


def test_half_a_number_in_a_column_of_whole_ones_is_refused() -> None:
    assert filed(pages=4).sheets == 2
    with pytest.raises(CommandRejected) as refused:
        filed(pages=3)
    assert refused.value.code == "does_not_fit"
    assert Folder.objects.count() == 1


def test_json_is_in_memory_what_the_database_gives_back() -> None:
    held = filed()
    for _ in range(3):
        held.count(by=7)
    held.save()
    for _ in range(3):
        Folder.objects.perform(held.pk, Folder.count, by=7)
        held.refresh_from_db()
    contract = Contract()
    contract.sign(customer_id=Customer.objects.create(name="Ada").pk, terms=("a", "b"))
    contract.save()
    assert contract.terms == ["a", "b"]
    assert held.counts == Folder.objects.get().counts == Folder.objects.at(held.pk, version=7).counts == {"7": 1}
    assert drifts() == []


def test_reading_a_file_is_no_change() -> None:
    new = Folder()
    assert not new.scan
    new.file(name="b.pdf")
    assert new.scan.name == "b.pdf"
    new.save()
    loaded = Folder.objects.get(pk=new.pk)
    assert loaded.scan.name == "b.pdf"
    loaded.count(by=1)
    assert loaded.scan.name == "b.pdf"
    loaded.save()
    assert Folder.objects.get().version == 2
    assert drifts() == []


# Columns without history


def test_a_column_without_history_goes_with_the_save_if_it_was_assigned() -> None:
    opened = open_wallet()
    opened.note = "vip"
    add(opened).save()
    new = Wallet(note="first")
    new.open(owner="Eve")
    Wallet.objects.save_all([new, add(opened)])
    assert sorted(Wallet.objects.values_list("note", flat=True)) == ["first", "vip"]


def _assigned_and_saved(wallet: Wallet) -> Wallet:
    wallet.note = "mine"
    wallet.save(update_fields=["note"])
    return wallet


def _assigned_and_recorded(wallet: Wallet) -> Wallet:
    wallet.note = "mine"
    add(wallet).save()
    return wallet


def _loaded_late(wallet: Wallet) -> Wallet:
    wallet = Wallet.objects.defer("note").get(pk=wallet.pk)
    assert wallet.note == ""
    return wallet


def _loaded_again(wallet: Wallet) -> Wallet:
    change_row(Wallet, wallet.pk, note="mine")
    wallet.refresh_from_db(fields=["note"])
    return wallet


@pytest.mark.parametrize(
    "hold", [lambda wallet: wallet, _assigned_and_saved, _assigned_and_recorded, _loaded_late, _loaded_again]
)
def test_a_column_without_history_that_somebody_else_has_written_is_not_overwritten(
    hold: Callable[[Wallet], Wallet],
) -> None:
    open_wallet()
    held = hold(Wallet.objects.get())
    change_row(Wallet, held.pk, note="theirs")
    add(held).save()
    assert Wallet.objects.get().note == "theirs"


# One spelling of a key


class Isbn(str, Enum):  # noqa: UP042 - its str() is "Isbn.EMMA"
    EMMA = "978-0"


def test_a_member_of_an_enumeration_names_the_stream_of_its_text() -> None:
    list_book(Isbn.EMMA)
    Book.objects.perform("978-0", Book.rename, title="Emma II")
    Book.objects.perform(Isbn.EMMA, Book.rename, title="Emma III")
    Book.objects.once("k").perform(Isbn.EMMA, Book.rename, title="Emma IV")
    assert Book.objects.once("k").perform("978-0", Book.rename, title="Emma IV").replayed
    assert versions(Book.objects.get(pk="978-0")) == [1, 2, 3, 4]
    assert Book.objects.at(Isbn.EMMA, version=3).title == "Emma III"
    assert drifts() == []


# One meaning of a request


def test_a_default_spelled_out_is_the_same_request() -> None:
    opened = open_wallet()
    for arguments in ({}, {"reference": ""}):
        receipt = Wallet.objects.once("k").perform(opened.pk, Wallet.add, Decimal(5), **arguments)
    assert receipt.replayed
    with pytest.raises(KeyReused):
        Wallet.objects.once("k").perform(opened.pk, Wallet.add, Decimal(5), reference="other")
    assert versions(opened) == [1, 2]


@pytest.mark.parametrize("odd", [object(), {object(): 1}, "\ud800"])
def test_an_argument_that_cannot_be_compared_is_refused(odd: Any) -> None:
    opened = open_wallet()
    with pytest.raises((KeyRefused, TypeError), match="cannot be compared"):
        Wallet.objects.once("k").perform(opened.pk, Wallet.label, labels=[odd])
    assert versions(opened) == [1]
