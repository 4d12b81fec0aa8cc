"""What operators do to subscriptions, as events in the log: who, when and why can be read there like everything else.

They are facts published under the key of the subscription's name, in the transaction of what was done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from django.db.models import Max
from django.utils.translation import gettext_lazy as _

from eventsourcing_app.conf import conf
from eventsourcing_app.events.declare import declaration_of, event
from eventsourcing_app.log.records import StoredEvent
from eventsourcing_app.subscriptions.publish import publish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.utils.functional import _StrPromise


@event("eventsourcing.subscription_started")
class SubscriptionStarted:
    """It was subscribed at run time, or again after it was stopped."""

    subscription: str
    reason: str
    handler: str


@event("eventsourcing.subscription_stopped")
class SubscriptionStopped:
    """It was unsubscribed."""

    subscription: str
    reason: str
    checkpoint_kept: bool


@event("eventsourcing.subscription_paused")
class SubscriptionPaused:
    """It handles nothing until it is resumed."""

    subscription: str
    reason: str


@event("eventsourcing.subscription_resumed")
class SubscriptionResumed:
    """It goes on where it was."""

    subscription: str
    reason: str
    before: str
    """Its status until then: paused or halted."""


@event("eventsourcing.subscription_reset")
class SubscriptionReset:
    """Its checkpoint was moved by hand."""

    subscription: str
    reason: str
    checkpoint: int
    before: tuple[int, ...]
    """The checkpoints of its segments until then."""


@event("eventsourcing.subscription_hurried")
class SubscriptionHurried:
    """It was asked to catch up at once, without the waits after failures."""

    subscription: str
    reason: str
    position: int


@event("eventsourcing.subscription_rate_changed")
class SubscriptionRateChanged:
    """It may handle so many events in a time from now on."""

    subscription: str
    reason: str
    rate: str
    burst: int | None
    before: str


@event("eventsourcing.projection_rebuilt")
class ProjectionRebuilt:
    """Its tables were built again from the beginning, and put in the place of those that served."""

    subscription: str
    reason: str
    checkpoint: int
    in_place: bool


@event("eventsourcing.parked_events_retried")
class ParkedEventsRetried:
    """Events that had failed are tried again, with new attempts."""

    subscription: str
    reason: str
    positions: tuple[int, ...]


@event("eventsourcing.event_skipped")
class EventSkipped:
    """An event will not be handled by this subscription."""

    subscription: str
    reason: str
    position: int
    event_id: UUID
    type: str


_VERBS: Mapping[type, _StrPromise] = {
    SubscriptionStarted: _("subscribed"),
    SubscriptionStopped: _("unsubscribed"),
    SubscriptionPaused: _("paused"),
    SubscriptionResumed: _("resumed"),
    SubscriptionReset: _("reset"),
    SubscriptionHurried: _("asked to catch up"),
    SubscriptionRateChanged: _("changed the rate"),
    ProjectionRebuilt: _("rebuilt"),
    ParkedEventsRetried: _("retried parked events"),
    EventSkipped: _("skipped an event"),
}

ACTS: Final[Mapping[str, _StrPromise]] = {declaration_of(act).name: verb for act, verb in _VERBS.items()}
"""Every act by its wire name, which is its topic too, with the word for it: "user:7 *paused* bank.audit"."""


def record_act(act: object) -> int:
    """Append an act, in the transaction that does it; return its position."""
    subscription: str = getattr(act, "subscription")  # noqa: B009 - every act above has one
    return publish(act, key=subscription)


def last_act(name: str) -> int:
    """Return the position of the last act on a subscription; 0 if there was none."""
    acts = StoredEvent.objects.using(conf.DATABASE).filter(stream_type__in=sorted(ACTS), stream_key=name)
    last: int | None = acts.aggregate(last=Max("position"))["last"]
    return last or 0
