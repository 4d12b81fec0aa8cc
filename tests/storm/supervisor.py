"""Processes that are killed and begin again within milliseconds: forked from a parent that is warm.

The parent has set Django up and has no connection open when it forks. It counts every end, and knows why it came.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from django.db import DatabaseError, InterfaceError, connections

from eventsourcing_app import failpoints
from eventsourcing_app.subscriptions import claim
from tests.storm.history import read
from tests.storm.roles import ROLES, Post

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path


@dataclass(slots=True)
class Place:
    """Where a process stands; when it ends, another one takes it."""

    name: str
    role: str
    pid: int = 0
    incarnation: int = 0
    token: UUID = field(default_factory=uuid4)
    armed: str = ""
    """The failpoint that is armed there, if one is."""
    at: Any = field(default_factory=lambda: multiprocessing.RawValue("q", 0))
    """The segment that it is at, in memory that it shares with this process; 0 if at none."""
    since: Any = field(default_factory=lambda: multiprocessing.RawValue("d", 0.0))

    @property
    def reacts(self) -> bool:
        """Whether it claims segments."""
        return self.role in ("consume", "drain")


class Supervisor:
    """See the module."""

    def __init__(self, folder: Path, accounts: Sequence[UUID], seed: int, bug: Callable[[], None]) -> None:
        self._folder, self._accounts, self._seed, self._bug = folder, accounts, seed, bug
        self._chance = random.Random(f"supervisor {seed}")
        self.places: list[Place] = []
        self.kills: Counter[str] = Counter()
        """By role: processes that the nemesis has killed."""
        self.failpoints: Counter[str] = Counter()
        """By name: processes that have died there."""
        self.poisoned = 0
        """Processes that have died of an event."""
        self.broken: list[str] = []
        """Processes that have ended by themselves."""
        self._stderr = os.open(folder / "output", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def start(self, name: str, role: str) -> None:
        """Open a place."""
        place = Place(name, role)
        self.places.append(place)
        self._fork(place)

    def kill(self, place: Place, *, arm: Callable[[Place], str]) -> None:
        """Kill the process that stands there, and let another one begin, with what ``arm`` says armed."""
        os.kill(place.pid, signal.SIGKILL)
        self.kills[place.role] += 1
        os.waitpid(place.pid, 0)
        self._replace(place, arm)

    def freeze(self, place: Place) -> None:
        """Stop it without a word: to everybody else it seems dead, until it goes on."""
        os.kill(place.pid, signal.SIGSTOP)

    def thaw(self, place: Place) -> None:
        """Let it go on with what it was at."""
        os.kill(place.pid, signal.SIGCONT)

    def reap(self, *, arm: Callable[[Place], str]) -> None:
        """Replace processes that have died on their own: at a failpoint, of poison, or for no good reason."""
        for place in self.places:
            if place.pid and self._has_ended(place):
                self._replace(place, arm)

    def end(self, roles: Iterable[str]) -> None:
        """Tell processes to end, wait until they have, and close their places."""
        ending = [place for place in self.places if place.role in set(roles)]
        for place in ending:
            os.kill(place.pid, signal.SIGTERM)
        patience = time.monotonic() + 30
        while ending_still := [each for each in ending if each.pid and not self._has_ended(each, told=True)]:
            if time.monotonic() > patience:
                self.broken += [f"{place.name} did not end when it was told to" for place in ending_still]
                self._kill_all(ending_still)
            time.sleep(0.01)
        self.places = [place for place in self.places if place not in ending]

    def kill_everything(self) -> None:
        """Leave nothing behind."""
        self._kill_all(self.places)
        self.places = []

    def _kill_all(self, places: Iterable[Place]) -> None:
        for place in places:
            if place.pid:
                os.kill(place.pid, signal.SIGKILL)
                os.waitpid(place.pid, 0)
                place.pid = 0

    def _has_ended(self, place: Place, *, told: bool = False) -> bool:
        pid, status = os.waitpid(place.pid, os.WNOHANG)
        if not pid:
            return False
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            if self._was_poisoned(pid):
                self.poisoned += 1
            elif place.armed:
                self.failpoints[place.armed.partition(":")[0]] += 1
            else:
                self.broken.append(f"{place.name} was killed, and nobody in the storm did it")
        elif not told or status not in (0, signal.SIGTERM):
            self.broken.append(f"{place.name}, a process of role {place.role}, ended with status {status}")
        place.pid = 0
        return True

    def _was_poisoned(self, pid: int) -> bool:
        return any(line["process"] == pid for path in self._folder.glob("*.deaths") for line in read(path))

    def _replace(self, place: Place, arm: Callable[[Place], str]) -> None:
        if place.reacts:
            self._give_up(place)
        place.incarnation += 1
        place.token, place.armed = uuid4(), arm(place)
        place.at.value, place.since.value = 0, 0.0
        self._fork(place)

    def _give_up(self, place: Place) -> None:
        """Say that a worker is dead, as the runner does, or with less that is known; or there is nobody left to say so.

        Those of role ``drain`` do not know their token, so nobody ever says it of them.
        """
        known = self._chance.choice(("where", "that", "nothing"))
        if known != "nothing":
            with suppress(DatabaseError, InterfaceError):
                claim.give_up(place.token, at=place.at.value if known == "where" else None)

    def _fork(self, place: Place) -> None:
        connections.close_all()
        # Else one that is told to end when it has just begun would run what this process does then.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        place.pid = os.fork()
        if place.pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            return
        code = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            self._run(place)
            code = 0
        except BaseException:  # noqa: BLE001 - whatever it is, it is written down, and found by its status
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _run(self, place: Place) -> None:
        os.dup2(self._stderr, 2)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        seed = f"{place.name} {place.incarnation} {self._seed}"
        random.seed(seed)
        failpoints.arm(place.armed)
        self._bug()
        post = Post(
            name=place.name,
            incarnation=place.incarnation,
            folder=self._folder,
            accounts=self._accounts,
            chance=random.Random(seed),
            token=place.token,
            at=place.at,
            since=place.since,
        )
        ROLES[place.role](post)
