"""What became of one event at each subscription that reacts to it, in four queries however many there are.

A checkpoint tells of all events at or below it that they were handled, or parked. Three acts make exceptions: an event
that was skipped, or over which a reset has moved the checkpoint, was not handled, though the checkpoint has passed it;
and after a reset to before it, or a rebuild, it comes again. Acts are rare, and looked for after the event only.

What nobody keeps, this cannot tell: whether a subscription reacted to events of this type when they came by.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Q, TextField
from django.db.models.functions import Cast

from eventsourcing_app.conf import conf
from eventsourcing_app.events import topics
from eventsourcing_app.events.declare import declaration_of
from eventsourcing_app.events.registry import registry
from eventsourcing_app.log.records import StoredEvent
from eventsourcing_app.subscriptions.acts import EventSkipped, ProjectionRebuilt, SubscriptionReset
from eventsourcing_app.subscriptions.definitions import stored
from eventsourcing_app.subscriptions.records import ParkedEvent, Segment, Subscription
from eventsourcing_app.subscriptions.sequences import Sequences, segment_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MOST_ACTS: Final = 1_000
"""How many resets and rebuilds are looked at, the newest ones."""
_SKIPPED, _RESET, _REBUILT = (declaration_of(act).name for act in (EventSkipped, SubscriptionReset, ProjectionRebuilt))


class Outcome(Enum):
    """What became of an event at a subscription."""

    HANDLED = "handled"
    """The checkpoint has passed it."""
    PARKED = "parked"
    """It failed, or waits behind one of its stream that did."""
    STOPPED_AT = "stopped at"
    """The subscription has stopped at it."""
    AWAITED = "awaited"
    """The subscription has not come to it yet."""
    SKIPPED = "skipped"
    """An operator gave it up."""
    PASSED_OVER = "passed over"
    """An operator moved the checkpoint past it before it was handled."""
    BEFORE_BEGINNING = "before beginning"
    """The subscription began after it."""
    NO_CHECKPOINT = "no checkpoint"
    """The subscription was stopped, and its checkpoint dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event at one subscription."""

    subscription: Subscription
    outcome: Outcome
    segment: Segment | None
    parked: ParkedEvent | None = None
    """How it failed, if it is parked."""
    act: StoredEvent | None = None
    """The act of an operator by which it was not handled."""


def deliveries(event: StoredEvent) -> list[Delivery]:
    """Return what became of an event at each subscription that reacts to its type, by name; four queries.

    ``event`` needs no payload. Of acts only what names them is fetched, and their data.
    """
    rows = _reacting(event.type)
    if not rows:
        return []
    segments = _segments(rows, Sequences().of(event))
    parked = _parked(segments.values(), event.position)
    acts = _acts([row.name for row in rows], event)
    return [_delivery(row, segments.get(row.name), parked, acts.get(row.name, ()), event.position) for row in rows]


def _reacting(type_: str) -> list[Subscription]:
    """Return the subscriptions that react to events of this wire name, as they are stored, by name.

    Many may do so to the same types, and few to this one: what they react to is read once for each wording of it.
    """
    try:
        declaration = registry.find(type_)
    except ImproperlyConfigured:  # claimed by two classes: a check says so
        declaration = None
    # A pattern names an event by any of its names, as it does for the workers.
    names = (type_,) if declaration is None else declaration.names
    columns = ("name", "kind", "status", "segment_count", "started_after")
    reacts: dict[str, bool] = {}
    rows = []
    known = stored().annotate(said=Cast("types", TextField())).order_by("name")
    for said, *values in known.values_list("said", *columns):
        if said not in reacts:
            reacts[said] = any(topics.matches(pattern, name) for pattern in json.loads(said) for name in names)
        if reacts[said]:
            rows.append(Subscription(**dict(zip(columns, values, strict=True))))
    return rows


def _segments(rows: Sequence[Subscription], sequence: str) -> dict[str, Segment]:
    """Return the segment of each subscription in which the events of a sequence are handled."""
    numbers = Q()
    for count in sorted({row.segment_count for row in rows}):
        numbers |= Q(subscription__segment_count=count, number=segment_of(sequence, count))
    columns = ("subscription", "number", "checkpoint", "failed_position", "retry_at")
    found = Segment.objects.using(conf.DATABASE).filter(numbers, subscription__in=[row.name for row in rows])
    return {segment.subscription_id: segment for segment in found.only(*columns)}


def _parked(segments: Iterable[Segment], position: int) -> dict[int, ParkedEvent]:
    of_these = ParkedEvent.objects.using(conf.DATABASE).filter(segment__in=[segment.pk for segment in segments])
    return {row.segment_id: row for row in of_these.filter(position=position).defer("error")}


def _acts(names: Sequence[str], event: StoredEvent) -> dict[str, list[StoredEvent]]:
    """Return what operators did later that bears on an event, by subscription, in order."""
    moved = Q(type__in=(_RESET, _REBUILT), stream_type__in=(_RESET, _REBUILT))
    skipped = Q(type=_SKIPPED, stream_type=_SKIPPED, data__position=event.position)
    acts = StoredEvent.objects.using(conf.DATABASE).filter(
        moved | skipped, stream_key__in=names, position__gt=event.position
    )
    columns = ("position", "type", "stream_key", "actor", "recorded_at", "data")
    found: dict[str, list[StoredEvent]] = {}
    for act in reversed(acts.order_by("-position").only(*columns)[:MOST_ACTS]):
        found.setdefault(act.stream_key, []).append(act)
    return found


def _delivery(
    row: Subscription,
    segment: Segment | None,
    parked: Mapping[int, ParkedEvent],
    acts: Iterable[StoredEvent],
    position: int,
) -> Delivery:
    if segment is None:
        return Delivery(subscription=row, outcome=Outcome.NO_CHECKPOINT, segment=None)
    if (failed := parked.get(segment.pk)) is not None:
        return Delivery(subscription=row, outcome=Outcome.PARKED, segment=segment, parked=failed)
    if segment.checkpoint < position:
        stopped = segment.failed_position == position
        return Delivery(subscription=row, outcome=Outcome.STOPPED_AT if stopped else Outcome.AWAITED, segment=segment)
    outcome = Outcome.BEFORE_BEGINNING if position <= row.started_after else Outcome.HANDLED
    last: StoredEvent | None = None
    for act in acts:
        if (bearing := _bearing(act, segment.number, position)) is not None:
            outcome, last = bearing, None if bearing == Outcome.HANDLED else act
    return Delivery(subscription=row, outcome=outcome, segment=segment, act=last)


def _bearing(act: StoredEvent, segment: int, position: int) -> Outcome | None:
    """Return what an act made of an event that the checkpoint has passed since; ``None`` if it left that as it was."""
    data: dict[str, Any] = act.data
    if act.type == _SKIPPED:
        return Outcome.SKIPPED
    if act.type == _REBUILT or data["checkpoint"] < position:
        return Outcome.HANDLED  # it came again
    before = data["before"]
    came_from = before[segment] if segment < len(before) else max(before, default=0)
    return Outcome.PASSED_OVER if came_from < position else None
