"""Careful mode: one event at a time, each attempt committed before it, so that the one that kills is found.

Source: DESIGN of this app (G7). A worker that died in a batch leaves its claim behind; whoever takes it over goes this
way through what was in flight. A worker that dies here has named the event by its attempt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction

from eventsourcing_app.conf import conf
from eventsourcing_app.failpoints import reach
from eventsourcing_app.log.read import read_window
from eventsourcing_app.subscriptions import claim
from eventsourcing_app.subscriptions.failures import WorkerLost
from eventsourcing_app.subscriptions.parking import failed_again, parked_of
from eventsourcing_app.subscriptions.worker import TooNew

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventsourcing_app.log.recorded import RecordedEvent
    from eventsourcing_app.subscriptions.turn import Turn

_LOST = "The process of the worker died, or was killed, while it handled this event."


def look_into_death(turn: Turn, in_flight: Sequence[RecordedEvent]) -> bool:
    """Find out what the worker died of that had the segment before; return whether the turn goes on.

    ``in_flight`` are the events that it may have been at, if it was not at a single one.
    """
    claimed = turn.claimed
    if claimed.attempted is None:
        if in_flight:
            claimed.careful_until = max(claimed.careful_until, in_flight[-1].position)
            turn.is_over = not claim.mine(claimed).update(careful_until=claimed.careful_until)
        return not turn.is_over
    error = WorkerLost(_LOST)
    row = parked_of(claimed.segment).filter(position=claimed.attempted).first()
    if row is not None:
        turn.errors.append(error)
        turn.stops = True
        failed_again(turn.definition, claimed, row, error)
        return True
    if claimed.attempted <= claimed.checkpoint:
        return True
    found = read_window(after=claimed.attempted - 1, until=claimed.attempted)
    return not found or turn.fail(found[0], error, attempts=claimed.attempts)


def handle_carefully(turn: Turn, events: Sequence[RecordedEvent], reached: int) -> None:
    """Handle events one by one, as far as care is needed and the turn lasts."""
    claimed, begun = turn.claimed, False
    for recorded in events:
        if recorded.position > claimed.careful_until:
            # Nothing that matches is left before this one: what needed care may match no more.
            claimed.checkpoint = max(claimed.checkpoint, claimed.careful_until)
            return
        if begun and turn.must_end:
            return
        begun = True
        if turn.waits(recorded):
            if not turn.set_behind([recorded], checkpoint=recorded.position):
                return
        elif not _try(turn, recorded):
            return
    claimed.checkpoint = reached


def _try(turn: Turn, recorded: RecordedEvent) -> bool:
    """Try one event; return whether the turn goes on."""
    claimed, position = turn.claimed, recorded.position
    attempts = claimed.attempts + 1 if claimed.attempted == position else 1
    if not claim.mine(claimed).update(attempted_position=position, attempts=attempts):
        turn.is_over = True
        return False
    claimed.attempted, claimed.attempts = position, attempts
    turn.offered += 1
    reach("work.attempt")
    try:
        if not _deliver(turn, recorded):
            turn.is_over = True
            return False
    except TooNew as newer:
        turn.leave_to_newer(newer)
        return False
    except Exception as error:  # noqa: BLE001 - whatever it is, it is recorded, and the event stays
        if not claim.mine(claimed).filter(checkpoint__gte=position).exists():
            return turn.fail(recorded, error, attempts=attempts)
        # It is done, and committed: only the answer was lost, or what was to be called on the commit has failed.
        turn.note(recorded, error)
    claimed.checkpoint, claimed.attempted, claimed.attempts = position, None, 0
    turn.handled += 1
    return True


def _deliver(turn: Turn, recorded: RecordedEvent) -> bool:
    """Deliver one event and move the checkpoint; false if the claim was lost."""
    done = {"checkpoint": recorded.position, "attempted_position": None, "attempts": 0}
    if not turn.definition.transactional:
        turn.worker.deliver(turn.definition, recorded)
        reach("work.effect")
        return claim.mine(turn.claimed).update(**done) == 1
    with transaction.atomic(using=conf.DATABASE):
        if not claim.hold(turn.claimed):
            return False
        turn.worker.deliver(turn.definition, recorded)
        reach("work.effect")
        return claim.mine(turn.claimed).update(**done) == 1
