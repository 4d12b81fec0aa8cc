"""What became of an event at the subscriptions that react to it, as a page tells it to who may see subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.access.subscriptions import may_view_parked, may_view_subscriptions
from eventsourcing_app.access.visibility import narrowed_positions
from eventsourcing_app.admin.links import linked
from eventsourcing_app.admin.people import told
from eventsourcing_app.admin.times import both, due
from eventsourcing_app.admin.values import breakable, masked
from eventsourcing_app.subscriptions.deliveries import Outcome, deliveries
from eventsourcing_app.subscriptions.records import Subscription

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from django.http import HttpRequest
    from django.utils.functional import _StrPromise

    from eventsourcing_app.admin.links import Links
    from eventsourcing_app.admin.people import Person
    from eventsourcing_app.log.records import StoredEvent
    from eventsourcing_app.subscriptions.deliveries import Delivery
    from eventsourcing_app.subscriptions.records import ParkedEvent

MOST_SHOWN: Final = 200
"""How many subscriptions are told at most; those at which something is wrong come first."""
WORDS: Final[Mapping[Outcome, _StrPromise]] = {
    Outcome.HANDLED: gettext_lazy("handled"),
    Outcome.PARKED: gettext_lazy("parked"),
    Outcome.STOPPED_AT: gettext_lazy("stopped at it"),
    Outcome.AWAITED: gettext_lazy("not reached yet"),
    Outcome.SKIPPED: gettext_lazy("skipped"),
    Outcome.PASSED_OVER: gettext_lazy("passed over by a reset"),
    Outcome.BEFORE_BEGINNING: gettext_lazy("began after it"),
    Outcome.NO_CHECKPOINT: gettext_lazy("stopped, without a checkpoint"),
}
_WRONG: Final = (Outcome.PARKED, Outcome.STOPPED_AT)


class DeliveryLine(NamedTuple):
    """One subscription."""

    subscription: str
    kind: str
    status: str
    """Empty while it is active."""
    outcome: str
    is_wrong: bool
    details: str


class Deliveries(NamedTuple):
    """All that is shown, and how many are not."""

    lines: Sequence[DeliveryLine]
    more: int


def found_deliveries(request: HttpRequest, event: StoredEvent) -> Sequence[Delivery] | None:
    """Return what became of an event, what is wrong first; ``None`` if the user may not see subscriptions."""
    if not may_view_subscriptions(request.user):
        return None
    return sorted(deliveries(event), key=lambda each: each.outcome not in _WRONG)


def actors_of(found: Sequence[Delivery] | None) -> list[str]:
    """Return who acted on those that are shown."""
    return [each.act.actor for each in (found or ())[:MOST_SHOWN] if each.act is not None]


def told_deliveries(
    request: HttpRequest, links: Links, found: Sequence[Delivery] | None, known: Mapping[str, Person]
) -> Deliveries | None:
    """Return what a page tells of them. ``known`` are the people among who acted."""
    if found is None:
        return None
    some = found[:MOST_SHOWN]
    acts = {each.act.position for each in some if each.act is not None}
    teller = _Teller(request, links, narrowed_positions(request.user, acts) if acts else acts, known)
    return Deliveries([teller.line(each) for each in some], len(found) - len(some))


class _Teller:
    """What this user may see of them."""

    def __init__(self, request: HttpRequest, links: Links, acts: Collection[int], known: Mapping[str, Person]) -> None:
        self._links, self._acts, self._known = links, acts, known
        self._sees_parked = may_view_parked(request.user)
        self._sees_payload = may_view_payload(request.user)

    def line(self, delivery: Delivery) -> DeliveryLine:
        row = delivery.subscription
        active = row.status == Subscription.Status.ACTIVE
        return DeliveryLine(
            subscription=linked(breakable(row.name), self._links.subscription_url(row.name)),
            kind=row.get_kind_display(),
            status="" if active else row.get_status_display(),
            outcome=str(WORDS[delivery.outcome]),
            is_wrong=delivery.outcome in _WRONG,
            details=self._details(delivery),
        )

    def _details(self, delivery: Delivery) -> str:
        if delivery.parked is not None:
            return self._parked(delivery.parked) if self._sees_parked else ""
        if delivery.act is not None:
            return self._act(delivery.act)
        segment = delivery.segment
        if segment is None or delivery.outcome not in (Outcome.AWAITED, Outcome.STOPPED_AT):
            return ""
        parts = [_("is at position %(position)d") % {"position": segment.checkpoint}]
        if segment.retry_at is not None:
            parts.append(format_html(_("retry {time}"), time=due(segment.retry_at)))
        return _joined(parts)

    def _parked(self, parked: ParkedEvent) -> str:
        state = linked(str(parked.get_state_display()), self._links.parked_event_url(parked.pk))
        parts = [state]
        if parked.attempts:
            parts.append(_("attempts: %(count)d") % {"count": parked.attempts})
        if parked.retry_at is not None:
            parts.append(format_html(_("next retry {time}"), time=due(parked.retry_at)))
        if parked.reason:
            parts.append(parked.reason if self._sees_payload else masked())
        return _joined(parts)

    def _act(self, act: StoredEvent) -> str:
        if act.position not in self._acts:
            return ""
        parts = [told(act.actor, self._links, self._known) if act.actor else _("nobody known")]
        parts.append(both(act.recorded_at))
        parts.append(linked(_("Event %(position)s") % {"position": act.position}, self._links.event_url(act.position)))
        reason = act.data.get("reason")
        if reason:
            parts.append(str(reason))  # who sees subscriptions reads the words of their operators
        return _joined(parts)


def _joined(parts: Sequence[str]) -> str:
    return format_html_join(" · ", "{}", ((part,) for part in parts))
