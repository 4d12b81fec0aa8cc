"""What operators did to one subscription last, as the log tells those who may see events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventsourcing_app.access.masking import without_masked
from eventsourcing_app.access.visibility import visible_events
from eventsourcing_app.subscriptions.acts import ACTS

if TYPE_CHECKING:
    from eventsourcing_app.access.visibility import Viewer
    from eventsourcing_app.log.records import StoredEvent


def last_acts(user: Viewer, name: str, *, most: int) -> list[StoredEvent]:
    """Return the last acts on a subscription, newest first; data is not fetched if the user may not see it.

    Each kind of act has a stream of its own under the subscription's name, so the index over streams finds them.
    """
    events = visible_events(user).filter(stream_type__in=sorted(ACTS), stream_key=name)
    return list(without_masked(events, user).order_by("-position")[:most])
