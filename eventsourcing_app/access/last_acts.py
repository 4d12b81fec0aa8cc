"""What operators did to one subscription last, as the log tells those who may see events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eventsourcing_app.access.masking import without_masked
from eventsourcing_app.access.visibility import visible_events
from eventsourcing_app.events.declare import declaration_of
from eventsourcing_app.subscriptions import acts

if TYPE_CHECKING:
    from eventsourcing_app.access.visibility import Viewer
    from eventsourcing_app.log.records import StoredEvent

ACTS: Final = (
    acts.SubscriptionStarted,
    acts.SubscriptionStopped,
    acts.SubscriptionPaused,
    acts.SubscriptionResumed,
    acts.SubscriptionReset,
    acts.SubscriptionHurried,
    acts.SubscriptionRateChanged,
    acts.ProjectionRebuilt,
    acts.ParkedEventsRetried,
    acts.EventSkipped,
)
"""What operators can do to a subscription, as it is kept in the log."""


def last_acts(user: Viewer, name: str, *, most: int) -> list[StoredEvent]:
    """Return the last acts on a subscription, newest first; data is not fetched if the user may not see it.

    Each kind of act has a stream of its own under the subscription's name, so the index over streams finds them.
    """
    topics = sorted({each for act in ACTS for each in declaration_of(act).names})
    events = visible_events(user).filter(stream_type__in=topics, stream_key=name)
    return list(without_masked(events, user).order_by("-position")[:most])
