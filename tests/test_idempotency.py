"""A command that is sent twice with one key acts once, and is answered twice."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction

from eventsourcing_app import CommandRejected, context
from eventsourcing_app.exceptions import ConcurrencyError, IdempotencyError, KeyInFlight, KeyReused
from eventsourcing_app.models import StoredEvent, StoredReceipt
from tests.samples.ended import Desk, Visit
from tests.samples.factories import WAIT, beside, failing, held_elsewhere, open_wallet, types
from tests.samples.models import Counter, Wallet

if TYPE_CHECKING:
    from eventsourcing_app.aggregates.receipts import Receipt

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)


def add(wallet: Wallet, key: str = "k", amount: str = "5") -> Receipt:
    return Wallet.objects.once(key).perform(wallet.pk, Wallet.add, amount=Decimal(amount))


def balance(wallet: Wallet) -> Decimal:
    return Wallet.objects.get(pk=wallet.pk).balance


def test_the_same_request_is_answered_with_the_same_receipt_and_acts_once() -> None:
    wallet = open_wallet()
    first, second = add(wallet), add(wallet)
    assert (first.replayed, second.replayed) == (False, True)
    assert (first.pk, first.position, first.version) == (second.pk, second.position, second.version)
    assert (first.pk, first.version) == (wallet.pk, 2)
    assert balance(wallet) == 5
    assert StoredReceipt.objects.count() == 1


def test_the_answer_stays_although_the_aggregate_moves_on() -> None:
    wallet = open_wallet()
    first = add(wallet)
    add(wallet, "another")
    assert add(wallet).version == first.version == 2
    assert balance(wallet) == 10


def test_arguments_by_place_and_by_name_are_the_same_request() -> None:
    wallet = open_wallet()
    add(wallet)
    assert Wallet.objects.once("k").perform(str(wallet.pk), Wallet.add, Decimal(5)).replayed


def test_another_request_with_the_same_key_is_an_error() -> None:
    wallet = open_wallet()
    add(wallet)
    with pytest.raises(KeyReused, match="'k'") as caught:
        add(wallet, amount="6")
    assert isinstance(caught.value, IdempotencyError)
    assert balance(wallet) == 5


def test_a_creating_command_is_repeated_safely() -> None:
    first = Wallet.objects.once("k").perform_new(Wallet.open, owner="Ada")
    second = Wallet.objects.once("k").perform_new(Wallet.open, owner="Ada")
    assert (second.pk, second.replayed) == (first.pk, True)
    assert Wallet.objects.count() == 1
    with pytest.raises(KeyReused):
        Wallet.objects.once("k").perform_new(Wallet.open, owner="Eve")


def test_the_answer_has_the_key_as_the_model_has_it() -> None:
    for _ in range(2):
        assert isinstance(Counter.objects.once("k").perform_new(Counter.begin).pk, int)
    assert Counter.objects.count() == 1


def test_creations_are_scoped_by_actor_and_command_and_each_key_makes_one() -> None:
    def create(key: str) -> Receipt:
        return Wallet.objects.once(key).perform_new(Wallet.open, owner="Ada")

    made = {create(key).pk for key in ("k", "l", "k", "l")}
    for name in ("user:1", "user:2"):
        with context(actor=lambda name=name: name):
            made |= {create("k").pk, create("k").pk}
    assert len(made) == Wallet.objects.count() == 4
    assert set(StoredReceipt.objects.values_list("actor", "stream_key")) == {("", ""), ("user:1", ""), ("user:2", "")}


def test_a_creation_under_a_natural_key_is_answered_although_the_key_is_taken_now() -> None:
    for _ in range(2):
        receipt = Desk.objects.once("k").perform_new(Desk.begin, text="a", pk="A")
        assert (receipt.pk, receipt.version) == ("A", 1)
    assert receipt.replayed
    with pytest.raises(ConcurrencyError):
        Desk.objects.once("l").perform_new(Desk.begin, text="a", pk="A")


def test_a_creation_that_was_refused_leaves_its_key_free_for_another_request() -> None:
    with pytest.raises(CommandRejected):
        Wallet.objects.once("k").perform_new(Wallet.add, Decimal(1))
    with pytest.raises(CommandRejected, match="at most 40"):
        Wallet.objects.once("k").perform_new(Wallet.open, owner="x" * 41)
    assert not Wallet.objects.once("k").perform_new(Wallet.open, owner="Ada").replayed


def test_the_answer_stays_although_the_aggregate_has_ended_and_its_row_is_gone() -> None:
    opened = Visit.objects.once("k").perform_new(Visit.begin)
    for _ in range(2):
        ended = Visit.objects.once("k").perform(opened.pk, Visit.end)
        assert ended.version == 2
    assert ended.replayed
    assert Visit.objects.once("k").perform_new(Visit.begin).pk == opened.pk
    with pytest.raises(Visit.DoesNotExist):
        Visit.objects.once("l").perform(opened.pk, Visit.end)


def test_another_actor_command_aggregate_or_model_is_another_scope() -> None:
    wallet, other = open_wallet("Ada", 50), open_wallet("Eve")
    with context(actor="user:1"):
        assert not add(wallet).replayed
    with context(actor="user:2"):
        assert not add(wallet).replayed
    assert not add(other).replayed
    assert not Wallet.objects.once("k").perform(wallet.pk, Wallet.take, amount=Decimal(5)).replayed
    assert not Wallet.objects.once("k").perform_new(Wallet.open, owner="Bob").replayed
    assert not Counter.objects.once("k").perform_new(Counter.begin).replayed
    assert [balance(wallet), balance(other)] == [55, 5]


def test_the_scopes_cannot_be_mixed_up_by_their_texts() -> None:
    wallet = open_wallet()
    with context(actor="a"):
        add(wallet, "bk")
    with context(actor="ab"):
        assert not add(wallet, "k").replayed


def test_a_refusal_is_not_stored_and_decided_again() -> None:
    wallet = open_wallet()

    def take() -> Receipt:
        return Wallet.objects.once("k").perform(wallet.pk, Wallet.take, amount=Decimal(5))

    with pytest.raises(CommandRejected):
        take()
    assert not StoredReceipt.objects.exists()
    add(wallet, "other")
    assert not take().replayed
    assert take().replayed
    with pytest.raises(Wallet.DoesNotExist):
        Wallet.objects.once("k").perform(uuid4(), Wallet.add, Decimal(1))
    assert StoredReceipt.objects.count() == 2


def test_a_constraint_that_rejects_leaves_no_receipt() -> None:
    wallet = open_wallet()
    with pytest.raises(IntegrityError):
        add(wallet, amount="1000001")
    assert not StoredReceipt.objects.exists()
    with pytest.raises(IntegrityError):
        add(wallet, amount="1000001")


def test_a_command_with_nothing_to_do_has_a_receipt_as_well() -> None:
    wallet = open_wallet()
    first = Wallet.objects.once("k").perform(wallet.pk, Wallet.tidy)
    add(wallet, "other")
    second = Wallet.objects.once("k").perform(wallet.pk, Wallet.tidy)
    assert (first.version, second.version, second.position, second.replayed) == (1, 1, first.position, True)
    assert types(wallet.history()) == ["wallet_opened", "money_added"]


def test_a_rollback_forgets_the_receipt_with_the_events() -> None:
    wallet = open_wallet()
    with failing(ZeroDivisionError), transaction.atomic():
        assert not add(wallet).replayed
        assert add(wallet).replayed
        raise ZeroDivisionError
    assert not StoredReceipt.objects.exists()
    assert not add(wallet).replayed
    assert balance(wallet) == 5


@pytest.mark.parametrize("key", ["", "x" * 256, "line\nbreak", "nul\0"])
def test_a_key_that_could_not_be_stored_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="1 to 255"):
        add(open_wallet(), key)


def test_long_and_foreign_keys_are_kept_whole() -> None:
    wallet = open_wallet()
    for key in ("x" * 255, "x" * 254, "ключ-é", "K", "k"):
        assert not add(wallet, key).replayed
        assert add(wallet, key).replayed
    assert balance(wallet) == 25


def test_the_request_is_compared_with_its_types() -> None:
    wallet = open_wallet()
    Wallet.objects.once("k").perform(wallet.pk, Wallet.label, labels=["a", "b"])
    with pytest.raises(KeyReused):
        Wallet.objects.once("k").perform(wallet.pk, Wallet.label, labels=["b", "a"])
    with pytest.raises(KeyReused):
        Wallet.objects.once("k").perform(wallet.pk, Wallet.label, ["a"])


@pytest.mark.needs_postgres
@committing
def test_while_the_first_request_runs_the_second_is_told_so_at_once() -> None:
    wallet = open_wallet()
    with held_elsewhere(lambda: add(wallet)):
        with pytest.raises(KeyInFlight, match="'k'") as caught:
            add(wallet)
        assert isinstance(caught.value, IdempotencyError)
        assert not Wallet.objects.once("k").perform_new(Wallet.open, owner="Eve").replayed
    assert add(wallet).replayed
    assert balance(wallet) == 5


@pytest.mark.needs_sqlite
@committing
def test_while_the_first_request_runs_the_second_waits_and_replays() -> None:
    wallet = open_wallet()
    with held_elsewhere(lambda: add(wallet)) as go_on, beside(lambda: add(wallet)) as (waiting,):
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        go_on.set()
        assert waiting.result(WAIT).replayed
    assert balance(wallet) == 5


@committing
def test_after_a_rollback_of_the_first_request_the_second_acts() -> None:
    wallet = open_wallet()

    def add_and_fail() -> None:
        with transaction.atomic():
            add(wallet)
            transaction.set_rollback(True)

    with held_elsewhere(add_and_fail) as go_on:
        go_on.set()
    assert not add(wallet).replayed
    assert balance(wallet) == 5


@committing
def test_eight_threads_with_one_key_write_once() -> None:
    wallet = open_wallet()

    def send() -> bool | None:
        try:
            return add(wallet).replayed
        except KeyInFlight:
            return None

    with beside(*[send] * 8) as futures:
        outcomes = [future.result(WAIT) for future in futures]
    assert outcomes.count(False) == 1
    assert types(wallet.history()) == ["wallet_opened", "money_added"]
    assert add(wallet).replayed


@pytest.mark.parametrize("wanted", [True, False])
def test_a_creating_command_is_answered_again_although_it_found_nothing_to_create(wanted: bool) -> None:
    first, second = (Counter.objects.once("k").perform_new(Counter.begin_if, wanted=wanted) for _ in range(2))
    assert (first.replayed, second.replayed) == (False, True)
    assert replace(second, replayed=False) == first
    assert (first.pk is None, first.count) == (not wanted, int(wanted))
    assert Counter.objects.count() == wanted


def test_what_is_stored_tells_no_argument() -> None:
    wallet = open_wallet()
    add(wallet, amount="1234.5")
    stored = StoredReceipt.objects.get()
    assert (stored.operation, stored.stream_key, stored.actor) == ("samples.wallet.add", str(wallet.pk), "")
    assert "1234.5" not in json.dumps(stored.result)
    assert len(bytes(stored.fingerprint)) == 32
    assert StoredEvent.objects.count() == 2
