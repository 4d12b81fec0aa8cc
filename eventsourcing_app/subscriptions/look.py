"""Looking for work: one query tells every segment that is behind or has parked events due, and that nobody is at."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.subscriptions.moments import moment_of, now
from eventsourcing_app.subscriptions.records import Segment, Subscription

if TYPE_CHECKING:
    from collections.abc import Collection

_LOOK = """
SELECT s.id, s.subscription_id, s.number, b.segment_count, b.fingerprint, s.checkpoint, s.slow, b.rate <> '',
    b.handler <> '', CASE WHEN s.token IS NOT NULL OR s.lost OR s.checkpoint < s.careful_until THEN 1 ELSE 0 END,
    CASE WHEN s.parked_due_at <= {now} THEN 1 ELSE 0 END
FROM {segment} s JOIN {subscription} b ON b.name = s.subscription_id
WHERE b.status = 'active' AND (s.token IS NULL OR s.claimed_until < {now})
  AND ((s.checkpoint < %s AND (s.retry_at IS NULL OR s.retry_at <= {now})) OR s.parked_due_at <= {now}){only}
ORDER BY s.served_at {nulls}, s.id
"""

_DUE = """
SELECT min(CASE WHEN s.token IS NOT NULL THEN s.claimed_until WHEN s.checkpoint < %s THEN s.retry_at END),
    min(CASE WHEN s.token IS NULL THEN s.parked_due_at END), {now}
FROM {segment} s JOIN {subscription} b ON b.name = s.subscription_id WHERE b.status = 'active'{only}
"""


class Waiting(NamedTuple):
    """A segment that is free, and behind or with parked events due."""

    segment: int
    subscription: str
    number: int
    segments: int
    fingerprint: str
    checkpoint: int
    slow: bool
    is_limited: bool
    is_stored: bool
    """Whether the subscription was made at run time."""
    careful: bool
    """Whether something went wrong here before: a worker died, or a handler failed."""
    parked_is_due: bool

    @property
    def goes_alone(self) -> bool:
        """Whether other segments should not have to wait for this one, nor be suspected with it."""
        return self.slow or self.careful or self.parked_is_due


def look(until: int, *, only: Collection[str] | None = None) -> list[Waiting]:
    """Return what could be claimed now, the longest unserved first; of ``only`` these subscriptions."""
    if only is not None and not only:
        return []
    connection = log_connection()
    quote = connection.ops.quote_name
    sql = _LOOK.format(
        segment=quote(Segment._meta.db_table),
        subscription=quote(Subscription._meta.db_table),
        now=now(connection),
        # Those never served come first. PostgreSQL has to be told; SQLite does so by itself.
        nulls="NULLS FIRST" if connection.vendor == "postgresql" else "",
        only="" if only is None else _only(only),
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [until, *(only or ())])
        return [Waiting(*row) for row in cursor.fetchall()]


def next_due(until: int, *, only: Collection[str]) -> float:
    """Return in how many seconds the next wait of these subscriptions is over, or the next lease; infinity for none."""
    if not only:
        return float("inf")
    connection = log_connection()
    quote = connection.ops.quote_name
    tables = {"segment": quote(Segment._meta.db_table), "subscription": quote(Subscription._meta.db_table)}
    with connection.cursor() as cursor:
        cursor.execute(_DUE.format(now=now(connection), only=_only(only), **tables), [until, *only])
        *dues, current = [moment_of(each) for each in cursor.fetchone()]
    assert current is not None, "the clock always tells a time"
    return min((max(0.0, (due - current).total_seconds()) for due in dues if due is not None), default=float("inf"))


def _only(names: Collection[str]) -> str:
    return f" AND s.subscription_id IN ({', '.join(['%s'] * len(names))})"
