"""Who may see the payload of events, and what one who may not sees in its place: nothing, and that it is masked.

The payload is ``data`` and ``metadata``, and whatever follows from them: what an event changed, past states, errors of
handlers, which may quote them, and the hash: with all other columns at hand it would confirm a guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from eventsourcing_app.access.visibility import Viewer
    from eventsourcing_app.log.records import StoredEventQuerySet

VIEW_PAYLOAD: Final = "eventsourcing_app.view_payload"
"""The permission to see what stored events say, besides that to see that they exist."""
PAYLOAD: Final = ("data", "metadata", "hash")
"""The columns of an event that are masked."""


def may_view_payload(user: Viewer | None) -> bool:
    """Whether the user may see payloads. Nobody may if it is not known who asks."""
    return user is not None and user.is_active and user.has_perm(VIEW_PAYLOAD)


def without_masked(events: StoredEventQuerySet, user: Viewer | None) -> StoredEventQuerySet:
    """Do not even fetch what the user may not see."""
    return events if may_view_payload(user) else events.defer(*PAYLOAD)
