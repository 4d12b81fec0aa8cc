"""Handling one claim: a batch of events, and what becomes of it when a handler fails."""

from __future__ import annotations

import logging
import time
import traceback
from typing import TYPE_CHECKING, NamedTuple

from django.db import transaction

from eventsourcing_app.conf import conf
from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.log.read import read_window
from eventsourcing_app.subscriptions import claim
from eventsourcing_app.subscriptions.deliver import deliver
from eventsourcing_app.subscriptions.heartbeat import kept_alive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventsourcing_app.log.recorded import RecordedEvent
    from eventsourcing_app.subscriptions.registry import Definition

logger = logging.getLogger("eventsourcing_app.subscriptions")

BATCH_EVENTS = 200
BATCH_SECONDS = 0.2
"""A batch ends after so many events or so much time, so that others get their turn and little is repeated."""


class Outcome(NamedTuple):
    """What became of a claim."""

    handled: int = 0
    error: Exception | None = None


class _Failed(Exception):
    """A handler failed; undoes the batch that it failed in."""

    def __init__(self, recorded: RecordedEvent, error: Exception) -> None:
        self.recorded, self.error = recorded, error


def work(definition: Definition, claimed: claim.Claim) -> Outcome:
    """Handle the next batch of a claimed segment, and move its checkpoint."""
    limit = 1 if claimed.careful and not claimed.abandoned else BATCH_EVENTS
    events = read_window(after=claimed.checkpoint, until=claimed.until, types=definition.types, limit=limit)
    if claimed.abandoned and events:
        if not claim.watch(claimed, until=events[-1].position):
            return Outcome()
        limit, events = 1, events[:1]
    if definition.transactional:
        return _in_transaction(definition, claimed, events, limit)
    if not events or log_connection().in_atomic_block:  # in a test, where no other connection sees the claim
        return _outside(definition, claimed, events, limit)
    with kept_alive(claimed):
        return _outside(definition, claimed, events, limit)


def _in_transaction(definition: Definition, claimed: claim.Claim, events: list[RecordedEvent], limit: int) -> Outcome:
    """Handlers and checkpoint commit together: each event has its effect exactly once."""
    handled = 0
    try:
        with transaction.atomic(using=conf.DATABASE):
            if not claim.hold(claimed):
                return Outcome()
            for recorded in _for_a_while(events):
                try:
                    deliver(definition, recorded)
                except Exception as error:
                    raise _Failed(recorded, error) from error
                handled += 1
            claim.release(claimed, checkpoint=_reached(claimed, events, handled, limit))
            return Outcome(handled)
    except _Failed as caught:
        failed = caught
    except Exception as error:
        if not handled:
            raise
        # Every handler returned, but what they wrote cannot be committed: a deferred constraint, or an error of the
        # database that a handler kept to itself. One event at a time, the last one handled is the one to blame.
        failed = _Failed(events[handled - 1], error)
    if limit > 1 and failed.recorded is not events[0]:
        claim.be_careful(claimed, until=failed.recorded.position)
        return Outcome()
    return _give_up(claimed, claimed.checkpoint, 0, failed)


def _outside(definition: Definition, claimed: claim.Claim, events: list[RecordedEvent], limit: int) -> Outcome:
    """Handlers run outside any transaction and the checkpoint moves after them: at least once."""
    handled, checkpoint = 0, claimed.checkpoint
    for recorded in _for_a_while(events):
        try:
            deliver(definition, recorded)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is recorded, and the event stays
            return _give_up(claimed, checkpoint, handled, _Failed(recorded, error))
        handled += 1
        checkpoint = recorded.position
    claim.release(claimed, checkpoint=_reached(claimed, events, handled, limit))
    return Outcome(handled)


def _for_a_while(events: list[RecordedEvent]) -> Iterator[RecordedEvent]:
    end = time.monotonic() + BATCH_SECONDS
    for recorded in events:
        yield recorded
        if time.monotonic() > end:
            return


def _reached(claimed: claim.Claim, events: list[RecordedEvent], handled: int, limit: int) -> int:
    """Past what does not match as well, unless there may be more that does."""
    if handled == len(events) < limit:
        return claimed.until
    return events[handled - 1].position if handled else claimed.checkpoint


def _give_up(claimed: claim.Claim, checkpoint: int, handled: int, failed: _Failed) -> Outcome:
    position = failed.recorded.position
    logger.error(
        "%s failed on event %s (#%d)",
        claimed.subscription,
        failed.recorded.type,
        position,
        exc_info=failed.error,
    )
    report = "".join(traceback.format_exception(failed.error))
    claim.fail(claimed, checkpoint=checkpoint, position=position, error=report)
    return Outcome(handled, failed.error)
