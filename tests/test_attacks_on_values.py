"""A row is the fold of its events however its fields are loaded, assigned, and built on by later events."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.db import models, transaction
from django.db.models.signals import pre_save

from eventsourcing_app.exceptions import StreamEnded, UnrecordedChange
from tests.samples.factories import add, drifts, open_wallet
from tests.samples.models import Folder, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db
FIELDS = ("balance", "labels", "owner", "ended")
OTHER: dict[str, Any] = {"balance": Decimal(999), "labels": ["x"], "owner": "Eve", "ended": True}


def row(wallet: Wallet) -> Wallet:
    return models.QuerySet(Wallet).get(pk=wallet.pk)


# Deferred fields


@pytest.mark.parametrize("name", FIELDS)
def test_a_deferred_field_that_is_assigned_is_noticed(name: str) -> None:
    wallet = Wallet.objects.defer(name).get(pk=open_wallet().pk)
    setattr(wallet, name, OTHER[name])
    with pytest.raises(UnrecordedChange, match=name):
        wallet.add(Decimal(1))


@pytest.mark.parametrize("name", FIELDS)
def test_a_deferred_field_that_is_assigned_after_the_command_is_noticed(name: str) -> None:
    pk = open_wallet().pk
    wallet = Wallet.objects.defer(name).get(pk=pk)
    wallet.label(labels=[])
    setattr(wallet, name, OTHER[name])
    with pytest.raises(UnrecordedChange, match=name):
        wallet.save()
    assert drifts() == []


def test_with_hardly_anything_loaded_too() -> None:
    wallet = Wallet.objects.only("owner").get(pk=open_wallet().pk)
    wallet.balance = Decimal(5)
    with pytest.raises(UnrecordedChange, match="balance"):
        wallet.add(Decimal(1))


def test_many_are_noticed_like_one() -> None:
    wallets = [Wallet.objects.defer("balance").get(pk=open_wallet().pk) for _ in range(3)]
    for wallet in wallets:
        wallet.label(labels=["a"])
        wallet.balance = Decimal(1_000)
    with pytest.raises(UnrecordedChange):
        Wallet.objects.save_all(wallets)
    assert drifts() == []


def test_a_receiver_that_assigns_a_deferred_field_is_noticed() -> None:
    def assign(instance: Wallet, **_signal: Any) -> None:
        instance.balance = Decimal(77)

    wallet = Wallet.objects.defer("balance").get(pk=open_wallet().pk)
    wallet.label(labels=["a"])
    pre_save.connect(assign, sender=Wallet)
    try:
        with pytest.raises(UnrecordedChange), transaction.atomic():
            wallet.save()
    finally:
        pre_save.disconnect(assign, sender=Wallet)
    assert drifts() == []


def test_a_stream_that_has_ended_is_not_gone_on_with() -> None:
    ended = open_wallet()
    ended.close()
    ended.save()
    wallet = Wallet.objects.defer("ended").get(pk=ended.pk)
    with pytest.raises(StreamEnded):
        wallet.add(Decimal(1))
    wallet = Wallet.objects.defer("ended").get(pk=ended.pk)
    wallet.ended = False
    with pytest.raises(UnrecordedChange, match="ended"):
        wallet.add(Decimal(1))


def test_a_deferred_field_that_is_read_is_no_change() -> None:
    wallet = Wallet.objects.defer("balance", "labels").get(pk=open_wallet("Ada", 5).pk)
    assert (wallet.balance, wallet.labels) == (Decimal(5), [])
    add(wallet).save()
    assert row(wallet).balance == 6
    assert drifts() == []


# Fields that are loaded again, or dropped, while events wait to be saved


def test_what_unsaved_events_have_made_of_a_field_is_not_loaded_over() -> None:
    wallet = add(open_wallet("Ada", 5))
    with pytest.raises(UnrecordedChange, match="balance"):
        wallet.refresh_from_db(fields=["balance"])
    wallet.save()
    assert row(wallet).balance == 6
    wallet.refresh_from_db(fields=["balance"])
    assert add(wallet).balance == 7


def test_nor_dropped() -> None:
    wallet = add(open_wallet("Ada", 5))
    del wallet.balance
    with pytest.raises(UnrecordedChange, match="balance"):
        wallet.save()
    again = add(open_wallet("Eve", 5))
    del again.balance
    with pytest.raises(UnrecordedChange, match="balance"):
        again.add(Decimal(1))
    assert drifts() == []


def test_a_field_that_is_dropped_before_is_loaded_when_it_is_asked_for() -> None:
    wallet = open_wallet("Ada", 5)
    del wallet.balance
    add(wallet).save()
    assert row(wallet).balance == 6


# JSON


@pytest.mark.parametrize(("was", "becomes"), [([True], [1]), ([1], [1.0]), ([{"a": [0]}], [{"a": [False]}])])
def test_in_json_true_is_not_1_however_deep(was: list[Any], becomes: list[Any]) -> None:
    wallet = open_wallet()
    models.QuerySet(Wallet).filter(pk=wallet.pk).update(labels=was)
    loaded = Wallet.objects.get(pk=wallet.pk)
    loaded.labels = becomes
    with pytest.raises(UnrecordedChange, match="labels"):
        loaded.add(Decimal(1))


def test_a_rebuild_sees_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wallet, "_labelled", lambda self, event: setattr(self, "labels", [True, 1]))
    wallet = open_wallet()
    wallet.label(labels=[])
    wallet.save()
    assert drifts() == []
    models.QuerySet(Wallet).filter(pk=wallet.pk).update(labels=[1, True])
    assert [drift.pk for drift in drifts()] == [wallet.pk]


@pytest.mark.parametrize("number", [1e16, 1.5e16, 1e23, 1e-7, -0.0, 0.1, 12345678901234567890])
def test_a_number_in_json_is_what_the_column_gives_back(number: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def note(self: Wallet, event: Any) -> None:
        self.owner = repr(self.labels[-1:])
        self.labels = [*self.labels, number]

    monkeypatch.setattr(Wallet, "_labelled", note)
    wallet = open_wallet()
    for _ in range(3):
        loaded = Wallet.objects.get(pk=wallet.pk)
        loaded.label(labels=[])
        loaded.save()
    assert Wallet.objects.at(wallet.pk, version=4).owner == row(wallet).owner
    assert drifts() == []


def test_the_keys_of_an_object_have_the_order_that_the_column_gives_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def count(self: Folder, event: Any) -> None:
        self.scan = "".join(self.counts)
        self.counts[("bb", "a", "ü", "ab", "c")[event.by]] = 1

    monkeypatch.setattr(Folder, "_counted", count)
    folder = Folder()
    folder.file(name="x")
    folder.save()
    for by in range(5):
        loaded = Folder.objects.get(pk=folder.pk)
        loaded.count(by=by)
        loaded.save()
    stored = Folder.objects.get(pk=folder.pk)
    together = Folder.objects.at(folder.pk, version=6)
    assert str(together.scan) == str(stored.scan) == "aabbbü"
    assert list(together.counts) == list(stored.counts) == ["a", "c", "ab", "bb", "ü"]
    assert drifts() == []


def test_two_fields_do_not_come_to_share_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    def share(self: Wallet, event: Any) -> None:
        if event.labels:
            self.labels.append(event.labels[0])
        else:
            self.labels = _shared

    _shared: list[Any] = []
    monkeypatch.setattr(Wallet, "_labelled", share)
    wallet = open_wallet()
    wallet.label(labels=[])
    wallet.label(labels=["a"])
    wallet.save()
    assert (_shared, wallet.labels) == ([], ["a"])
    assert Wallet.objects.at(wallet.pk, version=3).labels == ["a"]
    assert drifts() == []


# Scalars


def half_of_the_balance(self: Wallet, event: Any) -> None:
    self.owner = f"{self.balance}|{self.balance / 3:.3f}"


def whole_number(self: Wallet, event: Any) -> None:
    self.balance = 10 if isinstance(self.balance, Decimal) else 20


def text_of_the_balance(self: Wallet, event: Any) -> None:
    self.owner = f"{self.owner[-20:]}[{self.balance}]"
    self.balance += event.amount


@pytest.mark.parametrize("apply", [half_of_the_balance, whole_number, text_of_the_balance])
def test_what_an_event_builds_on_does_not_depend_on_when_the_row_was_loaded(
    apply: Callable[[Wallet, Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Wallet, "_added", apply)
    kept, loaded = open_wallet(), open_wallet()
    for _ in range(3):
        kept.add(Decimal(5))
        again = Wallet.objects.get(pk=loaded.pk)
        again.add(Decimal(5))
        again.save()
    kept.save()
    for wallet in (kept, loaded):
        assert (row(wallet).owner, row(wallet).balance) == (row(kept).owner, row(kept).balance)
        past = Wallet.objects.at(wallet.pk, version=4)
        assert (past.owner, repr(past.balance)) == (row(kept).owner, repr(row(kept).balance))
    assert drifts() == []
