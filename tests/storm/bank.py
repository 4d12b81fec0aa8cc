"""What the storm's writers do: payments between a fixed set of accounts, and facts. All of it has a reference."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import Count, Sum

from demo_bank.models import Account
from demo_bank.transfers import transfer
from eventsourcing_app import event, flow, publish
from tests.storm.facts import Observation

if TYPE_CHECKING:
    from collections.abc import Sequence

OPENING = Decimal("1000.00")
OPENED = "opened"
"""The reference of what every account begins with."""


@event("storm.noted")
class Noted:
    """A payment was made. Published with the account as its key."""

    reference: str


@event("storm.echoed")
class Echoed:
    """Published by a subscriber for each ``Noted``."""

    account: str


@event("storm.dosed")
class Dosed:
    """Kills the process of a subscriber, if it is ``fatal``."""

    reference: str
    fatal: bool = False


def open_accounts(count: int) -> list[UUID]:
    """Open accounts with some money in each, in a commit for each."""
    keys = []
    for _ in range(count):
        account = Account()
        account.open(owner="Storm", number=f"S{uuid4().hex[:20]}")
        account.deposit(OPENING, reference=OPENED)
        account.save()
        keys.append(account.pk)
    return keys


@flow("storm.pay")
def pay(source: UUID, target: UUID, amount: Decimal, *, reference: str) -> UUID:
    """Transfer, and publish that it was done: three events in one transaction."""
    done = transfer(source, target, amount, reference=reference)
    publish(Noted(reference=reference), key=str(source))
    return done


def spread(accounts: Sequence[UUID], amount: Decimal, rounds: int, *, reference: str) -> int:
    """Let each of ``accounts`` pay the next one, several times; return how many events that are. One transaction."""
    with Account.objects.locked(accounts) as locked:
        for _ in range(rounds):
            for sender, receiver in zip(locked, [*locked[1:], locked[0]], strict=True):
                number = uuid4()
                sender.send_transfer(number, receiver.number, amount, reference=reference)
                receiver.receive_transfer(number, sender.number, amount, reference=reference)
    return events_of_spread(accounts, rounds)


def events_of_spread(accounts: Sequence[UUID], rounds: int) -> int:
    return 2 * rounds * len(accounts)


def dose(key: str, fatal: Sequence[bool], *, reference: str) -> int:
    """Publish doses under one key, in one transaction; return the position of the last."""
    position = 0
    with transaction.atomic():
        for each in fatal:
            position = publish(Dosed(reference=reference, fatal=each), key=key)
    return position


def observe(accounts: Sequence[UUID]) -> Observation:
    """See all the money in one snapshot: it is one statement."""
    rows = Account.objects.filter(pk__in=accounts)
    seen = rows.aggregate(total=Sum("balance"), accounts=Count("pk"))
    return Observation(accounts=seen["accounts"], total=int((seen["total"] or 0) * 100))
