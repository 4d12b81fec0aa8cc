"""Who may see and operate subscriptions, and what of their errors is shown: an error may quote a payload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.utils.translation import gettext as _

from eventsourcing_app.access.events import is_text
from eventsourcing_app.access.visibility import naming_narrowed
from eventsourcing_app.conf import conf
from eventsourcing_app.subscriptions.definitions import stored
from eventsourcing_app.subscriptions.records import ParkedEvent, Subscription

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from eventsourcing_app.access.visibility import Viewer

VIEW_SUBSCRIPTIONS: Final = "eventsourcing_app.view_subscription"
"""The permission to see subscriptions, in the admin and in the API."""
VIEW_PARKED: Final = "eventsourcing_app.view_parkedevent"
"""The permission to see parked events, in the admin and in the API."""
OPERATE: Final = "eventsourcing_app.operate_subscription"
"""The permission to act on subscriptions, besides that to see what is acted on."""
MAX_REASON: Final = 1000
"""Characters of the reason that an operator gives for an act."""
MAX_BURST: Final = 2**31 - 1
"""The largest burst of a rate: as much as its column holds."""
PARKED_FILTERS: Final = ("subscription", "state")
"""What parked events can be filtered by, each for equality."""


def may_view_subscriptions(user: Viewer) -> bool:
    """Whether the user may see subscriptions."""
    return user.is_active and user.has_perm(VIEW_SUBSCRIPTIONS)


def may_view_parked(user: Viewer) -> bool:
    """Whether the user may see parked events."""
    return user.is_active and user.has_perm(VIEW_PARKED)


def may_operate(user: Viewer) -> bool:
    """Whether the user may act on what it may see of subscriptions."""
    return user.is_active and user.has_perm(OPERATE)


def visible_subscriptions(user: Viewer) -> QuerySet[Subscription]:
    """Return the subscriptions that the user may see: all of them, or none."""
    return stored() if may_view_subscriptions(user) else stored().none()


def visible_parked(user: Viewer) -> QuerySet[ParkedEvent]:
    """Return the parked events that the user may see, each with its segment: of those events that there are for it."""
    parked = ParkedEvent.objects.using(conf.DATABASE).select_related("segment")
    return naming_narrowed(parked, user) if may_view_parked(user) else parked.none()


def filtered_parked(parked: QuerySet[ParkedEvent], name: str, value: str) -> QuerySet[ParkedEvent]:
    """Keep the parked events whose ``name``, one of ``PARKED_FILTERS``, is ``value``.

    Raises ``ValueError`` for another name, or a value that none can have.
    """
    if name == "subscription":
        if not is_text(value):
            raise ValueError(_("%(name)s cannot contain NUL or half a character.") % {"name": name})
        return parked.filter(segment__subscription=value)
    if name == "state":
        if value not in ParkedEvent.State.values:
            raise ValueError(
                _("%(name)s is one of: %(words)s.") % {"name": name, "words": ", ".join(ParkedEvent.State.values)}
            )
        return parked.filter(state=value)
    raise ValueError(f"Parked events cannot be filtered by {name!r:.80}, only by {', '.join(PARKED_FILTERS)}.")


def quotes_payload(subscription: Subscription) -> bool:
    """Whether the reason of its status may quote a payload: it was halted by an error, not by an operator's words."""
    return subscription.status == Subscription.Status.HALTED
