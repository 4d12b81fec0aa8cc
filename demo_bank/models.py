"""The account, which is event-sourced, and the tables that reactions fill."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Literal
from uuid import UUID

from django.db import models
from django.db.models import F, Q

from demo_bank.events import (
    AccountClosed,
    AccountFrozen,
    AccountOpened,
    AccountUnfrozen,
    EntryPosted,
    MoneyDeposited,
    MoneyWithdrawn,
    TransferReceived,
    TransferSent,
)
from demo_bank.money import LARGEST, Currency, checked_amount, checked_currency, checked_limit
from eventsourcing_app import CommandRejected, applies, command
from eventsourcing_app.models import EventSourcedModel


class Account(EventSourcedModel):
    """A bank account. It may be overdrawn down to its limit; while it is frozen, no money moves."""

    class Status(models.TextChoices):
        OPEN = "open"
        FROZEN = "frozen"
        CLOSED = "closed"

    stream_type = "bank.account"

    number = models.CharField(max_length=34, unique=True)
    owner = models.CharField(max_length=120)
    currency = models.CharField(max_length=3, choices=Currency.choices)
    balance = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal("0.00"))
    overdraft_limit = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal("0.00"))
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.OPEN)
    imported_sequence = models.PositiveBigIntegerField(default=0)
    """The last row of another bank's ledger that was posted here; 0 if there is none."""

    class Meta:
        ordering = ("number",)
        # The second wall: commands refuse first, with a better message.
        constraints = (
            models.CheckConstraint(condition=Q(overdraft_limit__gte=0), name="bank_overdraft_limit_not_negative"),
            models.CheckConstraint(condition=Q(balance__gte=-F("overdraft_limit")), name="bank_balance_within_limit"),
            models.CheckConstraint(condition=~Q(status="closed") | Q(balance=0), name="bank_closed_account_is_empty"),
        )

    def __str__(self) -> str:
        return f"{self.number} ({self.owner})"

    # Commands

    @command(creates=True)
    def open(
        self, owner: str, number: str = "", currency: str = "EUR", overdraft_limit: Decimal = Decimal("0.00")
    ) -> None:
        """Open an account. Without a number it is given one."""
        # The last 62 bits of a UUIDv7 are random.
        number = number or f"{self.pk.int % 10**12:012}"
        self.record(
            AccountOpened(
                number=_text("number", number, 34),
                owner=_text("owner", owner, 120),
                currency=checked_currency(currency),
                overdraft_limit=checked_limit(overdraft_limit),
            )
        )

    @command
    def deposit(self, amount: Decimal, currency: str = "", reference: str = "") -> None:
        """Pay money in. Without a currency, the account's own is meant."""
        amount = self._incoming(amount, currency)
        self.record(MoneyDeposited(amount=amount, currency=self.currency, reference=reference))

    @command
    def withdraw(self, amount: Decimal, currency: str = "", reference: str = "") -> None:
        """Take money out, down to the overdraft limit. Without a currency, the account's own is meant."""
        amount = self._outgoing(amount, currency)
        self.record(MoneyWithdrawn(amount=amount, currency=self.currency, reference=reference))

    @command
    def send_transfer(
        self, transfer_id: UUID, to_account: str, amount: Decimal, currency: str = "", reference: str = ""
    ) -> None:
        """Send the one half of a transfer; ``demo_bank.transfers.transfer`` runs both."""
        amount = self._outgoing(amount, currency)
        self.record(
            TransferSent(
                transfer_id=transfer_id,
                to_account=to_account,
                amount=amount,
                currency=self.currency,
                reference=reference,
            )
        )

    @command
    def receive_transfer(
        self, transfer_id: UUID, from_account: str, amount: Decimal, currency: str = "", reference: str = ""
    ) -> None:
        """Receive the other half of a transfer."""
        amount = self._incoming(amount, currency)
        self.record(
            TransferReceived(
                transfer_id=transfer_id,
                from_account=from_account,
                amount=amount,
                currency=self.currency,
                reference=reference,
            )
        )

    @command
    def post_entry(
        self,
        sequence: int,
        booked_on: date,
        direction: Literal["credit", "debit"],
        amount: Decimal,
        currency: str = "",
        operation: str = "",
        purpose: str = "",
        counter_bank: str = "",
        counter_account: str = "",
    ) -> None:
        """Post a row of another bank's ledger, in the order of its sequence. If it is posted already, do nothing."""
        if sequence <= self.imported_sequence:
            return
        if sequence != self.imported_sequence + 1:
            raise CommandRejected(
                f"Entry {sequence} of account {self.number} comes after {self.imported_sequence}: some are missing.",
                code="sequence_gap",
            )
        check = self._incoming if direction == "credit" else self._outgoing
        self.record(
            EntryPosted(
                sequence=sequence,
                booked_on=booked_on,
                direction=direction,
                amount=check(amount, currency),
                currency=self.currency,
                operation=operation,
                purpose=purpose,
                counter_bank=counter_bank,
                counter_account=counter_account,
            )
        )

    @command
    def freeze(self, reason: str) -> None:
        """Let no money move until the account is unfrozen."""
        self._require_open()
        self.record(AccountFrozen(reason=_text("reason", reason, 500)))

    @command
    def unfreeze(self, reason: str = "") -> None:
        """Let money move again."""
        if self.status != self.Status.FROZEN:
            raise CommandRejected(f"Account {self.number} is not frozen.", code="not_frozen")
        self.record(AccountUnfrozen(reason=reason))

    @command
    def close(self, reason: str = "") -> None:
        """Close the account for good; its balance must be 0."""
        self._require_open()
        if self.balance != 0:
            raise CommandRejected(
                f"Account {self.number} holds {self.balance} {self.currency}: only an empty one can be closed.",
                code="not_empty",
            )
        self.record(AccountClosed(reason=reason))

    # Rules

    def _require_open(self) -> None:
        if self.status != self.Status.OPEN:
            raise CommandRejected(f"Account {self.number} is {self.status}.", code=f"account_{self.status}")

    def _movement(self, amount: Decimal, currency: str) -> Decimal:
        self._require_open()
        if currency and currency != self.currency:
            raise CommandRejected(
                f"Account {self.number} is kept in {self.currency}, not in {currency}.", code="currency_mismatch"
            )
        return checked_amount(amount)

    def _incoming(self, amount: Decimal, currency: str) -> Decimal:
        amount = self._movement(amount, currency)
        if self.balance + amount > LARGEST:
            raise CommandRejected(f"Account {self.number} cannot hold that much.", code="amount_out_of_range")
        return amount

    def _outgoing(self, amount: Decimal, currency: str) -> Decimal:
        amount = self._movement(amount, currency)
        available = self.balance + self.overdraft_limit
        if amount > available:
            raise CommandRejected(
                f"Account {self.number} has {available} {self.currency} left, overdraft included.",
                code="insufficient_funds",
            )
        return amount

    # State

    @applies(AccountOpened)
    def _opened(self, event: AccountOpened) -> None:
        self.number, self.owner = event.number, event.owner
        self.currency, self.overdraft_limit = event.currency, event.overdraft_limit

    @applies(MoneyDeposited, TransferReceived)
    def _came_in(self, event: MoneyDeposited | TransferReceived) -> None:
        self.balance += event.amount

    @applies(MoneyWithdrawn, TransferSent)
    def _went_out(self, event: MoneyWithdrawn | TransferSent) -> None:
        self.balance -= event.amount

    @applies(EntryPosted)
    def _posted(self, event: EntryPosted) -> None:
        self.balance += event.amount if event.direction == "credit" else -event.amount
        self.imported_sequence = event.sequence

    @applies(AccountFrozen)
    def _frozen(self, _event: AccountFrozen) -> None:
        self.status = self.Status.FROZEN

    @applies(AccountUnfrozen)
    def _unfrozen(self, _event: AccountUnfrozen) -> None:
        self.status = self.Status.OPEN

    @applies(AccountClosed)
    def _closed(self, _event: AccountClosed) -> None:
        self.status = self.Status.CLOSED


