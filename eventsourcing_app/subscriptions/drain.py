"""The loop that every worker runs: look for the segments that are behind, claim some, handle them, give them back.

It ends only when nothing more can come: all that is settled has been offered to every subscription, and no open
transaction can still add an event. The log and the checkpoints are the truth; a wake is only a hint.
"""

from __future__ import annotations

import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError

from eventsourcing_app.exceptions import LogUnsafe
from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.log.settled import last_position, settled_position
from eventsourcing_app.subscriptions import claim
from eventsourcing_app.subscriptions.heartbeat import kept_alive
from eventsourcing_app.subscriptions.hurry import hurry
from eventsourcing_app.subscriptions.lag import waiting
from eventsourcing_app.subscriptions.rounds import Rounds
from eventsourcing_app.subscriptions.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eventsourcing_app.subscriptions.registry import Definition

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
    """What is still behind or parked when nothing can be done about it now, and why."""
    finished: bool = True
    """Whether everything was done that can be done now; if not, the loop is to be run again."""


def drain(
    *,
    definitions: Sequence[Definition] | None = None,
    stop: Callable[[], bool] | None = None,
    seconds: float | None = None,
    relieved: Callable[[], bool] | None = None,
    early: bool = False,
    inside_transaction: bool = False,
    overloaded: Callable[[], None] | None = None,
    paced: bool = False,
    until: int | None = None,
    worker: Worker | None = None,
) -> Drained:
    """Handle whatever subscriptions are behind with, until nothing is left, ``stop()`` is true or ``seconds`` are over.

    Where nothing is left but an open append, it waits for that to end, unless it is ``relieved()`` by somebody else who
    will. An event whose handler fails is tried again later, with backoff (``early``: what has failed before is tried
    at once); the others go on. Must run outside any transaction, because subscribers have effects that no rollback
    undoes; tests say ``inside_transaction``.

    ``definitions`` restricts it to these subscriptions. ``overloaded`` is called, once a second at most, when others
    could share the work. With ``paced``, segments for which nothing came are moved once a second at most, and it stays
    until they are: for workers that run all the time. ``until`` is a settled position, the last that is handled.
    ``worker`` is known to whoever gives up what it has claimed, should this process die.
    """
    connection = log_connection()
    if (connection.in_atomic_block or not connection.get_autocommit()) and not inside_transaction:
        raise LogUnsafe("drain() was called inside a transaction: what subscribers do in the world cannot be undone.")
    end = None if seconds is None else time.monotonic() + seconds

    def over() -> bool:
        return (stop is not None and stop()) or (end is not None and time.monotonic() >= end)

    rounds = Rounds(worker or Worker(), definitions, paced=paced, over=over, overloaded=overloaded)
    if early:
        hurry(rounds.names)
    # In a test that is one transaction no other connection sees the claims.
    with nullcontext() if connection.in_atomic_block else kept_alive(rounds.worker):
        try:
            return _drain(rounds, over, relieved, until)
        except BaseException:
            # Nobody is at it any more, so nobody need wait for the lease.
            with suppress(DatabaseError, InterfaceError):
                claim.give_up(rounds.worker.token, at=rounds.worker.at)
            raise


def _drain(rounds: Rounds, over: Callable[[], bool], relieved: Callable[[], bool] | None, until: int | None) -> Drained:
    drained, pause = Drained(), _SHORTEST_PAUSE
    while not over():
        settled = settled_position() if until is None else until
        did = rounds.run(settled, drained)
        if did or over():
            pause = _SHORTEST_PAUSE
            continue
        if settled >= (last_position() if until is None else until):
            if rounds.is_complete(settled):
                drained.waiting = waiting([*rounds.names, *rounds.left_to_others], until=settled)
                drained.waiting += [f"{name} is left to other code: see its warning." for name in rounds.left_to_others]
                return drained
        elif relieved is not None and relieved():
            return drained
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    drained.finished = False
    return drained
