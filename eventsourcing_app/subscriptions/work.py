"""Handling one claim: first what is parked and due, then the next events, and what becomes of them.

Transactional handlers commit with the checkpoint: exactly once. Others run outside any transaction and the checkpoint
moves after them: at least once. After a failure, or a death, it goes one event at a time: see ``careful``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import transaction

from eventsourcing_app.conf import conf
from eventsourcing_app.failpoints import reach
from eventsourcing_app.subscriptions import claim, pace
from eventsourcing_app.subscriptions.careful import handle_carefully, look_into_death
from eventsourcing_app.subscriptions.failures import halt, too_many_parked
from eventsourcing_app.subscriptions.parking import is_due
from eventsourcing_app.subscriptions.retrying import retry_parked
from eventsourcing_app.subscriptions.turn import Turn
from eventsourcing_app.subscriptions.windows import Found, Share
from eventsourcing_app.subscriptions.worker import TooNew

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventsourcing_app.log.recorded import RecordedEvent
    from eventsourcing_app.subscriptions.claim import Claim
    from eventsourcing_app.subscriptions.registry import Definition
    from eventsourcing_app.subscriptions.worker import Worker

BATCH_EVENTS = 500
"""A subscriber that takes one event at a time gets no more of them in a turn."""


@dataclass(slots=True)
class _Progress:
    """How far a batch has come."""

    checkpoint: int
    handled: int = 0
    waiting: list[RecordedEvent] = field(default_factory=list)
    """Events that were passed, because one of their stream before them is parked."""


class _Failed(Exception):
    """A handler failed; undoes the batch that it failed in."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def work(worker: Worker, definition: Definition, claimed: Claim) -> Turn:
    """Handle what is next for a claimed segment. Unless the turn ``is_over``, the claim is still to be released."""
    turn = Turn(worker, definition, claimed)
    _work(turn)
    claimed.slow = turn.is_slow(turn.handled)
    if claimed.why_halted:
        # Not while the segment is locked: operators lock the subscription first.
        halt(definition.name, claimed.why_halted)
    return turn


def _work(turn: Turn) -> None:
    claimed = turn.claimed
    found = _find(turn)
    if claimed.lost and not look_into_death(turn, found.events):
        return
    if claimed.parked_is_due:
        retry_parked(turn)
        turn.stops = False  # what fails behind must not keep what comes from going on
        if not turn.is_over and _serves_parked_first(turn):
            claim.end(claimed)
            turn.is_over = True
    if not turn.is_over and not claimed.is_due:
        claim.end(claimed)
        turn.is_over = True
    if turn.is_over:
        return
    found = Found([each for each in found.events if each.position > claimed.checkpoint], found.reached)
    granted = _granted(turn, len(found.events))
    if granted is not None:
        if not granted:
            return
        if granted < len(found.events):
            found = Found(found.events[:granted], found.events[granted - 1].position)
    paid_for = turn.offered  # what was parked has taken its own tokens
    _handle(turn, found)
    if granted is not None:
        # A failed attempt has used its token: whoever is protected by the pace was asked all the same.
        pace.give_back(turn.definition.name, granted - (turn.offered - paid_for))


def _serves_parked_first(turn: Turn) -> bool:
    """Whether to leave what comes for later: more than may be parked is, and can be tried now."""
    parked, name = turn.claimed.parked, turn.definition.name
    return bool(parked and too_many_parked(name)) and is_due(turn.claimed.segment)


def _find(turn: Turn) -> Found:
    claimed, definition = turn.claimed, turn.definition
    return turn.worker.windows.find(
        definition,
        Share(claimed.number, claimed.segments),
        claimed.checkpoint,
        until=claimed.until,
        limit=definition.batch or BATCH_EVENTS,
    )


def _granted(turn: Turn, wanted: int) -> int | None:
    """Return how many events the pace allows, ``None`` if there is nothing to keep to; with 0 the claim has ended."""
    if not turn.claimed.is_limited or not wanted:
        return None
    granted = pace.take(turn.definition.name, wanted)
    if not granted.events:
        later = claim.from_now(granted.wait)
        claim.end(turn.claimed, checkpoint=turn.claimed.checkpoint, retry_at=later)
        turn.is_over = True
    return granted.events


def _handle(turn: Turn, found: Found) -> None:
    if turn.claimed.checkpoint < turn.claimed.careful_until:
        handle_carefully(turn, found.events, found.reached)
    elif not found.events:
        turn.claimed.checkpoint = found.reached
    elif turn.definition.transactional:
        _together(turn, found)
    else:
        _apart(turn, found)


