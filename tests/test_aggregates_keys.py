"""Any primary key names a stream, whoever chooses it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from eventsourcing_app.log.append import COPY_FROM
from tests.samples.factories import (
    add,
    begin_counter,
    list_book,
    open_wallet,
    versions,
)
from tests.samples.models import Contract, Counter, Customer, Wallet

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)


def test_any_primary_key_names_the_stream_by_its_text() -> None:
    customer = Customer.objects.create(name="Ada")
    contract = Contract()
    contract.sign(customer_id=customer.pk)
    contract.save()
    saved = (open_wallet(), list_book("978-3"), begin_counter(), contract)
    assert [instance.history().get().stream_key for instance in saved] == [str(instance.pk) for instance in saved]


def test_a_key_given_as_text_names_the_same_stream_as_the_key_that_is_loaded() -> None:
    key = UUID(int=0xABCDEF)
    wallet = Wallet(id=key.hex.upper())
    wallet.open(owner="Ada")
    wallet.save()
    add(wallet).save()
    loaded = Wallet.objects.get(pk=key)
    add(loaded).save()
    assert versions(loaded) == [1, 2, 3]
    assert wallet.stream_key == loaded.stream_key == str(key)
    assert Wallet.objects.at(key.hex, version=2).balance == 1


def test_a_uuid7_key_is_there_before_the_save() -> None:
    wallet = Wallet()
    assert isinstance(wallet.pk, UUID)
    assert wallet.pk.version == 7


def test_a_key_that_the_database_draws_is_there_after_the_save() -> None:
    first, second = begin_counter(by=3), begin_counter()
    assert first.pk is not None
    assert second.pk > first.pk
    assert versions(first) == [1]
    assert Counter.objects.get(pk=first.pk).total == 3
    first.count()
    first.save()
    assert versions(first) == [1, 2]


def test_a_drawn_key_can_also_be_chosen() -> None:
    counter = Counter(number=4711)
    counter.begin()
    counter.save()
    assert Counter.objects.get(pk=4711).history().get().stream_key == "4711"


def test_drawn_keys_and_many_events_go_together() -> None:
    counter = Counter()
    counter.begin()
    for _ in range(COPY_FROM):
        counter.count()
    counter.save()
    assert versions(counter) == list(range(1, COPY_FROM + 2))


def test_drawn_keys_in_bulk() -> None:
    counters = [Counter() for _ in range(5)]
    for by, counter in enumerate(counters):
        counter.begin(by=by)
    Counter.objects.save_all(counters)
    assert [Counter.objects.get(pk=counter.pk).total for counter in counters] == [0, 1, 2, 3, 4]
    assert [counter.history().get().position for counter in counters] == [counter.position for counter in counters]
