"""Claims: whose turn a segment is, fenced by a token, so that a worker which was given up cannot move a checkpoint.

A claim is committed before any handler runs: a handler that kills its process is found by the claim it left behind.
One statement claims several segments for a worker, and one gives them back with the checkpoints they have reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import DateTimeField, ExpressionWrapper
from django.db.models.functions import Now

from eventsourcing_app.conf import conf
from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.subscriptions.moments import now
from eventsourcing_app.subscriptions.records import Segment, Subscription

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from uuid import UUID

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import QuerySet

    from eventsourcing_app.subscriptions.look import Waiting

# Found again under the lock: since the worker looked, another one may have been there, or an operator.
_CLAIM = """
UPDATE {segment} SET token = %s, claimed_until = {lease}, lost = (lost OR token IS NOT NULL),
    in_flight_from = checkpoint + 1, in_flight_to = %s
WHERE id IN (
    SELECT s.id FROM {segment} s JOIN {subscription} b ON b.name = s.subscription_id
    WHERE s.id IN ({ids}) AND b.status = 'active' AND b.fingerprint IN ({fingerprints})
      AND (s.token IS NULL OR s.claimed_until < {now})
      AND ((s.checkpoint < %s AND (s.retry_at IS NULL OR s.retry_at <= {now})) OR s.parked_due_at <= {now})
    {lock}
)
"""
_CLAIMED = """id, checkpoint, careful_until, lost, attempted_position, attempts, parked,
    CASE WHEN retry_at IS NULL OR retry_at <= {now} THEN 1 ELSE 0 END,
    CASE WHEN parked_due_at <= {now} THEN 1 ELSE 0 END
"""
# All of them are locked before the first is changed, in the order in which operators lock them.
_IN_ORDER = """
WITH locked AS MATERIALIZED (
    SELECT id FROM {segment} WHERE id IN ({ids}) AND token = %s ORDER BY id FOR NO KEY UPDATE
)
"""
_RELEASE = """
UPDATE {segment} SET token = NULL, claimed_until = NULL, lost = {false}, in_flight_from = NULL, in_flight_to = NULL,
    checkpoint = done.column2, slow = done.column3, served_at = {now}, retry_at = NULL, failed_position = NULL,
    failed_at = NULL, last_error = '', attempts = 0, attempted_position = NULL
