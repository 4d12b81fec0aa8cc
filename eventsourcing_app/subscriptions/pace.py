"""Pace: the token bucket of a subscription, one row for all workers, read by the database's clock.

It is asked only for subscriptions that have a rate. Each event takes a token; what was not used is given back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Least, Now

from eventsourcing_app.conf import conf
from eventsourcing_app.subscriptions.definitions import stored
from eventsourcing_app.subscriptions.rates import Rate

if TYPE_CHECKING:
    from datetime import datetime

    from eventsourcing_app.subscriptions.records import Subscription

_SOON = 0.1
"""An empty bucket is waited for until it holds what comes in so many seconds, so that few claims handle many events."""


class Granted(NamedTuple):
    """How many events may be handled now, and if none, in how many seconds some may."""

    events: int
    wait: float


def take(name: str, wanted: int) -> Granted:
    """Take up to ``wanted`` tokens out of a subscription's bucket, in a transaction of its own."""
    with transaction.atomic(using=conf.DATABASE):
        rows = stored().filter(name=name).select_for_update(no_key=True).annotate(moment=Now())
        row = rows.first()
        if row is None or not row.rate:
            return Granted(wanted, 0)
        rate = Rate.parse(row.rate, row.burst)
        tokens = _tokens(row, rate, row.moment)
        granted = min(wanted, int(tokens))
        row.tokens, row.refilled_at = tokens - granted, row.moment
        row.save(update_fields=["tokens", "refilled_at"])
    worth = min(rate.burst, max(1.0, rate.per_second * _SOON))
    return Granted(granted, 0 if granted else (worth - tokens) / rate.per_second)


def give_back(name: str, tokens: int) -> None:
    """Put unused tokens back, as many as the bucket holds."""
    row = stored().filter(name=name).first()
    if tokens > 0 and row is not None and row.rate:
        burst = Rate.parse(row.rate, row.burst).burst
        stored().filter(name=name).update(tokens=Least(F("tokens") + float(tokens), float(burst)))


def _tokens(row: Subscription, rate: Rate, moment: datetime) -> float:
    if row.refilled_at is None:
        return float(rate.burst)
    passed = max(0.0, (moment - row.refilled_at).total_seconds())
    return min(float(rate.burst), row.tokens + passed * rate.per_second)
