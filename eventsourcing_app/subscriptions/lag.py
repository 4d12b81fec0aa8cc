"""Lag: how far each subscription is behind the log, in events and in seconds, and why; from one query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from eventsourcing_app.conf import conf
from eventsourcing_app.log import clock
from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.log.records import StoredEvent
from eventsourcing_app.subscriptions.moments import moment_of
from eventsourcing_app.subscriptions.records import ParkedEvent, Segment, Subscription

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

# Many stand at the same checkpoint: the log is looked into once for each.
_LAGS = """
WITH g AS (
    SELECT b.name, b.kind, b.status, b.status_reason, b.rate, count(s.id) AS segments,
        coalesce(min(s.checkpoint), b.started_after) AS checkpoint, coalesce(sum(s.parked), 0) AS parked
    FROM {subscription} b LEFT JOIN {segment} s ON s.subscription_id = b.name {chosen}
    GROUP BY b.name, b.kind, b.status, b.status_reason, b.rate, b.started_after
), head AS (
    SELECT coalesce(max(position), 0) AS last FROM {log}
), ahead AS (
    SELECT c.checkpoint, (
        SELECT l.recorded_at FROM {log} l WHERE l.position > c.checkpoint ORDER BY l.position LIMIT 1
    ) AS since
    FROM (SELECT checkpoint FROM g GROUP BY checkpoint) AS c CROSS JOIN head WHERE c.checkpoint < head.last
)
SELECT g.*, head.last, ahead.since, CASE WHEN g.parked > 0 THEN (
    SELECT count(*) FROM {parked} p JOIN {segment} s ON s.id = p.segment_id
    WHERE s.subscription_id = g.name AND p.state = 'dead'
) ELSE 0 END
FROM g CROSS JOIN head LEFT JOIN ahead ON ahead.checkpoint = g.checkpoint ORDER BY g.name
"""


class Lag(NamedTuple):
    """How far one subscription is behind."""

    name: str
    kind: str
    status: str
    reason: str
    """Why it is paused or halted."""
    rate: str
    segments: int
    checkpoint: int
    """The lowest of its segments' checkpoints."""
    parked: int
    """Events that failed, or wait behind one that did."""
    events: int
    """Positions of the log after the checkpoint: so many events at most, of whatever type, are still to be offered."""
    seconds: float
    """Age of the first event after the checkpoint; 0 if there is none."""
    dead: int
    """Parked events that will not be tried again by themselves."""


def lags(names: Collection[str] | None = None) -> list[Lag]:
    """Return the lag of every subscription that the database knows, or of those with these names, in their order."""
    if names is not None and not names:
        return []
    connection = log_connection()
    quote = connection.ops.quote_name
    models = {"log": StoredEvent, "segment": Segment, "subscription": Subscription, "parked": ParkedEvent}
    tables = {name: quote(model._meta.db_table) for name, model in models.items()}
    chosen = "" if names is None else f"WHERE b.name IN ({', '.join(['%s'] * len(names))})"
    with connection.cursor() as cursor:
        cursor.execute(_LAGS.format(**tables, chosen=chosen), None if names is None else list(names))
        rows = cursor.fetchall()
    now = clock.now()
    return [_lag_of(row, now) for row in rows]


def _lag_of(row: Any, now: datetime) -> Lag:
    name, kind, status, reason, rate, segments, checkpoint, parked, last, since, dead = row
    moment = moment_of(since)
    return Lag(
        name=name,
        kind=kind,
        status=status,
        reason=reason,
        rate=rate,
        segments=segments,
        checkpoint=checkpoint,
        parked=int(parked),
        events=max(0, last - checkpoint),
        seconds=0.0 if moment is None else max(0.0, (now - moment).total_seconds()),
        dead=dead,
    )


def waiting(names: Collection[str], *, until: int) -> list[str]:
    """Say of each of these subscriptions that is behind ``until``, or has parked events, why it is."""
    segments = Segment.objects.using(conf.DATABASE).select_related("subscription").order_by("subscription", "number")
    of_these = segments.filter(subscription__in=names, subscription__status=Subscription.Status.ACTIVE)
    found = [_why_behind(segment) for segment in of_these.filter(checkpoint__lt=until)]
    for segment in of_these.filter(parked__gt=0):
        first = segment.parked_events.exclude(state=ParkedEvent.State.BEHIND).order_by("position").first()
        why = "" if first is None else f": #{first.position} {first.type}: {first.reason}"
        found.append(f"{segment.subscription_id} has parked {segment.parked} event(s){why}")
    halted = Subscription.objects.using(conf.DATABASE).filter(name__in=names, status=Subscription.Status.HALTED)
    return [*found, *(f"{row.name} is halted: {row.status_reason}" for row in halted)]


def _why_behind(segment: Segment) -> str:
    until = f" until {segment.retry_at:%Y-%m-%d %H:%M:%S}Z" if segment.retry_at else ""
    error = segment.last_error.strip()
    return f"{segment.subscription_id} waits at #{segment.checkpoint}{until}" + (
        f": {error.splitlines()[-1]}" if error else ""
    )
