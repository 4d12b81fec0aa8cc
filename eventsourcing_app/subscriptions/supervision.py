"""Supervision: what a process sees of a worker process that it watches over, and how it gives up what a dead one had.

Shared by whoever starts processes that handle events: the runner, and a rebuild.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from django.db import DatabaseError, InterfaceError

from eventsourcing_app.conf import conf
from eventsourcing_app.subscriptions import claim

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

logger = logging.getLogger("eventsourcing_app.subscriptions")

_HANGS = "A handler has taken more than %s s: its process %s is killed. See HANDLER_SECONDS."
_GIVE_UPS, _GIVE_UP_PAUSE = 10, 0.1


@dataclass(frozen=True, slots=True)
class Signs:
    """The signs of life of one worker process, in memory that it shares with whoever watches over it."""

    token: UUID
    at: Any
    """The segment that it is at; 0 if at none."""
    since: Any
    """When it last called a handler, or ended a turn, by the monotonic clock that processes share."""

    @classmethod
    def of_new(cls, processes: Any) -> Signs:
        """Return those of a process that is to be started, in this context of ``multiprocessing``."""
        return cls(uuid4(), processes.RawValue("q", 0), processes.RawValue("d", 0.0))

    def watch(self, segment: int) -> None:
        """Give a sign, in the worker process."""
        self.since.value, self.at.value = time.monotonic(), segment

    @property
    def hangs(self) -> bool:
        """Whether one call of a handler has taken longer than any may."""
        return bool(self.at.value) and time.monotonic() - self.since.value > conf.HANDLER_SECONDS

    def kill_if_it_hangs(self, process: BaseProcess) -> None:
        """End a process whose handler does not return: nothing inside of it could."""
        if process.is_alive() and self.hangs:
            logger.error(_HANGS, conf.HANDLER_SECONDS, process.name)
            process.kill()
            process.join()

    def give_up(self) -> None:
        """Say of a worker that it is dead, if the database can be told; if not, its leases end by themselves."""
        try:
            # The server takes a moment to notice that a process is gone which was in a transaction.
            for _ in range(_GIVE_UPS):
                if not claim.give_up(self.token, at=self.at.value):
                    break
                time.sleep(_GIVE_UP_PAUSE)
        except (DatabaseError, InterfaceError):
            logger.warning("The claims of a dead worker could not be given up.", exc_info=True)
