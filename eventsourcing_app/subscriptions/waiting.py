"""Reading one's own writes: a reader waits until projections have reached what was just written (``wait_for``)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import NotCaughtUp
from eventsourcing_app.log.settled import settled_position
from eventsourcing_app.subscriptions.records import Segment, Subscription
from eventsourcing_app.subscriptions.registry import registry
from eventsourcing_app.subscriptions.windows import Share, Windows

if TYPE_CHECKING:
    from collections.abc import Collection

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1


def wait(position: int, subscription: str | Collection[str] | None, timeout: float) -> None:
    """See ``wait_for``."""
    end, pause = time.monotonic() + timeout, _SHORTEST_PAUSE
    names = None if subscription is None else {subscription} if isinstance(subscription, str) else set(subscription)
    if names is not None:
        _refuse_idle(position, names)
    while behind := _behind(position, names):
        if time.monotonic() >= end:
            raise NotCaughtUp(position, behind)
        time.sleep(min(pause, max(0.0, end - time.monotonic())))
        pause = min(2 * pause, _LONGEST_PAUSE)


def _refuse_idle(position: int, names: set[str]) -> None:
    rows = dict(Subscription.objects.using(conf.DATABASE).filter(name__in=names).values_list("name", "status"))
    idle = [f"{name} ({rows.get(name, 'unknown')})" for name in sorted(names) if rows.get(name) != "active"]
    if idle:
        raise NotCaughtUp(position, idle)


def _behind(position: int, names: set[str] | None) -> list[str]:
    """Return who has not reached the position, each with its checkpoint."""
    rows = Segment.objects.using(conf.DATABASE).filter(checkpoint__lt=position).select_related("subscription")
    active = rows.filter(subscription__status=Subscription.Status.ACTIVE)
    if names is None:
        active = active.filter(subscription__kind=Subscription.Kind.PROJECTION)
    else:
        active = active.filter(subscription__in=names)
    found = list(active.order_by("subscription", "number"))
    if not found:
        return []
    settled = settled_position() >= position
    return [
        f"{each.subscription_id} (at #{each.checkpoint})"
        for each in found
        if not settled or _has_something(each, position)
    ]


def _has_something(segment: Segment, position: int) -> bool:
    """Whether there is anything for a segment up to a position; those for which nothing comes are moved in time."""
    definition = registry.get(segment.subscription_id)
    if definition is None or definition.fingerprint != segment.subscription.fingerprint:
        return True
    share = Share(segment.number, segment.subscription.segment_count)
    found = Windows().find(definition, share, segment.checkpoint, until=position, limit=1)
    return bool(found.events) or found.reached < position
