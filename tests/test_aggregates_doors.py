"""Every door through which a row could be written, loaded or deleted without an event is shut."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.core import serializers
from django.db import connection, models, transaction
from django.db.models.deletion import Collector

from eventsourcing_app.exceptions import (
    DirectWriteRefused,
    UnrecordedChange,
)
from tests.samples.factories import drifts, open_wallet
from tests.samples.models import Book, Contract, Counter, Customer, Wallet

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


def collect(instance: models.Model) -> Collector:
    collector = Collector(using="default")
    collector.collect([instance])
    return collector


DOORS: dict[str, Callable[[Wallet], Any]] = {
    "create": lambda _: Wallet.objects.create(owner="Eve"),
    "bulk_create": lambda _: Wallet.objects.bulk_create([Wallet()]),
    "get_or_create": lambda _: Wallet.objects.get_or_create(owner="Eve"),
    "get_or_create of one that exists": lambda _: Wallet.objects.get_or_create(owner="Ada"),
    "update_or_create": lambda _: Wallet.objects.update_or_create(owner="Ada", defaults={"balance": 5}),
    "update": lambda _: Wallet.objects.update(balance=5),
    "update with an expression": lambda _: Wallet.objects.update(balance=models.F("balance") + 1),
    "update of both kinds": lambda _: Wallet.objects.update(note="x", balance=5),
    "filtered update": lambda wallet: Wallet.objects.filter(pk=wallet.pk).update(ended=True),
    "bulk_update": lambda wallet: Wallet.objects.bulk_update([wallet], ["balance"]),
    "queryset delete": lambda _: Wallet.objects.all().delete(),
    "raw delete": lambda _: Wallet.objects.all()._raw_delete("default"),
    "delete": lambda wallet: wallet.delete(),
    "delete of the base class": models.Model.delete,
    "the collector": lambda wallet: collect(wallet).delete(),
    "base manager create": lambda _: Wallet._base_manager.create(owner="Eve"),
    "base manager update": lambda _: Wallet._base_manager.update(balance=5),
    "base manager delete": lambda _: Wallet._base_manager.all().delete(),
    "default manager update": lambda _: Wallet._default_manager.update(balance=5),
    "save of the base class": models.Model.save,
    "save_base": lambda wallet: wallet.save_base(),
    "raw save_base": lambda wallet: wallet.save_base(raw=True),
    "loaddata": lambda wallet: load(wallet, balance=5),
    "loaddata of a new row": lambda _: load(Wallet(), owner="Eve"),
}


def load(wallet: Wallet, **changes: object) -> None:
    text = serializers.serialize("python", [wallet])
    text[0]["fields"] |= changes
    for loaded in serializers.deserialize("python", text):
        loaded.save()


@pytest.mark.parametrize("door", DOORS)
def test_a_write_that_leaves_no_event_is_refused(door: str) -> None:
    wallet = open_wallet()
    before = facts(wallet)
    with pytest.raises(DirectWriteRefused, match=r"(?i)command|event|perform"), transaction.atomic():
        DOORS[door](wallet)
    assert facts(Wallet.objects.get()) == before


def test_every_kind_of_model_has_the_guarded_base_manager() -> None:
    for model in (Wallet, Book, Counter, Contract):
        with pytest.raises(DirectWriteRefused):
            model._base_manager.update(version=0)


def test_related_managers_do_not_write() -> None:
    ada, eve = Customer.objects.create(name="Ada"), Customer.objects.create(name="Eve")
    contract = Contract()
    contract.sign(customer_id=ada.pk)
    contract.save()
    for write in (
        lambda: eve.contracts.add(contract),
        lambda: eve.contracts.add(contract, bulk=False),
        eve.contracts.create,
        lambda: eve.contracts.set([contract]),
        ada.contracts.clear,
        lambda: ada.contracts.all().delete(),
    ):
        with pytest.raises((DirectWriteRefused, UnrecordedChange)), transaction.atomic():
            write()
    assert Contract.objects.get().customer_id == ada.pk


def test_deleting_what_it_points_at_does_not_take_it_along(monkeypatch: pytest.MonkeyPatch) -> None:
    customer = Customer.objects.create(name="Ada")
    contract = Contract()
    contract.sign(customer_id=customer.pk)
    contract.save()
    monkeypatch.setattr(Contract._meta.get_field("customer").remote_field, "on_delete", models.CASCADE)
    for delete in (customer.delete, Customer.objects.all().delete):
        with pytest.raises(DirectWriteRefused, match="ends=True"), transaction.atomic():
            delete()
    assert Customer.objects.exists()
    assert Contract.objects.exists()
