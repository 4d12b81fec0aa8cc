"""A worker process of the runner: the loop that delivers events, for as long as it is let.

It polls adaptively: quickly while events come, and about once a second when none do; one short query tells it.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import django
from django.db import DatabaseError, InterfaceError, close_old_connections

from eventsourcing_app.exceptions import LogUnsafe
from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.log.settled import settled_position
from eventsourcing_app.subscriptions import claim
from eventsourcing_app.subscriptions.heartbeat import kept_alive
from eventsourcing_app.subscriptions.rounds import Rounds
from eventsourcing_app.subscriptions.worker import Worker

if TYPE_CHECKING:
    from uuid import UUID

logger = logging.getLogger("eventsourcing_app.subscriptions")

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.005, 0.8
_UNSAFE_PAUSE = 30.0
_TIDY_SECONDS = 60.0


@dataclass(slots=True)
class _Count:
    handled: int = 0
    errors: list[Exception] = field(default_factory=list)


def main(token: UUID, at: Any, since: Any, parent: int) -> None:
    """Work until told to stop, or until the parent process is gone."""
    django.setup()  # where processes are not forked
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: stopped.append(number))

    def watch(segment: int) -> None:
        since.value, at.value = time.monotonic(), segment

    def over() -> bool:
        return bool(stopped) or os.getppid() != parent

    worker = Worker(token=token, watched=watch)
    with kept_alive(worker):
        while not over():
            try:
                # What it was at when the database went away: this process is no longer at it, but may have begun.
                claim.give_up(token, at=worker.at)
                worker.at = 0
                _work(worker, over)
            except LogUnsafe:
                logger.exception("Nothing can be delivered as long as the log is unsafe; trying again.")
                worker.begin_anew()
                _sleep(_UNSAFE_PAUSE, over)
            except (DatabaseError, InterfaceError):
                # The server went away or is restarting. Nothing is lost: it goes on from the checkpoints.
                logger.exception("The database did not answer; trying again.")
                worker.begin_anew()
                log_connection().close()
                time.sleep(_LONGEST_PAUSE)


def _sleep(seconds: float, over: Any) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not over():
        time.sleep(_LONGEST_PAUSE)


def _work(worker: Worker, over: Any) -> None:
    rounds = Rounds(worker, None, paced=True, over=over)
    pause, tidied = _SHORTEST_PAUSE, time.monotonic()
    while not over():
        if rounds.run(settled_position(), _Count()):
            pause = _SHORTEST_PAUSE
            continue
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
        if time.monotonic() - tidied > _TIDY_SECONDS:
            close_old_connections()
            tidied = time.monotonic()
