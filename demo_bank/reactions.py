"""Who reacts to what happens in the bank. None of these knows another, and no command knows any of them."""

from __future__ import annotations

from datetime import UTC, date
from decimal import Decimal

from django.core.mail import EmailMessage
from django.utils.text import slugify

from demo_bank.events import (
    AccountClosed,
    AccountFrozen,
    AccountUnfrozen,
    EntryPosted,
    MoneyDeposited,
    MoneyWithdrawn,
    PaymentSucceeded,
)
from demo_bank.models import AuditEntry, DailyTotal
from eventsourcing_app import Projection, RecordedEvent, handles, subscriber

NOTIFICATIONS, AUDIT, TOTALS = "bank.payment_notification", "bank.audit", "bank.daily_totals"
"""Keys of checkpoints: they never change."""


@subscriber(NOTIFICATIONS, PaymentSucceeded)
def notify_merchant(event: PaymentSucceeded, recorded: RecordedEvent) -> None:
    """Tell the merchant that the order is paid.

    A mail cannot be rolled back, so this runs at least once; its Message-ID lets mail systems drop a second one.
    """
    EmailMessage(
        subject=f"Order {event.order_id} is paid",
        body=f"{event.amount} {event.currency} for order {event.order_id}, from account {event.account}.",
        to=[f"{slugify(event.merchant) or 'orders'}@merchants.example.com"],
        headers={"Message-ID": f"<{recorded.event_id}@bank.example.com>"},
    ).send()


# It writes only to this database, so it can be transactional: each event leaves exactly one entry.
@subscriber(AUDIT, PaymentSucceeded, AccountFrozen, AccountUnfrozen, AccountClosed, transactional=True)
def audit(event: PaymentSucceeded | AccountFrozen | AccountUnfrozen | AccountClosed, recorded: RecordedEvent) -> None:
    """Write down in words what an auditor looks for."""
    AuditEntry.objects.create(
        event_id=recorded.event_id,
        happened_at=recorded.recorded_at,
        actor=recorded.actor,
        subject=event.account if isinstance(event, PaymentSucceeded) else recorded.stream_key,
        what=_in_words(event),
    )


def _in_words(event: PaymentSucceeded | AccountFrozen | AccountUnfrozen | AccountClosed) -> str:
    match event:
        case PaymentSucceeded():
            return f"Paid {event.amount} {event.currency} to {event.merchant:.200} for order {event.order_id:.200}"
        case AccountFrozen():
            return f"Frozen: {event.reason}"
        case AccountUnfrozen():
            return f"Unfrozen: {event.reason:.500}".removesuffix(": ")
        case AccountClosed():
            return f"Closed: {event.reason:.500}".removesuffix(": ")


class DailyTotals(Projection):
    """What came into the bank and left it each day. Transfers stay inside, so they do not count."""

    name = TOTALS
    models = (DailyTotal,)

    @handles(MoneyDeposited)
    def deposited(self, event: MoneyDeposited, recorded: RecordedEvent) -> None:
        self._add(recorded.recorded_at.astimezone(UTC).date(), event.currency, deposits=event.amount)

    @handles(MoneyWithdrawn)
    def withdrawn(self, event: MoneyWithdrawn, recorded: RecordedEvent) -> None:
        self._add(recorded.recorded_at.astimezone(UTC).date(), event.currency, withdrawals=event.amount)

    @handles(EntryPosted)
    def posted(self, event: EntryPosted, _recorded: RecordedEvent) -> None:
        if event.direction == "credit":
            self._add(event.booked_on, event.currency, deposits=event.amount)
        else:
            self._add(event.booked_on, event.currency, withdrawals=event.amount)

    @staticmethod
    def _add(day: date, currency: str, deposits: Decimal = Decimal(0), withdrawals: Decimal = Decimal(0)) -> None:
        # Added up here and not in SQL: SQLite would do it in binary floating point.
        total, _ = DailyTotal.objects.select_for_update().get_or_create(day=day, currency=currency)
        total.deposits += deposits
        total.withdrawals += withdrawals
        total.count += 1
        total.save()
