"""Events are applied as they will be read back, once each; a stream begins with one and may end with one."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, models
from django.db.models.signals import post_save, pre_save

from eventsourcing_app import CommandRejected
from eventsourcing_app.exceptions import (
    EventRefused,
    SpentInstance,
    StreamEnded,
)
from eventsourcing_app.models import EventSourcedModel, StoredEvent
from tests.samples.events import Counted, MoneyAdded, WalletOpened
from tests.samples.factories import begin_counter, drifts, list_book, open_wallet, rebuild, types
from tests.samples.models import Book, Contract, Counter, Customer, Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_row_drifts(db: None) -> Iterator[None]:
    """Whatever a test tried, rows and histories agree at its end."""
    yield
    if not connection.needs_rollback:
        assert drifts() == []


def facts(wallet: Wallet) -> tuple[str, Decimal, list[str], int, bool]:
    return wallet.owner, wallet.balance, wallet.labels, wallet.version, wallet.ended


# Applying


def test_an_event_that_no_method_applies_is_refused() -> None:
    wallet = open_wallet()
    with pytest.raises(ImproperlyConfigured, match="NeverApplied"):
        wallet.forget_to_apply()
    with pytest.raises(ImproperlyConfigured, match="Counted"):
        wallet.record(Counted(by=1))
    with pytest.raises(TypeError):
        wallet.record(object())
    assert types() == ["wallet_opened"]


def test_an_event_that_cannot_be_stored_changes_nothing() -> None:
    wallet = open_wallet()
    with pytest.raises(EventRefused, match="amount"):
        wallet.record(MoneyAdded(amount=Decimal("NaN")))
    wallet.add(Decimal(1))
    wallet.save()
    assert wallet.balance == 1


def test_an_expression_of_the_database_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def apply(counter: Counter, event: Counted) -> None:
        counter.total = models.F("total") + event.by

    counter = begin_counter()
    with monkeypatch.context() as patch:
        patch.setattr(Counter, "_counted", apply)
        with pytest.raises(TypeError, match="expression"):
            counter.count()
    with pytest.raises(SpentInstance):
        counter.save()


def test_recording_while_applying_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def apply(counter: Counter, event: Counted) -> None:
        counter.total += event.by
        counter.record(Counted(by=1))

    counter = begin_counter()
    with monkeypatch.context() as patch:
        patch.setattr(Counter, "_counted", apply)
        with pytest.raises(RuntimeError, match="only change state"):
            counter.count()
    with pytest.raises(SpentInstance, match="Counted"):
        counter.count()
    assert types() == ["counted"]


def test_what_is_applied_is_what_will_be_read_back() -> None:
    wallet = open_wallet()
    labels = ["a"]
    wallet.label(labels=labels)
    labels.append("b")
    assert wallet.labels == ["a"]
    wallet.save()
    assert Wallet.objects.get().labels == ["a"]


def test_a_stored_tuple_that_comes_back_as_a_list_is_no_difference() -> None:
    customer = Customer.objects.create(name="Ada")
    contract = Contract()
    contract.sign(customer_id=customer.pk, terms=("a", "b"))
    contract.save()
    assert Contract.objects.get().terms == ["a", "b"]
    assert list(rebuild(Contract, check=True)) == []


def test_events_can_be_recorded_outside_commands() -> None:
    wallet = Wallet()
    wallet.record(WalletOpened(owner="Ada"))
    wallet.save()
    assert Wallet.objects.get().owner == "Ada"


# Begin and end


def test_a_creating_command_needs_a_new_aggregate_and_every_other_one_that_exists() -> None:
    wallet = Wallet()
    with pytest.raises(CommandRejected) as caught:
        wallet.add(Decimal(1))
    assert caught.value.code == "does_not_exist"
    wallet.open(owner="Ada")
    with pytest.raises(CommandRejected) as caught:
        wallet.open(owner="Eve")
    assert caught.value.code == "already_exists"
    wallet.add(Decimal(1))
    wallet.save()
    for instance in (wallet, Wallet.objects.get()):
        with pytest.raises(CommandRejected) as caught:
            instance.open(owner="Eve")
        assert caught.value.code == "already_exists"


def test_an_ended_stream_takes_no_further_event() -> None:
    wallet = open_wallet("Ada", 1)
    wallet.close(reason="done")
    with pytest.raises(StreamEnded):
        wallet.add(Decimal(1))
    wallet.save()
    assert wallet.ended
    for instance in (wallet, Wallet.objects.get(), Wallet.objects.defer("ended").get()):
        with pytest.raises(StreamEnded) as caught:
            instance.add(Decimal(1))
        assert caught.value.code == "ended"
    with pytest.raises(CommandRejected):
        Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1))
    assert types() == ["wallet_opened", "money_added", "wallet_closed"]
    assert Wallet.objects.at(wallet.pk, version=3).ended
    assert not Wallet.objects.at(wallet.pk, version=2).ended


# Signals


def test_save_signals_are_sent_with_the_created_flag() -> None:
    sent: list[tuple[str, object]] = []

    def before(instance: Wallet, **facts: object) -> None:
        sent.append(("pre", (instance.version, facts["using"], facts["raw"], facts["update_fields"])))

    def after(instance: Wallet, created: bool, **facts: object) -> None:
        sent.append(("post", (instance.version, created)))

    pre_save.connect(before, sender=Wallet)
    post_save.connect(after, sender=Wallet)
    try:
        wallet = open_wallet()
        wallet.add(Decimal(1))
        wallet.save()
        Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1))
        list_book()
        new = Wallet()
        new.open(owner="Eve")
        with Wallet.objects.locked([wallet.pk]) as (locked,):
            locked.add(Decimal(1))
            Wallet.objects.save_all([new])
    finally:
        pre_save.disconnect(before, sender=Wallet)
        post_save.disconnect(after, sender=Wallet)
    signals = [("pre", "default", False, None)]
    assert [(name, *facts[1:]) for name, facts in sent if name == "pre"] == signals * 5  # type: ignore[index]
    posts = [facts for name, facts in sent if name == "post"]
    assert posts == [(1, True), (2, False), (3, False), (1, True), (4, False)]


def test_columns_without_history_are_announced_with_their_names() -> None:
    wallet, sent = open_wallet(), []

    def after(update_fields: frozenset[str] | None, created: bool, **_facts: object) -> None:
        sent.append((update_fields, created))

    post_save.connect(after, sender=Wallet)
    try:
        wallet.note = "x"
        wallet.save(update_fields=["note"])
    finally:
        post_save.disconnect(after, sender=Wallet)
    assert sent == [(frozenset({"note"}), False)]


# Keys


def test_a_model_that_declares_a_key_has_no_id() -> None:
    assert [model._meta.pk.name for model in (Wallet, Counter, Book)] == ["id", "number", "isbn"]
    assert "id" not in {field.name for model in (Counter, Book) for field in model._meta.fields}
    assert issubclass(Book, EventSourcedModel)


def test_nothing_here_wrote_an_event_of_its_own() -> None:
    assert not StoredEvent.objects.exists()
