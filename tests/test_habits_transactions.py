"""Commands take part in the transactions of whoever runs them; what is rolled back is never told nor built upon."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, transaction
from django.db.models.signals import post_delete, post_init, post_save, pre_delete, pre_init, pre_save
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

from eventsourcing_app import CommandRejected
from eventsourcing_app.exceptions import DirectWriteRefused, NothingRecorded, SpentInstance, UnrecordedChange
from eventsourcing_app.models import StoredEvent
from eventsourcing_app.signals import events_appended
from tests.samples.factories import add, drifts, failing, list_book, open_wallet, types, versions
from tests.samples.habits import Fleet, Memo, Ship
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]
committing = pytest.mark.django_db(transaction=True)
HELD: list[Wallet] = []


def pay(request: HttpRequest) -> HttpResponse:
    """A view that runs a command twice, and may fail between."""
    wallet = Wallet.objects.get(owner="Ada")
    HELD.append(wallet)
    add(wallet).save()
    if "fail" in request.GET:
        raise ZeroDivisionError
    if "reject" in request.GET:
        with suppress(CommandRejected):
            Wallet.objects.perform(wallet.pk, Wallet.take, Decimal(1_000))
    Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1))
    if "roll" in request.GET:
        transaction.set_rollback(True)
    return HttpResponse(str(connection.in_atomic_block))


urlpatterns = [path("pay/", pay)]


@contextmanager
def receiving(signal: Any, receiver: Callable[..., Any], sender: Any = Wallet) -> Iterator[None]:
    signal.connect(receiver, sender=sender)
    try:
        yield
    finally:
        signal.disconnect(receiver, sender=sender)


@pytest.fixture(autouse=True)
def no_row_drifts(db: None) -> Iterator[None]:
    """Whatever a test tried, rows and histories agree at its end."""
    HELD.clear()
    yield
    if not connection.needs_rollback:
        assert drifts() == []


# ATOMIC_REQUESTS


@pytest.fixture
def atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)


@committing
@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("query", ["", "reject"])
def test_commands_of_a_request_are_stored_with_it(atomic: bool, query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic)
    opened = open_wallet()
    assert Client().get(f"/pay/?{query}").content == str(atomic).encode()
    assert versions(opened) == [1, 2, 3]
    (_opened, *paid) = opened.history()
    assert len({event.metadata["request_id"] for event in paid}) == 1


@committing
@pytest.mark.parametrize("query", ["fail", "roll"])
def test_commands_of_a_request_that_is_rolled_back_are_gone_with_it(atomic_requests: None, query: str) -> None:
    opened, told = open_wallet(), []
    with receiving(events_appended, lambda **facts: told.append(facts), sender=None):
        response = Client(raise_request_exception=False).get(f"/pay/?{query}")
    assert response.status_code == (500 if query == "fail" else 200)
    assert (versions(opened), told) == ([1], [])
    with pytest.raises(SpentInstance, match="rolled back"):
        HELD[0].add(Decimal(1))


@committing
def test_without_it_each_command_of_a_request_that_fails_stays() -> None:
    opened = open_wallet()
    assert Client(raise_request_exception=False).get("/pay/?fail").status_code == 500
    assert versions(opened) == [1, 2]
    add(HELD[0]).save()


# Blocks in blocks


@committing
def test_every_way_of_writing_runs_inside_a_block() -> None:
    opened = open_wallet()
    with transaction.atomic(), transaction.atomic():
        Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1))
        with Wallet.objects.locked([opened.pk]) as (wallet,), transaction.atomic(savepoint=False):
            add(wallet)
        Wallet.objects.save_all([add(Wallet.objects.get())])
        Wallet.objects.once("k").perform(opened.pk, Wallet.add, Decimal(1))
    assert versions(opened) == [1, 2, 3, 4, 5]


@committing
def test_a_durable_block_takes_commands_and_none_opens_it_inside_another() -> None:
    opened = open_wallet()
    with transaction.atomic(durable=True):
        Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1))
    with transaction.atomic(), failing(RuntimeError, match="durable"), transaction.atomic(durable=True):
        Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1))
    assert versions(opened) == [1, 2]


@committing
def test_a_refusal_inside_a_block_leaves_the_block_usable() -> None:
    opened = open_wallet()
    with transaction.atomic():
        for _ in range(2):
            with pytest.raises(CommandRejected):
                Wallet.objects.perform(opened.pk, Wallet.take, Decimal(1))
            Wallet.objects.perform(opened.pk, Wallet.add, Decimal("0.10"))
    assert versions(opened) == [1, 2, 3]


@committing
@pytest.mark.parametrize("nested", [False, True])
def test_a_block_that_is_marked_for_rollback_spends_what_was_saved_in_it(nested: bool) -> None:
    opened = open_wallet()
    with transaction.atomic():
        if nested:
            with transaction.atomic():
                add(opened).save()
                transaction.set_rollback(True)
        else:
            add(opened).save()
            transaction.set_rollback(True)
    with pytest.raises(SpentInstance, match="rolled back"):
        add(opened)
    assert versions(opened) == [1]


@committing
def test_hooks_run_in_the_order_in_which_they_were_asked_for() -> None:
    opened, told = open_wallet(), []

    def hear(position: int, **_facts: Any) -> None:
        told.append("appended")

    with receiving(events_appended, hear, sender=None), transaction.atomic():
        transaction.on_commit(lambda: told.append("before"))
        add(opened).save()
        transaction.on_commit(lambda: told.append("after"))
        assert told == []
    assert told == ["before", "appended", "after"]


# Signals


def test_every_signal_of_a_save_and_a_load_is_sent_with_the_class_that_was_saved() -> None:
    sent: list[tuple[str, type]] = []
    hear = {
        name: (lambda sender, _name=name, **_facts: sent.append((_name, sender)))
        for name in ("pre_init", "post_init", "pre_save", "post_save")
    }
    pk = Ship.objects.perform_new(Ship.begin, name="argo").pk
    with (
        receiving(pre_save, hear["pre_save"], Fleet),
        receiving(post_save, hear["post_save"], Fleet),
        receiving(post_save, hear["post_save"], Ship),
        receiving(pre_init, hear["pre_init"], Fleet),
        receiving(post_init, hear["post_init"], Fleet),
    ):
        Fleet.objects.perform(pk, Fleet.promote)
    assert sent == [(name, Fleet) for name in ("pre_init", "post_init", "pre_save", "post_save")]


@pytest.mark.parametrize("when", [pre_save, post_save])
def test_a_receiver_may_save_other_models_and_is_taken_back_with_the_save(when: Any) -> None:
    def remember(instance: Wallet, **_facts: Any) -> None:
        Memo.objects.create(text=instance.owner)
        Wallet.objects.perform(other.pk, Wallet.add, Decimal(1))

    wallet, other = open_wallet("Ada"), open_wallet("Eve")

    def once(instance: Wallet, **facts: Any) -> None:
        if instance.owner == "Ada":
            remember(instance, **facts)

    with receiving(when, once):
        with failing(ZeroDivisionError), transaction.atomic():
            add(wallet).save()
            raise ZeroDivisionError
        assert not Memo.objects.exists()
        Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1))
    assert (versions(wallet), versions(other), Memo.objects.count()) == ([1, 2], [1, 2], 1)


def test_a_receiver_may_record_more_before_the_save_and_save_again_after_it() -> None:
    def before(instance: Wallet, **_facts: Any) -> None:
        if instance.version == 1:
            instance.add(Decimal(10))

    def after(instance: Wallet, **_facts: Any) -> None:
        if instance.version == 3:
            add(instance).save()

    wallet = open_wallet()
    with receiving(pre_save, before), receiving(post_save, after):
        add(wallet).save()
    assert (wallet.balance, wallet.version, versions(wallet)) == (Decimal(12), 4, [1, 2, 3, 4])
    other = open_wallet("Eve")
    with receiving(pre_save, before), receiving(post_save, after):
        receipt, again = (Wallet.objects.once("k").perform(other.pk, Wallet.add, Decimal(1)) for _ in range(2))
    assert (receipt.version, receipt.count) == (4, 3)
    assert replace(again, replayed=False) == receipt
    assert StoredEvent.objects.get(position=receipt.position).version == 4


def test_a_receiver_that_saves_the_same_instance_first_leaves_nothing_to_save() -> None:
    inside: list[int] = []

    def first(instance: Wallet, **_facts: Any) -> None:
        if not inside:
            inside.append(1)
            instance.save()

    wallet = open_wallet()
    with receiving(pre_save, first), pytest.raises(NothingRecorded), transaction.atomic():
        add(wallet).save()
    assert types(wallet.history()) == ["wallet_opened"]


def test_a_receiver_that_raises_before_the_save_stores_nothing() -> None:
    def refuse(**_facts: Any) -> None:
        raise ZeroDivisionError

    wallet = open_wallet()
    with receiving(pre_save, refuse), pytest.raises(ZeroDivisionError):
        add(wallet).save()
    with pytest.raises(SpentInstance):
        wallet.save()
    assert versions(wallet) == [1]


def test_what_a_receiver_assigns_while_a_row_is_loaded_is_noticed() -> None:
    def meddle(instance: Wallet, **_facts: Any) -> None:
        if not instance._state.adding or instance.owner == "Ada":
            instance.owner = instance.owner.upper()

    wallet = open_wallet("Ada")
    with receiving(post_init, meddle):
        for load in (Wallet.objects.get, wallet.refresh_from_db, lambda: Wallet.objects.only("owner").get()):
            with pytest.raises(UnrecordedChange, match="owner") as caught:
                load()
            assert "post_init" in str(caught.value.__notes__)
    with receiving(post_init, lambda instance, **_facts: setattr(instance, "was", instance.owner)):
        loaded: Any = Wallet.objects.get()
    assert loaded.was == "Ada"
    add(loaded).save()


def test_no_signal_of_a_delete_comes_further_than_the_refusal() -> None:
    told: list[str] = []
    book = list_book()
    with (
        receiving(post_delete, lambda **_facts: told.append("deleted"), sender=type(book)),
        receiving(pre_delete, lambda **_facts: told.append("deleting"), sender=type(book)),
    ):
        for delete in (book.delete, type(book).objects.all().delete):
            with pytest.raises(DirectWriteRefused):
                delete()
    assert told == []
