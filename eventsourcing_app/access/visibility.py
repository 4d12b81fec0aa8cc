"""What a user may see: every view starts at one of these querysets, so that no door forgets to ask.

Stored events show everything that ever happened, so they need a permission of their own
(``eventsourcing_app.view_storedevent``), whatever the user may see of the present state. What they say needs one more:
see ``masking``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from eventsourcing_app.conf import conf
from eventsourcing_app.log.records import StoredEvent, StoredEventQuerySet

if TYPE_CHECKING:
    from eventsourcing_app.aggregates.model import EventSourcedModel

VIEW_EVENTS: Final = "eventsourcing_app.view_storedevent"
"""The permission to see stored events."""
EXPORT_EVENTS: Final = "eventsourcing_app.export_storedevent"
"""The permission to take them along, as many as there are, besides that to see them."""


class Viewer(Protocol):
    """What is asked of a user: any user of ``django.contrib.auth``, anonymous ones included."""

    @property
    def is_active(self) -> bool: ...

    def has_perm(self, perm: str) -> bool: ...


def may_view_events(user: Viewer) -> bool:
    """Whether the user may see stored events at all."""
    return user.is_active and user.has_perm(VIEW_EVENTS)


def may_export_events(user: Viewer) -> bool:
    """Whether the user may export the stored events that it may see."""
    return may_view_events(user) and user.has_perm(EXPORT_EVENTS)


def visible_events(user: Viewer) -> StoredEventQuerySet:
    """Return the stored events that the user may see."""
    events = StoredEventQuerySet(StoredEvent, using=conf.DATABASE)
    return events if may_view_events(user) else events.none()


def visible_trail(user: Viewer, aggregate: EventSourcedModel) -> StoredEventQuerySet:
    """Return what the user may see of an aggregate's history."""
    return visible_events(user).of_stream(aggregate.stream_type, aggregate.stream_key)
