"""Expiry of receipts: what is older than a repetition can be, but none that a subscriber may still need.

A subscriber that was held up for a month runs its handler again where it stopped, and so it does with what it has
parked; then the receipts of what that run had done already are all that keeps it from doing it twice.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import Min, Q

from eventsourcing_app.aggregates.records import StoredReceipt
from eventsourcing_app.conf import conf
from eventsourcing_app.log import clock
from eventsourcing_app.log.records import StoredEvent
from eventsourcing_app.subscriptions.records import ParkedEvent, Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BATCH = 1000
_ACTOR = "subscription:"


def expire_receipts(*, days: int, batch: int = BATCH, stop: Callable[[], bool] = lambda: False) -> int:
    """Delete the receipts that are older than ``days``, oldest first, and return how many.

    At most ``batch`` of them go in one statement, which is a transaction of its own; ``stop()`` ends it between two.
    Receipts of subscribers stay while the event that they belong to has not been handled to its end.
    """
    rows = StoredReceipt.objects.using(conf.DATABASE)
    old = rows.filter(recorded_at__lt=clock.now() - timedelta(days=days)).order_by("recorded_at", "pk")
    expired, after = 0, Q()
    while not stop():
        found = list(old.filter(after)[:batch])
        needed = _needed(found)
        expired += rows.filter(pk__in=[receipt.pk for receipt in found if receipt.pk not in needed]).delete()[0]
        if len(found) < batch:
            break
        last = found[-1]
        after = Q(recorded_at__gt=last.recorded_at) | Q(recorded_at=last.recorded_at, pk__gt=last.pk)
    return expired


def _needed(receipts: Sequence[StoredReceipt]) -> set[Any]:
    """Return the keys of the receipts whose events a subscription has not got past, or has parked."""
    caused = {receipt.pk: cause for receipt in receipts if (cause := _cause(receipt)) is not None}
    if not caused:
        return set()
    names, events = zip(*caused.values(), strict=True)
    segments = Segment.objects.using(conf.DATABASE).filter(subscription__in=set(names))
    checkpoints = dict(segments.values_list("subscription").annotate(Min("checkpoint")))
    # After the checkpoints: an event is parked when its checkpoint passes it, and would be missed the other way round.
    rows = ParkedEvent.objects.using(conf.DATABASE).filter(event_id__in=set(events))
    parked = set(rows.values_list("segment__subscription", "event_id"))
    stored = StoredEvent.objects.using(conf.DATABASE).filter(event_id__in=set(events))
    positions = dict(stored.values_list("event_id", "position"))
    return {
        pk
        for pk, (name, event_id) in caused.items()
        if (name, event_id) in parked or (name in checkpoints and positions.get(event_id, 0) > checkpoints[name])
    }


def _cause(receipt: StoredReceipt) -> tuple[str, UUID] | None:
    """Return subscription and event of a receipt that was stored with an implied key: see ``once.reaction_key``."""
    name, _, rest = receipt.key.rpartition(":")[0].rpartition(":")
    if receipt.actor != f"{_ACTOR}{name}":
        return None
    try:
        return name, UUID(rest)
    except ValueError:
        return None
