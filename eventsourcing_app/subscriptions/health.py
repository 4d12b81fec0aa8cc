"""Whether all is well with log and subscriptions, for probes: what is measured, and what is wrong with it.

Not well are: a log whose order is not safe, an append that is open for too long, an active subscription that is behind
for too long, one that is halted, and events that are dead. One that an operator has paused or unsubscribed is as it
was meant to be, and a rebuild has all the time it takes.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from django.db import Error

from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import LogUnsafe
from eventsourcing_app.log.settled import status
from eventsourcing_app.subscriptions.lag import lags
from eventsourcing_app.subscriptions.records import Subscription

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventsourcing_app.log.settled import LogStatus
    from eventsourcing_app.subscriptions.lag import Lag

logger = logging.getLogger("eventsourcing_app.subscriptions")

KEPT_SECONDS: Final = 1.0
"""How long a process answers with what it has measured last: so many probes cost the database no more than one."""

PATIENCE_SECONDS: Final = 2.0
"""How long a probe waits for the answer that another one has asked the database for."""


class Reason(NamedTuple):
    """Why it is not well."""

    code: str
    detail: str
    """For people; quotes no payload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What was measured. Positions are ``None`` where the order of the log is not safe, which ``unsafe`` tells of."""

    last_position: int | None
    settled_position: int | None
    open_seconds: float | None
    """Age of the oldest open append; ``None`` if there is none, or its age may not be seen."""
    slowest: str | None
    """The active subscription that is behind for the longest time, if one is behind."""
    lag_events: int
    """By how many events the one that is behind by the most is behind."""
    lag_seconds: float
    parked: int
    dead: int
    halted: tuple[str, ...]
    unsafe: str

    def reasons(self) -> list[Reason]:
        """Say what is wrong, by the thresholds of the settings; empty if all is well."""
        found = []
        if self.unsafe:
            found.append(Reason("log_unsafe", self.unsafe))
        if (self.open_seconds or 0.0) > conf.HEALTH_OPEN_SECONDS:
            found.append(Reason("append_open", f"An append has been open for {self.open_seconds:.0f} s."))
        if self.lag_seconds > conf.HEALTH_LAG_SECONDS:
            found.append(Reason("lag", f"{self.slowest} is {self.lag_seconds:.0f} s behind."))
        if self.halted:
            found.append(Reason("halted", f"Halted: {', '.join(self.halted)}."))
        if self.dead:
            found.append(Reason("dead_events", f"Events that will not be tried again by themselves: {self.dead}."))
        return found


def measure() -> Health:
    """Ask the database how log and subscriptions are. Raises the database's error if it does not answer."""
    return health_of(*log_status(), lags())


def health_of(log: LogStatus | None, unsafe: str, found: Sequence[Lag]) -> Health:
    """Sum up what ``log_status`` and ``lags`` have told."""
    oldest = None if log is None else log.oldest_open_append
    rows = [row for row in found if row.kind != Subscription.Kind.REBUILD]
    kept = [row for row in rows if row.status != Subscription.Status.UNSUBSCRIBED]
    active = [row for row in kept if row.status == Subscription.Status.ACTIVE and row.seconds > 0]
    slowest = max(active, key=lambda row: row.seconds, default=None)
    return Health(
        last_position=None if log is None else log.last,
        settled_position=None if log is None else log.settled,
        open_seconds=None if oldest is None or oldest.age is None else oldest.age.total_seconds(),
        slowest=None if slowest is None else slowest.name,
        lag_events=max((row.events for row in active), default=0),
        lag_seconds=0.0 if slowest is None else slowest.seconds,
        parked=sum(row.parked for row in kept),
        dead=sum(row.dead for row in kept),
        halted=tuple(row.name for row in kept if row.status == Subscription.Status.HALTED),
        unsafe=unsafe,
    )


def log_status() -> tuple[LogStatus | None, str]:
    """Return how far the log goes; or nothing, and why its order is not safe."""
    try:
        return status(), ""
    except LogUnsafe as error:
        return None, str(error)


class RecentHealth:
    """The last measurement of this process, taken anew when it is older than ``KEPT_SECONDS``."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._measured_at: float | None = None
        self._health: Health | None = None

    def get(self) -> Health | None:
        """Return how things are; ``None`` if the database does not answer."""
        # Of many probes at once one asks the database. Should that one hang, the others do not hang with it: they would
        # take every thread of the server.
        if not self._lock.acquire(timeout=PATIENCE_SECONDS):
            return None
        try:
            if self._measured_at is None or time.monotonic() - self._measured_at > KEPT_SECONDS:
                self._health = _measured()
                self._measured_at = time.monotonic()
            return self._health
        finally:
            self._lock.release()

    def forget(self) -> None:
        """Measure anew the next time."""
        self._measured_at = None


recent_health = RecentHealth()


def _measured() -> Health | None:
    try:
        return measure()
    except Error as error:
        logger.error("The health of the log cannot be told: %s: %s", type(error).__name__, str(error).strip())
        return None