def _apart(turn: Turn, found: Found) -> None:
    """Handlers run outside any transaction and the checkpoint moves after them: at least once."""
    claimed, progress = turn.claimed, _Progress(turn.claimed.checkpoint)
    newer, whole = None, False
    try:
        whole = _deliver(turn, found.events, progress)
    except TooNew as error:
        newer = error
    except Exception as error:  # noqa: BLE001 - whatever it is, it is recorded, and the event stays
        turn.handled += progress.handled
        rest = [each for each in found.events if each.position > progress.checkpoint]
        if turn.definition.batch and len(rest) > 1:
            _be_careful(turn, rest[-1].position)  # of a list that fails, it may be any
        else:
            turn.fail(rest[0], error, before=progress.checkpoint, waiting=progress.waiting)
        return
    turn.handled += progress.handled
    reach("work.effect")
    checkpoint = found.reached if whole else progress.checkpoint
    if progress.waiting and not turn.set_behind(progress.waiting, checkpoint=checkpoint):
        return
    claimed.checkpoint = checkpoint
    if newer is not None:
        turn.leave_to_newer(newer)


def _together(turn: Turn, found: Found) -> None:
    """Handlers and checkpoint commit together: each event has its effect exactly once."""
    claimed, before, parked = turn.claimed, turn.claimed.checkpoint, turn.claimed.parked
    progress = _Progress(before)
    newer, whole = None, False
    try:
        with transaction.atomic(using=conf.DATABASE):
            if not claim.hold(claimed):
                turn.is_over = True
                return
            try:
                whole = _deliver(turn, found.events, progress)
            except TooNew as error:
                newer = error
            except Exception as error:
                raise _Failed(error) from error
            reach("work.effect")
            if turn.definition.kind == "rebuild":
                reach("rebuild.batch")
            checkpoint = found.reached if whole else progress.checkpoint
            if progress.waiting:
                turn.set_behind(progress.waiting, checkpoint=checkpoint)
            claimed.checkpoint, claimed.slow = checkpoint, turn.is_slow(progress.handled)
            if newer is None:
                claim.release([claimed], token=claimed.token)
            else:
                turn.leave_to_newer(newer)
        turn.handled, turn.is_over = progress.handled, True
    except Exception as error:
        claimed.checkpoint, claimed.parked, claimed.why_halted, turn.is_over = before, parked, "", False
        turn.forget_parked()
        done = found.events[0] if not progress.handled else _last_at(found.events, progress.checkpoint)
        if isinstance(error, _Failed):
            # Of a list that fails, it may be any.
            left = [each for each in found.events if each.position > progress.checkpoint]
            culprit = left[-1] if turn.definition.batch else left[0]
            _blame(turn, culprit, error.error, alone=culprit is found.events[0])
        elif progress.handled:
            # Every handler returned, but what they wrote cannot be committed: a deferred constraint, or an error of
            # the database that a handler kept to itself. One event at a time, the last one handled is to blame.
            _blame(turn, done, error, alone=len(found.events) == 1)
        else:
            raise


def _blame(turn: Turn, culprit: RecordedEvent, error: Exception, *, alone: bool) -> None:
    """Park what failed by itself; after others, go through all of them again, one by one: their work was undone."""
    if alone:
        turn.fail(culprit, error)
    else:
        _be_careful(turn, culprit.position)


def _be_careful(turn: Turn, until: int) -> None:
    claim.end(turn.claimed, careful_until=max(until, turn.claimed.careful_until))
    turn.is_over = True


def _last_at(events: Sequence[RecordedEvent], position: int) -> RecordedEvent:
    return next(each for each in reversed(events) if each.position <= position)


def _deliver(turn: Turn, events: Sequence[RecordedEvent], progress: _Progress) -> bool:
    """Deliver events, one by one or as a list; return whether all of them had their turn. Raises what handlers raise,
    and leaves in ``progress`` how far they had come.
    """
    if turn.definition.batch:
        return _deliver_list(turn, events, progress)
    for recorded in events:
        if turn.must_end and (progress.handled or progress.waiting or turn.stops):
            return False
        if turn.waits(recorded):
            progress.waiting.append(recorded)
        else:
            turn.offered += 1
            turn.worker.deliver(turn.definition, recorded)
            progress.handled += 1
        progress.checkpoint = recorded.position
    return True


def _deliver_list(turn: Turn, events: Sequence[RecordedEvent], progress: _Progress) -> bool:
    if not events:
        return True
    batch: list[RecordedEvent] = []
    waiting: list[RecordedEvent] = []
    for each in events:
        (waiting if turn.waits(each) else batch).append(each)
    turn.offered += len(batch)
    handled = turn.worker.deliver_list(turn.definition, batch) if batch else 0
    progress.handled += handled
    reached = batch[handled - 1].position if handled < len(batch) else events[-1].position
    progress.waiting += [each for each in waiting if each.position <= reached]
    progress.checkpoint = reached
    return handled == len(batch)
