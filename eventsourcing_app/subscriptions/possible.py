"""Which acts on a subscription are possible as it is now, for those who offer them. ``operate`` decides in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eventsourcing_app.subscriptions.records import Subscription

if TYPE_CHECKING:
    from eventsourcing_app.subscriptions.overview import Overview

ACTS: Final = ("pause", "resume", "retry", "skip", "catch-up", "rate", "reset")
"""What operators can do to a subscription, by the names that it has in addresses."""


def possible_acts(overview: Overview) -> tuple[str, ...]:
    """Return those of ``ACTS`` that ``operate`` would do now. None to a rebuild: that has a command of its own."""
    row, status = overview.row, Subscription.Status
    if row.kind == Subscription.Kind.REBUILD:
        return ()
    stopped = bool(overview.stopped_at)
    possible = {
        "pause": row.status == status.ACTIVE,
        "resume": row.status in (status.PAUSED, status.HALTED),
        # What is parked has one that failed at its head.
        "retry": stopped or overview.lag.parked > 0,
        "skip": stopped,
        "catch-up": row.status == status.ACTIVE,
        "rate": True,
        "reset": bool(overview.segments),
    }
    return tuple(act for act in ACTS if possible[act])
