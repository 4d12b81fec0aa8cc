"""Reading one's own writes: a reader waits until projections have reached what was just written (``wait_for``)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import NotCaughtUp
from eventsourcing_app.log.settled import settled_position
from eventsourcing_app.subscriptions.records import Subscription
from eventsourcing_app.subscriptions.registry import registry
from eventsourcing_app.subscriptions.windows import Share, Windows

if TYPE_CHECKING:
    from collections.abc import Collection

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1
_ACTIVE = Subscription.Status.ACTIVE


class _Progress(NamedTuple):
    """How far one segment has come; of a subscription that has none, only its name and status."""

    name: str
    status: str
    fingerprint: str
    segments: int
    number: int | None
    checkpoint: int | None


def wait(position: int, subscription: str | Collection[str] | None, timeout: float) -> None:
    """See ``wait_for``."""
    end, pause = time.monotonic() + timeout, _SHORTEST_PAUSE
    if subscription is None:
        names = _projections()
    else:
        names = {subscription} if isinstance(subscription, str) else set(subscription)
    windows = Windows()
    while behind := _behind(position, names, windows):
        if time.monotonic() >= end:
            raise NotCaughtUp(position, behind)
        time.sleep(min(pause, max(0.0, end - time.monotonic())))
        pause = min(2 * pause, _LONGEST_PAUSE)


def _projections() -> set[str]:
    rows = Subscription.objects.using(conf.DATABASE)
    active = rows.filter(kind=Subscription.Kind.PROJECTION, status=_ACTIVE).values_list("name", flat=True)
    return {name for name in active if registry.get(name) is not None}  # what no code declares moves no more


def _behind(position: int, names: Collection[str], windows: Windows) -> list[str]:
    """Return who has not reached the position, each with its checkpoint.

    Raises ``NotCaughtUp`` if one of them is not active, also if it has been only since the wait began. Status and
    checkpoints are read by one query: what is stopped in between has not reached anything by that.
    """
    rows = Subscription.objects.using(conf.DATABASE).filter(name__in=names).order_by("name", "segments__number")
    columns = ("name", "status", "fingerprint", "segment_count", "segments__number", "segments__checkpoint")
    found = [_Progress(*row) for row in rows.values_list(*columns)]
    statuses = {each.name: each.status for each in found}
    idle = [f"{name} ({statuses.get(name, 'unknown')})" for name in sorted(names) if statuses.get(name) != _ACTIVE]
    if idle:
        raise NotCaughtUp(position, idle)
    behind = [each for each in found if each.checkpoint is not None and each.checkpoint < position]
    if not behind:
        return []
    settled = settled_position() >= position
    return [
        f"{each.name} (at #{each.checkpoint})"
        for each in behind
        if not settled or _has_something(each, position, windows)
    ]


def _has_something(segment: _Progress, position: int, windows: Windows) -> bool:
    """Whether there is anything for a segment up to a position; those for which nothing comes are moved in time."""
    definition = registry.get(segment.name)
    if definition is None or definition.fingerprint != segment.fingerprint:
        return True
    assert segment.number is not None, "it has a checkpoint"
    assert segment.checkpoint is not None, "and it is behind"
    share = Share(segment.number, segment.segments)
    found = windows.find(definition, share, segment.checkpoint, until=position, limit=1)
    return bool(found.events) or found.reached < position
