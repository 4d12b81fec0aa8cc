"""Trying parked events again when they are due: the failed one, and if it succeeds, those that wait behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from eventsourcing_app.conf import conf
from eventsourcing_app.failpoints import reach
from eventsourcing_app.log.read import read_window
from eventsourcing_app.subscriptions import claim, pace
from eventsourcing_app.subscriptions.parking import failed_again, parked_of, summarize, take_out
from eventsourcing_app.subscriptions.records import ParkedEvent
from eventsourcing_app.subscriptions.worker import TooNew

if TYPE_CHECKING:
    from eventsourcing_app.subscriptions.turn import Turn

_AT_ONCE = 20
_FAILED = ParkedEvent.State.FAILED


def retry_parked(turn: Turn) -> None:
    """Try the parked events of a segment that are due, as long as the turn lasts."""
    segment, begun = turn.claimed.segment, False
    due = parked_of(segment).filter(state=_FAILED, retry_at__lte=Now()).order_by("retry_at", "position")
    for first in due[:_AT_ONCE]:
        row: ParkedEvent | None = first
        while row is not None and not turn.is_over:
            if begun and turn.must_end:
                break
            begun = True
            row = _retry(turn, row)
        if turn.is_over:
            return
    if not begun:
        with transaction.atomic(using=conf.DATABASE):
            if claim.hold(turn.claimed):
                summarize(segment)  # nothing was due: its row must not say so for ever
    turn.forget_parked()
    turn.claimed.parked = parked_of(segment).count()


def _retry(turn: Turn, row: ParkedEvent) -> ParkedEvent | None:
    """Try one event; return the next of its stream if its turn has come by that."""
    claimed = turn.claimed
    if not _may(turn, row):
        return None
    with transaction.atomic(using=conf.DATABASE):
        if not claim.hold(claimed):
            turn.is_over = True
            return None
        # Counted and committed before the handler runs. Not there any more: an operator has skipped it.
        if not parked_of(claimed.segment).filter(pk=row.pk, state=_FAILED).update(attempts=F("attempts") + 1):
            return None
        claim.mine(claimed).update(attempted_position=row.position)
    row.attempts += 1
    reach("work.attempt")
    try:
        following = _deliver(turn, row)
    except TooNew as newer:
        # It is not the event's fault: the attempt does not count, and newer code may try at once.
        parked_of(claimed.segment).filter(pk=row.pk).update(attempts=F("attempts") - 1)
        claim.mine(claimed).update(attempted_position=None)
        turn.leave_to_newer(newer)
        return None
    except Exception as error:  # noqa: BLE001 - whatever it is, it is recorded, and the event stays
        turn.errors.append(error)
        turn.stops = True
        failed_again(turn.definition, claimed, row, error)
        return None
    return following if following is not None and following.state == _FAILED else None


def _may(turn: Turn, row: ParkedEvent) -> bool:
    """Whether the subscription's pace allows one more event; if not, this one is due a little later."""
    if not turn.claimed.is_limited:
        return True
    granted = pace.take(turn.definition.name, 1)
    if granted.events:
        return True
    with transaction.atomic(using=conf.DATABASE):
        if claim.hold(turn.claimed):
            later = claim.from_now(granted.wait)
            parked_of(turn.claimed.segment).filter(state=_FAILED, retry_at__lte=Now()).update(retry_at=later)
            summarize(turn.claimed.segment)
    return False


def _deliver(turn: Turn, row: ParkedEvent) -> ParkedEvent | None:
    claimed = turn.claimed
    (recorded,) = read_window(after=row.position - 1, until=row.position)
    if not turn.definition.transactional:
        turn.worker.deliver(turn.definition, recorded)
        reach("work.effect")
    with transaction.atomic(using=conf.DATABASE):
        if not claim.hold(claimed):
            turn.is_over = True
            return None
        if turn.definition.transactional:
            turn.worker.deliver(turn.definition, recorded)
            reach("work.effect")
        following = take_out(claimed.segment, row)
    turn.handled += 1
    return following
