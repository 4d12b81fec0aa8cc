"""What a user may see: every view starts at one of these querysets, so that no door forgets to ask.

Stored events show everything that ever happened, so they need a permission of their own
(``eventsourcing_app.view_storedevent``), whatever the user may see of the present state. What they say needs one more:
see ``masking``. Which of them there are for a user, ``EVENTSOURCING["VISIBLE_EVENTS"]`` may decide: the others do not
exist for that user, at no door.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model
from django.utils.module_loading import import_string

from eventsourcing_app.conf import conf
from eventsourcing_app.log.records import StoredEvent, StoredEventQuerySet

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from eventsourcing_app.aggregates.model import EventSourcedModel

M = TypeVar("M", bound=Model)

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
    return existing_events(user) if may_view_events(user) else _all_events().none()


def existing_events(user: Viewer) -> StoredEventQuerySet:
    """Return the events that there are for the user, whatever else it may see of them: ask for the permission first."""
    return narrowed(_all_events(), user)


def visible_trail(user: Viewer, aggregate: EventSourcedModel) -> StoredEventQuerySet:
    """Return what the user may see of an aggregate's history."""
    return visible_events(user).of_stream(aggregate.stream_type, aggregate.stream_key)


def narrowed(events: StoredEventQuerySet, user: Viewer) -> StoredEventQuerySet:
    """Keep those of ``events`` that there are for the user, by ``VISIBLE_EVENTS``; all of them without it."""
    narrow: Any = conf.VISIBLE_EVENTS
    if narrow is None:
        return events
    kept = (import_string(narrow) if isinstance(narrow, str) else narrow)(events, user)
    if not isinstance(kept, StoredEventQuerySet):
        raise ImproperlyConfigured(
            f"EVENTSOURCING['VISIBLE_EVENTS'] returned {type(kept).__name__}: return the queryset that it was given, "
            "filtered."
        )
    return kept


def naming_narrowed(rows: QuerySet[M], user: Viewer) -> QuerySet[M]:
    """Keep the rows whose ``position`` is that of an event that there is for the user."""
    if conf.VISIBLE_EVENTS is None:
        return rows
    return rows.filter(position__in=existing_events(user).order_by().values("position"))


def narrowed_positions(user: Viewer, positions: set[int]) -> set[int]:
    """Keep the positions of events that there are for the user."""
    if conf.VISIBLE_EVENTS is None:
        return positions
    events = narrowed(_all_events().filter(position__in=positions), user)
    return set(events.order_by().values_list("position", flat=True))


def is_whole(user: Viewer, history: StoredEventQuerySet) -> bool:
    """Whether there is every event of a history for the user. If not, what is folded from it would tell of the rest."""
    if conf.VISIBLE_EVENTS is None:
        return True
    history = history.order_by()
    return not history.exclude(position__in=narrowed(history, user).values("position")).exists()


def _all_events() -> StoredEventQuerySet:
    return StoredEventQuerySet(StoredEvent, using=conf.DATABASE)