def _text(name: str, value: str, longest: int) -> str:
    value = value.strip()
    if not value:
        raise CommandRejected(f"The {name} must not be empty.", code=f"{name}_missing")
    if len(value) > longest:
        raise CommandRejected(f"The {name} is longer than {longest} characters.", code=f"{name}_too_long")
    return value


class DailyTotal(models.Model):
    """What came into the bank and left it on one day, in one currency; kept by the projection ``DailyTotals``."""

    day = models.DateField()
    currency = models.CharField(max_length=3, choices=Currency.choices)
    deposits = models.DecimalField(max_digits=20, decimal_places=2, default=Decimal("0.00"))
    withdrawals = models.DecimalField(max_digits=20, decimal_places=2, default=Decimal("0.00"))
    count = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ("-day", "currency")
        constraints = (models.UniqueConstraint(fields=("day", "currency"), name="bank_one_total_a_day"),)

    def __str__(self) -> str:
        return f"{self.day} {self.currency}"


class AuditEntry(models.Model):
    """What an auditor wants to see at once, in words; kept by the subscriber ``bank.audit``."""

    event_id = models.UUIDField(unique=True)
    """The event that it tells of; also what keeps a second entry out."""
    happened_at = models.DateTimeField()
    actor = models.CharField(max_length=150, blank=True)
    subject = models.CharField(max_length=255)
    what = models.CharField(max_length=1000)

    class Meta:
        ordering = ("-happened_at", "-pk")
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return self.what
