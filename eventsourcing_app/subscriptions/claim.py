"""Claims: whose turn a segment is, fenced by a token, so that a worker which was given up cannot move a checkpoint.

A claim is committed before any handler runs, with the attempt already counted: a handler that kills its process is
found by the claim it left behind.
"""

from __future__ import annotations

import logging
import random
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import DateTimeField, ExpressionWrapper, F, Q
from django.db.models.functions import Now

from eventsourcing_app.conf import conf
from eventsourcing_app.log.settled import last_position
from eventsourcing_app.subscriptions.records import Segment, Subscription

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from eventsourcing_app.subscriptions.registry import Definition, Start

logger = logging.getLogger("eventsourcing_app.subscriptions")

_MAX_ERROR = 8_000


class Claim(NamedTuple):
    """A segment that this worker may handle, for a while."""

    segment: int
    subscription: str
    token: UUID
    checkpoint: int
    until: int
    """The settled position up to which to read."""
    careful: bool
    """One event at a time: something went wrong here before."""
    abandoned: bool
    """Whether the worker that had it before died, perhaps of an event in its batch."""
    attempts: int


def ensure(definitions: Sequence[Definition]) -> list[str]:
    """Give each subscription its rows if it has none, and return the fingerprints of those that this code may handle.

    The start of a new one is taken and stored in one step. One that is stored with events which this code does not
    react to is left to the code that does: this may be the older one, and would move the checkpoint past them. Events
    may be added without more ado; that some are taken away, ``migrate`` says (see ``define``).
    """
    stored = dict(Subscription.objects.using(conf.DATABASE).values_list("name", "types"))
    mine = []
    for definition in definitions:
        known = stored.get(definition.name)
        if known is None:
            _create(definition)
        elif missing := sorted(set(known) - definition.types):
            _warn_once(definition.name, ", ".join(missing))
            continue
        elif len(known) < len(definition.types):
            _store(definition)
        mine.append(definition.fingerprint)
    return mine


@cache
def _warn_once(name: str, missing: str) -> None:
    logger.warning(
        "%s is left to other code: it is stored as reacting to %s, to which this code does not react. If this code is "
        "the newer one, run migrate.",
        name,
        missing,
    )


def waiting(fingerprints: Sequence[str], *, until: int) -> list[str]:
    """Say of each subscription of this code that is behind ``until`` why it is."""
    behind = Segment.objects.using(conf.DATABASE).filter(
        subscription__fingerprint__in=fingerprints,
        subscription__status=Subscription.Status.ACTIVE,
        checkpoint__lt=until,
    )
    return [
        f"{segment.subscription_id} waits at #{segment.checkpoint}"
        + (f" until {segment.retry_at:%Y-%m-%d %H:%M:%S}Z" if segment.retry_at else "")
        + (f": {segment.last_error.strip().splitlines()[-1]}" if segment.last_error.strip() else "")
        for segment in behind.order_by("subscription", "number")
    ]


def define(definitions: Sequence[Definition]) -> None:
    """Store what this code says of its subscriptions. Called after ``migrate``: so a release takes over."""
    stored = dict(Subscription.objects.using(conf.DATABASE).values_list("name", "fingerprint"))
    for definition in definitions:
        if definition.name not in stored:
            _create(definition)
        elif stored[definition.name] != definition.fingerprint:
            _store(definition)


def _store(definition: Definition) -> None:
    rows = Subscription.objects.using(conf.DATABASE).filter(name=definition.name)
    rows.update(types=sorted(definition.types), fingerprint=definition.fingerprint)


def _position(start: Start) -> int:
    if isinstance(start, int):
        return start
    return last_position() if start == "now" else 0


def _create(definition: Definition) -> None:
    after = _position(definition.start)
    with transaction.atomic(using=conf.DATABASE):
        # Several workers may see it first; the rows of one of them stay.
        _, created = Subscription.objects.using(conf.DATABASE).get_or_create(
            name=definition.name,
            defaults={
                "kind": definition.kind,
                "types": sorted(definition.types),
                "fingerprint": definition.fingerprint,
                "started_after": after,
            },
        )
        if created:
            Segment.objects.using(conf.DATABASE).create(subscription_id=definition.name, checkpoint=after)


