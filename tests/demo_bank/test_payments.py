"""A payment takes the money and publishes the fact, both or neither; who reacts to it is none of its business."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.db import transaction

from demo_bank import payments
from demo_bank.models import Account, AuditEntry, DailyTotal
from demo_bank.payments import pay
from demo_bank.transfers import transfer
from eventsourcing_app import CommandRejected, context
from eventsourcing_app.exceptions import KeyReused
from eventsourcing_app.models import StoredEvent
from eventsourcing_app.testing import drain
from tests.demo_bank.accounts import an_account, balance_of

if TYPE_CHECKING:
    from django.core.mail import EmailMessage

pytestmark = pytest.mark.django_db


def published() -> list[StoredEvent]:
    """Return the payments that were published, in order."""
    return list(StoredEvent.objects.filter(type="payments.payment_succeeded"))


def test_a_payment_withdraws_and_publishes() -> None:
    ada = an_account("50.00")

    assert pay(ada.pk, "Corner Bakery", Decimal("12.5"), order_id="A-1") is True

    assert balance_of(ada) == Decimal("37.50")
    (fact,) = published()
    assert (fact.stream_type, fact.stream_key, fact.version) == ("payments.payment_succeeded", "A-1", None)
    assert fact.data == {
        "order_id": "A-1",
        "account": ada.number,
        "merchant": "Corner Bakery",
        "amount": "12.50",
        "currency": "EUR",
    }


def test_a_payment_that_is_refused_publishes_nothing() -> None:
    ada = an_account("5.00")

    with pytest.raises(CommandRejected):
        pay(ada.pk, "Corner Bakery", Decimal("12.50"), order_id="A-1")

    assert published() == []


def test_a_payment_that_is_rolled_back_leaves_neither_withdrawal_nor_fact() -> None:
    ada = an_account("50.00")

    with transaction.atomic():
        pay(ada.pk, "Corner Bakery", Decimal("12.50"), order_id="A-1")
        transaction.set_rollback(True)

    assert balance_of(ada) == 50
    assert published() == []


def test_a_fact_that_cannot_be_published_leaves_the_money_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no more room")

    ada = an_account("50.00")
    monkeypatch.setattr(payments, "publish", fail)

    with pytest.raises(OSError, match="no more room"):
        pay(ada.pk, "Corner Bakery", Decimal("12.50"), order_id="A-1")

    assert balance_of(ada) == 50


def test_an_order_is_paid_once_however_often_it_is_sent() -> None:
    ada = an_account("50.00")

    assert pay(ada.pk, "Corner Bakery", Decimal("12.50"), order_id="A-1") is True
    assert pay(ada.pk, "Corner Bakery", Decimal("12.50"), order_id="A-1") is False
    with pytest.raises(KeyReused):
        pay(ada.pk, "Corner Bakery", Decimal("99.00"), order_id="A-1")

    assert balance_of(ada) == Decimal("37.50")
    assert len(published()) == 1


def test_merchant_and_auditor_hear_of_a_payment_each_on_its_own(mailoutbox: list[EmailMessage]) -> None:
    ada = an_account("50.00")
    with context(actor="user:7"):
        pay(ada.pk, "Corner Bakery", Decimal("12.50"), order_id="A-1")

    drain()

    (mail,) = mailoutbox
    (fact,) = published()
    assert mail.subject == "Order A-1 is paid"
    assert mail.to == ["corner-bakery@merchants.example.com"]
    assert "12.50 EUR" in str(mail.body)
    assert mail.extra_headers["Message-ID"] == f"<{fact.event_id}@bank.example.com>"
    (entry,) = AuditEntry.objects.all()
    assert (entry.event_id, entry.actor, entry.subject) == (fact.event_id, "user:7", ada.number)
    assert entry.what == "Paid 12.50 EUR to Corner Bakery for order A-1"


def test_a_merchant_without_a_letter_in_its_name_is_told_as_well(mailoutbox: list[EmailMessage]) -> None:
    ada = an_account("50.00")
    pay(ada.pk, "***", Decimal("12.50"), order_id="A-1")

    drain()

    assert mailoutbox[0].to == ["orders@merchants.example.com"]


def test_the_auditor_sees_accounts_frozen_unfrozen_and_closed() -> None:
    ada = an_account()
    Account.objects.perform(ada.pk, Account.freeze, reason="Card lost")
    Account.objects.perform(ada.pk, Account.unfreeze)
    Account.objects.perform(ada.pk, Account.close, reason="Moved")

    drain()

    entries = AuditEntry.objects.order_by("pk").values_list("what", flat=True)
    assert list(entries) == ["Frozen: Card lost", "Unfrozen", "Closed: Moved"]


def test_nothing_is_told_twice(mailoutbox: list[EmailMessage]) -> None:
    ada = an_account("50.00")
    pay(ada.pk, "Corner Bakery", Decimal("12.50"), order_id="A-1")

    drain()
    drain()

    assert len(mailoutbox) == 1
    assert AuditEntry.objects.count() == 1


def test_daily_totals_add_up_what_came_in_and_went_out_by_day_and_currency() -> None:
    ada, bob = an_account("50.10"), an_account("0.20", currency="CHF")
    Account.objects.perform(ada.pk, Account.deposit, amount=Decimal("0.20"))
    Account.objects.perform(ada.pk, Account.withdraw, amount=Decimal("20.00"))

    drain()

    day = ada.history().earliest("version").recorded_at.date()
    euros = DailyTotal.objects.get(day=day, currency="EUR")
    assert (euros.deposits, euros.withdrawals, euros.count) == (Decimal("50.30"), Decimal("20.00"), 3)
    francs = DailyTotal.objects.get(day=bob.history().earliest("version").recorded_at.date(), currency="CHF")
    assert (francs.deposits, francs.withdrawals, francs.count) == (Decimal("0.20"), Decimal(0), 1)


def test_transfers_stay_inside_the_bank_and_do_not_count_in_its_daily_totals() -> None:
    ada, bob = an_account("50.00"), an_account()
    transfer(ada.pk, bob.pk, Decimal("5.00"))

    drain()

    assert DailyTotal.objects.get(currency="EUR").count == 1
