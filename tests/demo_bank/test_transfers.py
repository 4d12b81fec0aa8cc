"""A transfer moves money between two accounts, or nothing at all."""

from __future__ import annotations

from decimal import Decimal
from uuid import uuid4

import pytest

from demo_bank.models import Account
from demo_bank.transfers import transfer
from eventsourcing_app import CommandRejected
from eventsourcing_app.exceptions import KeyReused
from eventsourcing_app.models import StoredEvent
from tests.demo_bank.accounts import an_account, balance_of

pytestmark = pytest.mark.django_db


def test_a_transfer_moves_the_money_and_both_accounts_know_it_by_one_id() -> None:
    ada, bob = an_account("100.00"), an_account("1.00", owner="Bob")

    transfer_id = transfer(ada.pk, bob.pk, Decimal("30.00"), reference="Thanks")

    assert (balance_of(ada), balance_of(bob)) == (Decimal(70), Decimal(31))
    sent, received = StoredEvent.objects.filter(data__transfer_id=str(transfer_id)).order_by("position")
    assert (sent.type, sent.stream_key) == ("bank.transfer_sent", str(ada.pk))
    assert (received.type, received.stream_key) == ("bank.transfer_received", str(bob.pk))
    assert sent.data["to_account"] == bob.number
    assert received.data["from_account"] == ada.number
    assert sent.data["amount"] == received.data["amount"] == "30.00"


def test_no_past_moment_shows_half_a_transfer() -> None:
    ada, bob = an_account("100.00"), an_account("1.00")

    transfer(ada.pk, bob.pk, Decimal("30.00"))

    halves = StoredEvent.objects.filter(type__in=("bank.transfer_sent", "bank.transfer_received"))
    assert len(set(halves.values_list("recorded_at", flat=True))) == 1


def test_a_transfer_beyond_the_limit_leaves_both_accounts_as_they_were() -> None:
    ada, bob = an_account("10.00", overdraft_limit=Decimal("5.00")), an_account("1.00")

    with pytest.raises(CommandRejected) as refusal:
        transfer(ada.pk, bob.pk, Decimal("15.01"))

    assert refusal.value.code == "insufficient_funds"
    assert (balance_of(ada), balance_of(bob)) == (Decimal(10), Decimal(1))
    assert not StoredEvent.objects.filter(type="bank.transfer_sent").exists()


def test_a_receiver_that_refuses_keeps_the_money_with_the_sender() -> None:
    ada, bob = an_account("10.00"), an_account("1.00")
    Account.objects.perform(bob.pk, Account.freeze, reason="Inquiry")

    with pytest.raises(CommandRejected) as refusal:
        transfer(ada.pk, bob.pk, Decimal("5.00"))

    assert refusal.value.code == "account_frozen"
    assert (balance_of(ada), balance_of(bob)) == (Decimal(10), Decimal(1))
    assert not StoredEvent.objects.filter(type="bank.transfer_sent").exists()


def test_a_transfer_to_oneself_is_refused() -> None:
    ada = an_account("10.00")

    with pytest.raises(CommandRejected) as refusal:
        transfer(ada.pk, ada.pk, Decimal("5.00"))

    assert refusal.value.code == "same_account"


def test_a_transfer_into_another_currency_is_refused() -> None:
    ada, bob = an_account("10.00", currency="EUR"), an_account("1.00", currency="CHF")

    with pytest.raises(CommandRejected) as refusal:
        transfer(ada.pk, bob.pk, Decimal("5.00"))

    assert refusal.value.code == "currency_mismatch"


def test_a_transfer_to_nobody_is_an_error() -> None:
    ada = an_account("10.00")

    with pytest.raises(Account.DoesNotExist):
        transfer(ada.pk, uuid4(), Decimal("5.00"))

    assert balance_of(ada) == 10


def test_a_transfer_id_can_be_given() -> None:
    ada, bob, transfer_id = an_account("10.00"), an_account("1.00"), uuid4()

    assert transfer(ada.pk, bob.pk, Decimal("5.00"), transfer_id=transfer_id) == transfer_id


def test_a_transfer_with_a_key_moves_the_money_once_and_is_answered_with_the_same_id() -> None:
    ada, bob = an_account("100.00"), an_account("1.00")

    first = transfer.once("client-17")(ada.pk, bob.pk, Decimal("30.00"))
    again = transfer.once("client-17").receipt(ada.pk, bob.pk, amount=Decimal("30.00"))

    assert (again.value, again.replayed) == (first, True)
    assert (balance_of(ada), balance_of(bob)) == (Decimal(70), Decimal(31))
    received = StoredEvent.objects.get(type="bank.transfer_received")
    assert again.position == received.position
    with pytest.raises(KeyReused):
        transfer.once("client-17")(ada.pk, bob.pk, Decimal("31.00"))


def test_a_transfer_that_was_refused_can_be_sent_again_with_its_key() -> None:
    ada, bob = an_account("1.00"), an_account("1.00")
    with pytest.raises(CommandRejected):
        transfer.once("client-17")(ada.pk, bob.pk, Decimal("30.00"))

    Account.objects.perform(ada.pk, Account.deposit, amount=Decimal("50.00"))
    transfer.once("client-17")(ada.pk, bob.pk, Decimal("30.00"))

    assert (balance_of(ada), balance_of(bob)) == (Decimal(21), Decimal(31))
