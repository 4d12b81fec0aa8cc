"""A year in the life of a small bank, by real commands; the same on every machine, relative to the day of the run."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from demo_bank import clock
from demo_bank.models import Account
from demo_bank.payments import pay
from demo_bank.transfers import transfer
from eventsourcing_app import CommandRejected, context
from eventsourcing_app.models import StoredEvent

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

SEED = 1494
"""The year of the oldest book on double entry."""
DAYS = 365
MOVEMENTS = 1_530

OWNERS = (
    *("Ada Lovelace", "Luca Pacioli", "Grace Hopper", "Emmy Noether", "Alan Turing", "Maria Mitchell"),
    *("Srinivasa Ramanujan", "Sofja Kowalewskaja", "Carl Gauss", "Hypatia of Alexandria", "Leonhard Euler"),
    *("Katherine Johnson", "Kurt Gödel", "Mary Somerville", "Évariste Galois", "Rózsa Péter", "Edsger Dijkstra"),
    *("Barbara Liskov", "John Napier", "Florence Nightingale"),
)
CURRENCIES = ("EUR",) * 14 + ("CHF",) * 3 + ("USD",) * 3
MERCHANTS = ("Corner Bakery", "Night Train Travel", "Green Grocer", "Second Hand Books", "City Power")
LOST_CARD, UNDER_INQUIRY, CLOSED = "DEMO-0005", "DEMO-0013", "DEMO-0020"
"""Accounts that are not only paid in and out of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    """What seeding did."""

    fresh: bool
    """Whether the history was written now; false if it was there."""
    accounts: int
    events: int
    refused: int
    """Commands that a rule of the bank refused; they left nothing behind."""
    seconds: float


def seed(*, actor: str) -> Seeded:
    """Write the history, all of it or nothing; a database that has it already is left as it is."""
    if settings.EVENTSOURCING.get("CLOCK") != "demo_bank.clock.now":
        raise ImproperlyConfigured('Seeding the past needs EVENTSOURCING["CLOCK"] = "demo_bank.clock.now", with DEBUG.')
    begun = time.monotonic()
    refused = 0
    with transaction.atomic():
        fresh = not Account.objects.filter(number=_number(1)).exists()
        if fresh:
            refused = _live(actor)
    return Seeded(
        fresh=fresh,
        accounts=Account.objects.count(),
        events=StoredEvent.objects.count(),
        refused=refused,
        seconds=time.monotonic() - begun,
    )


def _live(actor: str) -> int:
    refused = 0
    story = _Story()
    for moment, act in story.acts():
        # A context for each act: what happens in one has a correlation id of its own.
        with clock.at(moment), context(actor=actor, channel="branch"):
            try:
                act()
            except CommandRejected:
                refused += 1
    return refused


def _number(index: int) -> str:
    return f"DEMO-{index:04}"


class _Story:
    """Who does what and when. All chance comes from one generator, and acts run in the order of time."""

    def __init__(self) -> None:
        self.chance = random.Random(SEED)
        self.keys: dict[str, UUID] = {}
        self.orders = 0

    def acts(self) -> list[tuple[datetime, Callable[[], object]]]:
        """Return every act with its moment, in order."""
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        begin, day = today - timedelta(days=DAYS), timedelta(days=1)
        acts: list[tuple[datetime, Callable[[], object]]] = [
            (begin + index * timedelta(hours=1), partial(self.open, index)) for index in range(1, len(OWNERS) + 1)
        ]
        kinds = (self.deposit, self.withdraw, self.transfer, self.pay)
        acts += [
            (begin + day + (DAYS - 2) * day * self.chance.random(), kind)
            for kind in self.chance.choices(kinds, weights=(40, 30, 25, 5), k=MOVEMENTS)
        ]
        acts += [
            (begin + 120 * day, partial(self.freeze, LOST_CARD, "Card reported lost")),
            (begin + 123 * day, partial(self.unfreeze, LOST_CARD, "New card handed over")),
            (begin + 310 * day, partial(self.freeze, UNDER_INQUIRY, "Inquiry 2718")),
            (begin + 340 * day, partial(self.close, CLOSED)),
        ]
        return sorted(acts, key=lambda act: act[0])

    def open(self, index: int) -> None:
        limit = self.chance.choice((Decimal("0.00"), Decimal("500.00"), Decimal("1000.00")))
        number, owner, currency = _number(index), OWNERS[index - 1], CURRENCIES[index - 1]
        receipt = Account.objects.perform_new(
            Account.open, owner=owner, number=number, currency=currency, overdraft_limit=limit
        )
        self.keys[number] = receipt.pk

    def deposit(self) -> None:
        reference = self.chance.choice(("Salary", "Rent received", "Cash", "Refund"))
        Account.objects.perform(self.anyone(), Account.deposit, amount=self.amount(20, 1500), reference=reference)

    def withdraw(self) -> None:
        reference = self.chance.choice(("Cash machine", "Rent", "Insurance", "Holiday"))
        Account.objects.perform(self.anyone(), Account.withdraw, amount=self.amount(10, 900), reference=reference)

    def transfer(self) -> None:
        currency = self.chance.choice(CURRENCIES)
        candidates = [_number(index) for index, own in enumerate(CURRENCIES, start=1) if own == currency]
        source, target = self.chance.sample(candidates, k=2)
        transfer(self.keys[source], self.keys[target], self.amount(5, 600), reference="Thank you")

    def pay(self) -> None:
        self.orders += 1
        merchant = self.chance.choice(MERCHANTS)
        pay(self.anyone(), merchant, self.amount(5, 150), order_id=f"D-{self.orders:05}")

    def freeze(self, number: str, reason: str) -> None:
        Account.objects.perform(self.keys[number], Account.freeze, reason=reason)

    def unfreeze(self, number: str, reason: str) -> None:
        Account.objects.perform(self.keys[number], Account.unfreeze, reason=reason)

    def close(self, number: str) -> None:
        with Account.objects.locked([self.keys[number]]) as (account,):
            if account.balance > 0:
                account.withdraw(amount=account.balance, reference="Paid out")
            elif account.balance < 0:
                account.deposit(amount=-account.balance, reference="Balanced")
            account.close(reason="Moved abroad")

    def anyone(self) -> UUID:
        return self.keys[self.chance.choice(list(self.keys))]

    def amount(self, smallest: int, largest: int) -> Decimal:
        return Decimal(self.chance.randint(100 * smallest, 100 * largest)).scaleb(-2)
