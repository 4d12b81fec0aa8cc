"""Who makes the storm: kills and freezes processes, arms failpoints, crashes the server, then lets all calm down."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError, connections

from eventsourcing_app.log.settled import last_position, settled_position
from eventsourcing_app.models import ParkedEvent, Segment

if TYPE_CHECKING:
    from tests.postgres import Embedded
    from tests.storm.supervisor import Place, Supervisor

CREW = {"pay": 2, "spread": 1, "observe": 1, "consume": 2, "drain": 1, "rebuild": 1}
"""How many processes of each role there are."""
WRITING, REACTING = ("append.inserted", "commit.wake"), ("work.effect", "work.attempt")
FAILPOINTS = {
    "pay": WRITING,
    "spread": WRITING,
    "consume": (*REACTING, *WRITING),
    "drain": (*REACTING, *WRITING),
    "rebuild": ("rebuild.batch", "work.effect", "work.attempt"),
}
"""Which failpoints may be armed in a role; a subscriber writes as well."""
CHANCE = 0.03
"""How likely it is that reaching one that is armed is the end."""
LONGEST_PAUSE = 0.5
RESTARTS = 10.0, 15.0
FROZEN = 3.0
"""Seconds: longer than a lease, so that what is frozen is given up, and goes on as if it were not."""


class Nemesis:
    """See the module."""

    def __init__(self, supervisor: Supervisor, server: Embedded, seed: int) -> None:
        self._supervisor, self._server, self._chance = supervisor, server, random.Random(f"nemesis {seed}")
        self._restart_at = time.monotonic() + self._chance.uniform(*RESTARTS)
        self._frozen: Place | None = None
        self._thaw_at = 0.0
        self._hurry_at = 0.0
        self.restarts = self.freezes = 0

    def rage(self, seconds: float) -> None:
        """Go on for so long."""
        for role, count in CREW.items():
            for number in range(count):
                self._supervisor.start(f"{role}-{number}", role)
        self._hurry_at = time.monotonic() + seconds / 2
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(self._chance.uniform(0, LONGEST_PAUSE))
            self._supervisor.reap(arm=self._arm)
            self._act()
        self._thaw()

    def calm(self, seconds: float) -> bool:
        """Let writers end and subscriptions come to rest; return whether they did within so many seconds."""
        self._supervisor.end(["pay", "spread", "observe", "rebuild"])
        for place in self._supervisor.places:
            self._supervisor.kill(place, arm=_nothing)
        end = time.monotonic() + seconds
        rests = False
        while not rests and time.monotonic() < end:
            time.sleep(0.2)
            self._supervisor.reap(arm=_nothing)
            rests = is_at_rest()
        self._supervisor.end(["consume", "drain"])
        return rests

    def _act(self) -> None:
        now = time.monotonic()
        if self._frozen is not None and now >= self._thaw_at:
            self._thaw()
        if now >= self._restart_at:
            self._server.crash()
            self.restarts += 1
            self._restart_at = time.monotonic() + self._chance.uniform(*RESTARTS)
            return
        free = [place for place in self._supervisor.places if place is not self._frozen]
        (victim,) = self._chance.choices(free, [1 if place.reacts else 2 for place in free])
        if victim.reacts and self._frozen is None and self._chance.random() < 0.05:
            self._supervisor.freeze(victim)
            self._frozen, self._thaw_at = victim, now + FROZEN
            self.freezes += 1
        else:
            self._supervisor.kill(victim, arm=self._arm)

    def _thaw(self) -> None:
        if self._frozen is not None:
            self._supervisor.thaw(self._frozen)
            self._frozen = None

    def _arm(self, place: Place) -> str:
        names = FAILPOINTS.get(place.role, ())
        missing = [name for name in names if not self._supervisor.failpoints[name]]
        if missing and time.monotonic() > self._hurry_at:
            return self._chance.choice(missing)
        return f"{self._chance.choice(names)}:{CHANCE}" if names and self._chance.random() < 0.5 else ""


def _nothing(_place: Place) -> str:
    return ""


def is_at_rest() -> bool:
    """Whether every subscription has done all that it can do."""
    try:
        last = last_position()
        behind = Segment.objects.filter(checkpoint__lt=last).exclude(subscription__kind="rebuild")
        failed = ParkedEvent.objects.filter(state="failed").exclude(segment__subscription__kind="rebuild")
        return settled_position() >= last and not behind.exists() and not failed.exists()
    except (DatabaseError, InterfaceError):
        return False
    finally:
        connections.close_all()
