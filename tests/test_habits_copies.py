"""Instances and querysets are pickled and copied as any, and a copy never writes what the original has written."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.db import transaction

from eventsourcing_app import CommandRejected
from eventsourcing_app.exceptions import ConcurrencyError, SpentInstance, UnrecordedChange
from tests.samples.factories import add, drifts, list_book, open_wallet, versions
from tests.samples.habits import Fleet, Ship, Specimen
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.django_db
COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda instance: pickle.loads(pickle.dumps(instance)),
}
each_way = pytest.mark.parametrize("way", COPIES)


@pytest.fixture(autouse=True)
def no_row_drifts(db: None) -> Iterator[None]:
    """Whatever a test tried, rows and histories agree at its end."""
    yield
    assert drifts() == []


@each_way
def test_of_two_copies_with_the_same_unsaved_events_one_is_saved(way: str) -> None:
    wallet = add(open_wallet("Ada", 5))
    other = COPIES[way](wallet)
    assert other == wallet
    other.save()
    with pytest.raises(ConcurrencyError):
        wallet.save()
    assert versions(other) == [1, 2, 3]
    assert Wallet.objects.get().balance == 6


@each_way
def test_of_two_copies_of_a_new_one_one_is_saved(way: str) -> None:
    new = Wallet()
    new.open(owner="Ada")
    other = COPIES[way](new)
    other.save()
    with pytest.raises(ConcurrencyError), transaction.atomic():
        new.save()
    assert versions(other) == [1]


@each_way
@pytest.mark.parametrize("deferred", ["balance", "version", "labels"])
def test_a_copy_of_a_partly_loaded_one_runs_commands(way: str, deferred: str) -> None:
    open_wallet("Ada", 5)
    add(COPIES[way](Wallet.objects.defer(deferred).get())).save()
    assert (Wallet.objects.get().balance, Wallet.objects.get().version) == (Decimal(6), 3)


@each_way
def test_an_assignment_is_noticed_on_the_copy_as_on_the_original(way: str) -> None:
    wallet = open_wallet()
    wallet.label(labels=["a"])
    wallet.save()
    changed = COPIES[way](wallet)
    changed.labels.append("b")
    with pytest.raises(UnrecordedChange, match="labels"):
        changed.save()
    wallet.owner = "Eve"
    with pytest.raises(UnrecordedChange, match="owner"):
        COPIES[way](wallet).add(Decimal(1))


@each_way
def test_a_copy_of_what_cannot_be_used_cannot_be_used(way: str) -> None:
    open_wallet()
    past = Wallet.objects.at(Wallet.objects.get().pk, version=1)
    with pytest.raises(SpentInstance, match="past state"):
        COPIES[way](past).add(Decimal(1))


def test_the_way_of_django_to_copy_a_row_begins_no_history_in_its_middle() -> None:
    book = list_book("1", "Emma")
    book.pk, book._state.adding = "2", True
    with pytest.raises(CommandRejected, match="does not exist yet"):
        book.rename(title="Emma II")
    with pytest.raises(UnrecordedChange, match="isbn"):
        book.save()
    wallet = open_wallet("Ada")
    wallet.pk, wallet._state.adding = None, True
    with pytest.raises(UnrecordedChange, match="id"):
        wallet.save()
    assert Wallet.objects.count() == 1


@each_way
def test_querysets_are_copied_with_their_results(way: str) -> None:
    open_wallet("Ada", 5)
    rows = Wallet.objects.filter(owner="Ada")
    assert len(rows) == 1
    (held,) = COPIES[way](rows)
    add(held).save()
    assert COPIES[way](rows.filter(balance=6)).get().version == 3


@each_way
def test_proxies_and_values_of_every_kind_are_copied(way: str) -> None:
    receipt = Ship.objects.perform_new(Ship.begin, name="argo")
    fleet = COPIES[way](Fleet.objects.get(pk=receipt.pk))
    fleet.promote()
    fleet.save()
    specimen = Specimen()
    specimen.measure()
    specimen.save()
    held = COPIES[way](Specimen.objects.get())
    held.measure_again(name="other")
    held.save()
    assert (Fleet.objects.get().version, Specimen.objects.get().version) == (2, 2)