FROM (VALUES {values}) AS done WHERE {segment}.id = done.column1 AND {segment}.token = %s
"""
# What it was lost for, if it was, is still to be looked into.
_LEAVE = """
UPDATE {segment} SET token = NULL, claimed_until = NULL, in_flight_from = NULL, in_flight_to = NULL
WHERE token = %s AND id IN ({ids})
"""
# Nobody is there, and nothing is for it: several at a time, each where it still is where it was seen.
_PASS = """
UPDATE {segment} SET checkpoint = %s WHERE id IN (
    SELECT s.id FROM {segment} s JOIN {subscription} b ON b.name = s.subscription_id
    JOIN (VALUES {values}) AS seen ON s.id = seen.column1 AND s.checkpoint = seen.column2
    WHERE s.token IS NULL AND b.status = 'active' AND b.fingerprint IN ({fingerprints}) {lock}
)
"""

FREE: dict[str, Any] = {
    "token": None,
    "claimed_until": None,
    "in_flight_from": None,
    "in_flight_to": None,
}
"""A segment that nobody is at: whoever had claimed it cannot move its checkpoint."""


@dataclass(slots=True)
class Claim:
    """A segment that this worker may handle for a while, and how far it has come with it."""

    segment: int
    subscription: str
    number: int
    segments: int
    """How many segments the subscription has."""
    token: UUID
    checkpoint: int
    until: int
    """The settled position up to which to read."""
    careful_until: int
    """Up to here one event at a time: something went wrong here before."""
    lost: bool
    """Whether the worker that had it before died, perhaps of an event in its batch."""
    attempted: int | None
    """The one event that was tried last, if not in a batch."""
    attempts: int
    parked: int
    is_due: bool
    """Whether it may go on from its checkpoint: it does not wait after a failure, or because of its rate."""
    parked_is_due: bool
    is_limited: bool
    """Whether it has a rate."""
    slow: bool = False
    why_halted: str = ""
    """Why the subscription has to be halted, if what happened in this turn calls for it."""


def claim(wanted: Sequence[Waiting], *, token: UUID, until: int) -> list[Claim]:
    """Claim those of ``wanted`` that are still free and due, in the same order."""
    connection = log_connection()
    ids, prints = [each.segment for each in wanted], [*{each.fingerprint for each in wanted}]
    sql = _CLAIM.format(
        **_names(connection),
        ids=_marks(ids),
        fingerprints=_marks(prints),
        lease=now(connection, plus=conf.LEASE_SECONDS),
        now=now(connection),
        lock="ORDER BY s.id FOR NO KEY UPDATE OF s SKIP LOCKED" if connection.vendor == "postgresql" else "",
    )
    columns, params = _CLAIMED.format(now=now(connection)), [_uuid(connection, token), until, *ids, *prints, until]
    if connection.vendor == "postgresql":
        rows = _fetch(connection, f"{sql} RETURNING {columns}", params)
    else:
        # Not by RETURNING: in SQLite 3.40 it takes a column that is null for one that is not.
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute(sql, params)
            claimed = (
                f"SELECT {columns} FROM {_names(connection)['segment']} WHERE token = %s AND id IN ({_marks(ids)})"
            )
            rows = _fetch(connection, claimed, [_uuid(connection, token), *ids])
    return [_claim_of(each, rows[each.segment], token, until) for each in wanted if each.segment in rows]


def _fetch(connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any]) -> dict[int, Sequence[Any]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return {row[0]: row for row in cursor.fetchall()}


def _claim_of(each: Waiting, row: Sequence[Any], token: UUID, until: int) -> Claim:
    _, checkpoint, careful_until, lost, attempted, attempts, parked, is_due, parked_is_due = row
    return Claim(
        segment=each.segment,
        subscription=each.subscription,
        number=each.number,
        segments=each.segments,
        token=token,
        checkpoint=checkpoint,
        until=until,
        careful_until=careful_until,
        lost=bool(lost),
        attempted=attempted,
        attempts=attempts,
        parked=parked,
        is_due=bool(is_due),
        parked_is_due=bool(parked_is_due),
        is_limited=each.is_limited,
    )


def mine(claimed: Claim) -> QuerySet[Segment]:
    """Return the claimed segment, as a query that finds nothing once the claim was given to another worker."""
    return Segment.objects.using(conf.DATABASE).filter(pk=claimed.segment, token=claimed.token)


def hold(claimed: Claim) -> bool:
    """Lock the segment for the rest of the transaction; false if the claim was given to another worker."""
    return mine(claimed).select_for_update(no_key=True).first() is not None


def renew(token: UUID, segments: Collection[int]) -> None:
    """Give a sign of life for what a worker has claimed and is at."""
    rows = Segment.objects.using(conf.DATABASE).filter(token=token, pk__in=segments)
    with transaction.atomic(using=conf.DATABASE):
        # One whose row is locked is being handled in a transaction, and nobody else can claim it meanwhile.
        free = rows.select_for_update(skip_locked=True, no_key=True).values_list("pk", flat=True)
        rows.filter(pk__in=list(free)).update(claimed_until=from_now(conf.LEASE_SECONDS))


def give_up(token: UUID, *, at: int | None = None) -> int:
    """Say of a worker that it is dead: what it had claimed can be taken over at once.

    ``at`` is the segment that it was at, if that is known (0: none): only that one is then suspected of its death.
    Returns how many segments a transaction still holds, perhaps one of the dead worker's: nobody waits for those.
    """
    rows = Segment.objects.using(conf.DATABASE).filter(token=token)
    with transaction.atomic(using=conf.DATABASE):
        free = list(rows.select_for_update(skip_locked=True, no_key=True).values_list("pk", flat=True))
        if at is not None:
            rows.filter(pk__in=free).exclude(pk=at).update(**FREE)
        rows.filter(pk__in=free).update(claimed_until=from_now(-1))
        return rows.exclude(pk__in=free).count()


def release(done: Iterable[Claim], *, token: UUID) -> None:
    """Give segments back with the checkpoints that they have reached; those of another worker stay as they are."""
    values = [(each.segment, each.checkpoint, each.slow) for each in done]
    if not values:
        return
    connection = log_connection()
    names = _names(connection)
    sql = _RELEASE.format(**names, values=_typed(connection, values), now=now(connection))
    params: list[Any] = [*(each for row in values for each in row), _uuid(connection, token)]
    sql, params = _in_order(connection, [each[0] for each in values], token, sql, params)
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


def _in_order(
    connection: BaseDatabaseWrapper, ids: Sequence[int], token: UUID, sql: str, params: list[Any]
) -> tuple[str, list[Any]]:
    """Let an UPDATE lock its rows in order, if it has several: the planner's order is any."""
    if len(ids) == 1 or connection.vendor != "postgresql":
        return sql, params
    names = _names(connection)
    locked = _IN_ORDER.format(**names, ids=_marks(ids))
    return f"{locked}{sql} AND {names['segment']}.id IN (SELECT id FROM locked)", [*ids, token, *params]


