"""Is the bank in order? Subscriptions caught up, pages there, state and history in agreement, books balanced."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.core.management import CommandError, call_command
from django.db.models import Max

from demo_bank import reactions
from demo_bank.models import Account, AuditEntry, DailyTotal
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo_bank.demo.processes import Child
    from demo_bank.demo.visits import Tour

SUBSCRIPTIONS = frozenset({reactions.NOTIFICATIONS, reactions.AUDIT, reactions.TOTALS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)
    """For machines."""


def caught_up(cluster: Child, *, name: str, timeout: float, stopped: Callable[[float], bool]) -> Finding:
    """Wait until every subscription has handled the whole log. ``stopped`` waits a moment and may end the waiting."""
    begun = time.monotonic()
    last = StoredEvent.objects.aggregate(last=Max("position"))["last"] or 0
    while True:
        segments = {segment.subscription_id: segment for segment in Segment.objects.order_by("pk")}
        behind = sorted(key for key, segment in segments.items() if segment.checkpoint < last or segment.parked)
        waiting = sorted(SUBSCRIPTIONS - set(segments)) + behind
        seconds = time.monotonic() - begun
        if not waiting:
            detail = f"{len(segments)} subscriptions at #{last}"
            return Finding(name=name, ok=True, detail=detail, seconds=seconds, facts={"position": last})
        if cluster.ended is not None:
            why = f"qcluster ended with {cluster.ended}: {cluster.tail()}"
        elif seconds > timeout:
            errors = [f"{key}: {segments[key].last_error}" for key in behind if segments[key].last_error]
            failed = ParkedEvent.objects.exclude(reason="").select_related("segment")
            errors += [f"{row.segment.subscription_id} #{row.position}: {row.reason}" for row in failed[:3]]
            why = f"after {timeout:.0f} s behind #{last}: {', '.join(waiting)}. {' '.join(errors) or cluster.tail()}"
        elif stopped(0.1):
            why = "asked to stop"
        else:
            continue
        return Finding(name=name, ok=False, detail=why, seconds=seconds, facts={"behind": waiting})


def toured(name: str, visit: Callable[[], Tour]) -> Finding:
    """Visit pages or endpoints."""
    begun = time.monotonic()
    tour = visit()
    good = sum(visit.ok for visit in tour.visits)
    bad = [f"{visit.method} {visit.path} answered {visit.status}" for visit in tour.visits if not visit.ok]
    bad += [f"{promised} is missing" for promised in tour.missing]
    return Finding(
        name=name,
        ok=tour.ok,
        detail="; ".join([f"{good} of {len(tour.visits)} answered", *bad]),
        seconds=time.monotonic() - begun,
        facts={
            "visits": [f"{visit.method} {visit.path} {visit.status}" for visit in tour.visits],
            "left_out": tour.left_out,
        },
    )


def commanded(name: str, *command: str) -> Finding:
    """Run a management command that fails if something is wrong."""
    begun, output = time.monotonic(), io.StringIO()
    try:
        call_command(*command, stdout=output, stderr=output, no_color=True)
        ok, last = True, ""
    except CommandError as error:
        ok, last = False, str(error)
    said = [line for line in (*output.getvalue().splitlines(), last) if line.strip()]
    return Finding(name=name, ok=ok, detail=" ".join(said), seconds=time.monotonic() - begun)


def books_balance() -> Finding:
    """Compare, for each currency, what the daily totals say has come in and gone out with what the accounts hold."""
    begun = time.monotonic()
    totals: dict[str, Decimal] = {}
    # Added up here and not in SQL: SQLite would do it in binary floating point.
    for currency, deposits, withdrawals in DailyTotal.objects.values_list("currency", "deposits", "withdrawals"):
        totals[currency] = totals.get(currency, Decimal(0)) + deposits - withdrawals
    held: dict[str, Decimal] = {}
    for currency, balance in Account.objects.values_list("currency", "balance"):
        held[currency] = held.get(currency, Decimal(0)) + balance
    off = [
        f"{currency}: accounts hold {held.get(currency)}, the totals say {totals.get(currency)}"
        for currency in sorted(held.keys() | totals.keys())
        if held.get(currency, 0) != totals.get(currency, 0)
    ]
    said = ", ".join(f"{amount:,} {currency}" for currency, amount in sorted(held.items()))
    return Finding(name="books balance", ok=not off, detail="; ".join(off) or said, seconds=time.monotonic() - begun)


def audited() -> Finding:
    """Compare the audit entries with the events that they tell of: each once, none twice."""
    begun = time.monotonic()
    names = ("bank.account_frozen", "bank.account_unfrozen", "bank.account_closed", "payments.payment_succeeded")
    events = set(StoredEvent.objects.filter(type__in=names).values_list("event_id", flat=True))
    entries = set(AuditEntry.objects.values_list("event_id", flat=True))
    detail = f"{len(entries)} entries for {len(events)} events"
    return Finding(name="audit complete", ok=events == entries, detail=detail, seconds=time.monotonic() - begun)
