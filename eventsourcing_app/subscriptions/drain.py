"""The loop that every worker runs: claim the segment that is behind and longest unserved, handle a batch, next.

It ends only when nothing more can come: all that is settled has been offered to every subscription, and no open
transaction can still add an event. The log and the checkpoints are the truth; a wake is only a hint.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.utils import timezone

from eventsourcing_app.exceptions import LogUnsafe
from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.log.settled import last_position, settled_position
from eventsourcing_app.subscriptions.claim import claim, ensure, waiting
from eventsourcing_app.subscriptions.registry import registry
from eventsourcing_app.subscriptions.work import work

if TYPE_CHECKING:
    from collections.abc import Callable

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.01, 0.25
"""Between two looks whether an open append has ended; doubled each time."""


@dataclass(slots=True, kw_only=True)
class Drained:
    """What a run of the loop did."""

    handled: int = 0
    """Events handled, counted once for each subscription."""
    errors: list[Exception] = field(default_factory=list)
    """What handlers raised."""
    waiting: list[str] = field(default_factory=list)
    """What is still behind when nothing can be done about it now, and why."""
    finished: bool = True
    """Whether everything was done that can be done now; if not, the loop is to be run again."""


def drain(
    *,
    stop: Callable[[], bool] | None = None,
    seconds: float | None = None,
    relieved: Callable[[], bool] | None = None,
    early: bool = False,
    inside_transaction: bool = False,
) -> Drained:
    """Handle whatever subscriptions are behind with, until nothing is left, ``stop()`` is true or ``seconds`` are over.

    Where nothing is left but an open append, it waits for that to end, unless it is ``relieved()`` by somebody else who
    will. A subscription whose handler fails is retried later, with backoff (``early``: at once, if it failed before
    this call); the others go on. Must run outside any transaction, because subscribers have effects that no rollback
    undoes; tests say ``inside_transaction``.
    """
    connection = log_connection()
    if (connection.in_atomic_block or not connection.get_autocommit()) and not inside_transaction:
        raise LogUnsafe("drain() was called inside a transaction: what subscribers do in the world cannot be undone.")
    end = None if seconds is None else time.monotonic() + seconds
    begun = timezone.now() if early else None
    drained = Drained()

    def over() -> bool:
        return (stop is not None and stop()) or (end is not None and time.monotonic() >= end)

    definitions = {definition.name: definition for definition in registry.all()}
    fingerprints = ensure(tuple(definitions.values()))
    pause = _SHORTEST_PAUSE
    while not over():
        target = settled_position()
        idle = True
        while not over() and (claimed := claim(fingerprints, until=target, failed_before=begun)) is not None:
            idle, pause = False, _SHORTEST_PAUSE
            outcome = work(definitions[claimed.subscription], claimed)
            drained.handled += outcome.handled
            if outcome.error is not None:
                drained.errors.append(outcome.error)
        if over():
            break
        if target >= last_position():
            drained.waiting = waiting(fingerprints, until=target)
            return drained
        if idle:
            if relieved is not None and relieved():
                return drained
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
    drained.finished = False
    return drained
