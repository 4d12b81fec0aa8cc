"""``Turn``: what a worker does with one claim, and what becomes of an event that fails in it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db.models.functions import Now

from eventsourcing_app.subscriptions import claim
from eventsourcing_app.subscriptions.failures import judge, storable
from eventsourcing_app.subscriptions.parking import park, parked_sequences, set_behind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventsourcing_app.log.recorded import RecordedEvent
    from eventsourcing_app.subscriptions.claim import Claim
    from eventsourcing_app.subscriptions.registry import Definition
    from eventsourcing_app.subscriptions.worker import TooNew, Worker

logger = logging.getLogger("eventsourcing_app.subscriptions")

_SLOW_SECONDS = 0.02
"""A handler that takes longer than this for an event is slow."""


@dataclass(slots=True)
class Turn:
    """See the module."""

    worker: Worker
    definition: Definition
    claimed: Claim
    handled: int = 0
    offered: int = 0
    """How many events handlers were called with, also of those that failed or were undone."""
    errors: list[Exception] = field(default_factory=list)
    is_over: bool = False
    """Whether the claim has ended: it was given back already, or to another worker."""
    began: float = field(default_factory=time.monotonic)
    stops: bool = False
    """Whether something has failed: a subscription that fails again and again must not keep the others waiting."""
    _blocked: set[str] | None = None

    @property
    def must_end(self) -> bool:
        """Whether to give the segment back after the event that it is at."""
        return self.stops or self.worker.is_over

    def is_slow(self, handled: int) -> bool:
        """Whether others should not be made to wait for this subscription the next time."""
        return bool(self.errors) or (time.monotonic() - self.began) > _SLOW_SECONDS * max(handled, 1)

    def waits(self, recorded: RecordedEvent) -> bool:
        """Whether an event has to wait, because one of its stream before it is parked."""
        if not self.claimed.parked:
            return False
        if self._blocked is None:
            self._blocked = parked_sequences(self.claimed)
        return self.worker.windows.sequences.of(recorded) in self._blocked

    def forget_parked(self) -> None:
        """What is parked has changed."""
        self._blocked = None

    def set_behind(self, waiting: Sequence[RecordedEvent], *, checkpoint: int) -> bool:
        """Let events wait behind others of their stream, and move the checkpoint; false if the claim was lost."""
        kept = set_behind(self.claimed, waiting, checkpoint=checkpoint, sequences=self.worker.windows.sequences)
        self.is_over = not kept
        return kept

    def note(self, recorded: RecordedEvent, error: Exception) -> None:
        """Report an error."""
        self.errors.append(error)
        logger.error(
            "%s failed on event %s (#%d)", self.definition.name, recorded.type, recorded.position, exc_info=error
        )

    def fail(
        self,
        recorded: RecordedEvent,
        error: Exception,
        *,
        attempts: int = 1,
        before: int | None = None,
        waiting: Sequence[RecordedEvent] = (),
    ) -> bool:
        """Park an event that has failed, or stop at it; return whether the turn goes on after it.

        ``before`` is the position up to which all is done, but for ``waiting``, which wait behind others.
        """
        self.note(recorded, error)
        self.stops = True
        if self.definition.on_failure == "halt":
            if not waiting or self.set_behind(waiting, checkpoint=before or self.claimed.checkpoint):
                self._stop_at(recorded, error, attempts=attempts, before=before)
            return False
        self.is_over = not park(
            self.definition,
            self.claimed,
            recorded,
            error,
            attempts=attempts,
            waiting=waiting,
            sequences=self.worker.windows.sequences,
        )
        self.forget_parked()
        return not self.is_over and not self.claimed.why_halted

    def _stop_at(self, recorded: RecordedEvent, error: Exception, *, attempts: int, before: int | None) -> None:
        """Stop the subscription at an event, until it is tried again or an operator comes."""
        verdict = judge(self.definition, error, attempts=attempts)
        kept = claim.end(
            self.claimed,
            checkpoint=self.claimed.checkpoint if before is None else before,
            attempted_position=recorded.position,
            attempts=verdict.attempts,
            careful_until=max(self.claimed.careful_until, recorded.position),
            failed_position=recorded.position,
            failed_at=Now(),
            last_error=verdict.report,
            retry_at=None if verdict.dead else claim.from_now(verdict.wait),
        )
        if kept and verdict.dead:
            self.claimed.why_halted = f"#{recorded.position} {recorded.type}: {verdict.reason}"
        self.is_over = True

    def leave_to_newer(self, newer: TooNew) -> None:
        """Stop before an event that this code is too old for. Newer code goes on there; nothing is counted."""
        position = newer.recorded.position
        logger.warning("%s stops before event #%d: %s", self.definition.name, position, newer.error)
        self.worker.leave_to_newer(self.claimed.segment)
        self.errors.append(newer.error)
        claim.end(
            self.claimed,
            checkpoint=self.claimed.checkpoint,
            failed_position=position,
            failed_at=Now(),
            last_error=storable(f"{type(newer.error).__name__}: {newer.error}"),
        )
        self.is_over = True