def claim(fingerprints: Sequence[str], *, until: int, failed_before: datetime | None = None) -> Claim | None:
    """Claim the segment that is behind ``until`` and longest unserved, if any is free and due.

    One that has failed is due when its wait is over, or at once if it failed before ``failed_before``.
    """
    due = Q(retry_at=None) | Q(retry_at__lte=Now())
    if failed_before is not None:
        due |= Q(failed_at__lt=failed_before)
    with transaction.atomic(using=conf.DATABASE):
        segment = (
            Segment.objects.using(conf.DATABASE)
            .select_for_update(skip_locked=True, no_key=True, of=("self",))
            .filter(checkpoint__lt=until, subscription__status=Subscription.Status.ACTIVE)
            .filter(subscription__fingerprint__in=fingerprints)
            .filter(due)
            .filter(Q(token=None) | Q(claimed_until__lt=Now()))
            .order_by(F("served_at").asc(nulls_first=True), "pk")
            .first()
        )
        if segment is None:
            return None
        token = uuid4()
        Segment.objects.using(conf.DATABASE).filter(pk=segment.pk).update(
            token=token,
            claimed_until=_lease(),
            served_at=Now(),
            in_flight_from=segment.checkpoint + 1,
            in_flight_to=until,
            attempts=segment.attempts + 1,
        )
    return Claim(
        segment=segment.pk,
        subscription=segment.subscription_id,
        token=token,
        checkpoint=segment.checkpoint,
        until=until,
        careful=segment.checkpoint < segment.careful_until,
        abandoned=segment.token is not None,
        attempts=segment.attempts + 1,
    )


def hold(claimed: Claim) -> bool:
    """Lock the segment for the rest of the transaction; false if the claim was given to another worker."""
    rows = Segment.objects.using(conf.DATABASE).select_for_update(no_key=True)
    return rows.filter(pk=claimed.segment, token=claimed.token).first() is not None


def renew(claimed: Claim) -> bool:
    """Give a sign of life; false if the claim was given to another worker."""
    rows = Segment.objects.using(conf.DATABASE).filter(pk=claimed.segment, token=claimed.token)
    return rows.update(claimed_until=_lease()) == 1


def watch(claimed: Claim, *, until: int) -> bool:
    """Keep the claim; from here to ``until`` events are handled one by one."""
    rows = Segment.objects.using(conf.DATABASE).filter(pk=claimed.segment, token=claimed.token)
    return rows.update(careful_until=until) == 1


def release(claimed: Claim, *, checkpoint: int) -> bool:
    """Move the checkpoint and end the claim; false, and nothing is moved, if it was given to another worker."""
    done: dict[str, Any] = {"checkpoint": checkpoint, "retry_at": None}
    if checkpoint > claimed.checkpoint:
        done |= {"attempts": 0, "failed_position": None, "last_error": "", "failed_at": None}
    return _end(claimed, **done)


def be_careful(claimed: Claim, *, until: int) -> bool:
    """End the claim without progress; from here to ``until`` events are then handled one by one."""
    return _end(claimed, careful_until=until, attempts=claimed.attempts - 1)


def fail(claimed: Claim, *, checkpoint: int, position: int, error: str) -> bool:
    """Move the checkpoint up to the failing event, and stop there until it is due again."""
    attempts = claimed.attempts if checkpoint == claimed.checkpoint else 1
    return _end(
        claimed,
        checkpoint=checkpoint,
        attempts=attempts,
        careful_until=position,
        failed_position=position,
        failed_at=Now(),
        last_error=_storable(error[-_MAX_ERROR:]),
        retry_at=_from_now(_backoff(attempts)),
    )


def _end(claimed: Claim, **values: Any) -> bool:
    ended = {"claimed_until": None, "in_flight_from": None, "in_flight_to": None}
    rows = Segment.objects.using(conf.DATABASE).filter(pk=claimed.segment, token=claimed.token)
    return rows.update(token=None, **ended, **values) == 1


def _backoff(attempts: int) -> float:
    """Full jitter: any time up to the doubled wait, so that failures do not come back in step."""
    first, longest = conf.RETRY_SECONDS
    return random.uniform(0, min(longest, first * 2 ** min(attempts - 1, 30)))


def _storable(text: str) -> str:
    """Write NUL and lone surrogates, which no database takes as text, as they are written in Python."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()


def _lease() -> ExpressionWrapper[Any]:
    return _from_now(conf.LEASE_SECONDS)


def _from_now(seconds: float) -> ExpressionWrapper[Any]:
    # The database's clock: workers on several machines need not agree on the time.
    return ExpressionWrapper(Now() + timedelta(seconds=seconds), output_field=DateTimeField())