def leave(claims: Collection[Claim], *, token: UUID) -> None:
    """Give segments back that their turn did not come to; they are first in line as they were."""
    if not claims:
        return
    connection, ids = log_connection(), [each.segment for each in claims]
    sql = _LEAVE.format(**_names(connection), ids=_marks(ids))
    params = [_uuid(connection, token), *ids]
    sql, params = _in_order(connection, ids, token, sql, params)
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


def pass_by(idle: Collection[Waiting], *, until: int) -> None:
    """Move the checkpoints of segments for which nothing came, all of them by one statement."""
    if not idle:
        return
    connection = log_connection()
    values = [(each.segment, each.checkpoint) for each in idle]
    lock = "ORDER BY s.id FOR NO KEY UPDATE OF s SKIP LOCKED" if connection.vendor == "postgresql" else ""
    prints = [*{each.fingerprint for each in idle}]
    sql = _PASS.format(**_names(connection), values=_typed(connection, values), fingerprints=_marks(prints), lock=lock)
    with connection.cursor() as cursor:
        cursor.execute(sql, [until, *(each for row in values for each in row), *prints])


def end(claimed: Claim, **values: Any) -> bool:
    """End one claim with other values than its progress; false if it was given to another worker."""
    return mine(claimed).update(**FREE, lost=False, served_at=Now(), **values) == 1


def from_now(seconds: float) -> ExpressionWrapper[Any]:
    """Return the database's time in so many seconds, for the ORM."""
    return ExpressionWrapper(Now() + timedelta(seconds=seconds), output_field=DateTimeField())


def _names(connection: BaseDatabaseWrapper) -> dict[str, str]:
    quote = connection.ops.quote_name
    tables = {"segment": quote(Segment._meta.db_table), "subscription": quote(Subscription._meta.db_table)}
    return {**tables, "false": "false" if connection.vendor == "postgresql" else "0"}


def _marks(values: Sequence[object]) -> str:
    return ", ".join(["%s"] * len(values))


def _typed(connection: BaseDatabaseWrapper, rows: Sequence[tuple[Any, ...]]) -> str:
    """Return the marks of ``VALUES``; the first row tells PostgreSQL the types."""
    kinds = {int: "bigint", bool: "boolean"}
    first = ", ".join(f"%s::{kinds[type(value)]}" for value in rows[0]) if connection.vendor == "postgresql" else None
    plain = f"({_marks(rows[0])})"
    return ", ".join([f"({first})" if first else plain, *[plain] * (len(rows) - 1)])


def _uuid(connection: BaseDatabaseWrapper, token: UUID) -> UUID | str:
    return token if connection.features.has_native_uuid_field else token.hex
