"""What a directed scene is made of: a few subscriptions, and processes that stop where the scene wants them to.

Nothing waits for a time: a process tells where it is and waits until it is let go, or is frozen as a whole.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import tempfile
import traceback
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from django.db import connections
from django.db.models.functions import Now

from eventsourcing_app import RecordedEvent, publish
from eventsourcing_app.log.settled import last_position
from eventsourcing_app.models import Segment, Subscription
from eventsourcing_app.subscriptions.drain import drain
from eventsourcing_app.subscriptions.registry import Definition
from tests.storm import collect
from tests.storm.bank import Noted
from tests.storm.facts import Facts
from tests.storm.models import Tally
from tests.storm.reactions import Promise, Traces, tally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PATIENCE = 30.0
"""Seconds after which a scene has gone wrong."""


class Here(NamedTuple):
    """Where a process of a scene stands, as it sees it."""

    tells: int
    hears: int

    def say(self, what: str) -> None:
        """Tell the scene where it is."""
        os.write(self.tells, f"{what}\n".encode())

    def stop(self, what: str) -> None:
        """Tell the scene, and wait until it lets this process go."""
        self.say(what)
        os.read(self.hears, 1)


class Actor:
    """A process of a scene, as the scene sees it."""

    def __init__(self, play: Callable[[Here], object]) -> None:
        hears, tells = os.pipe(), os.pipe()
        connections.close_all()
        self.pid = os.fork()
        if not self.pid:
            _play(play, Here(tells[1], hears[0]))
        os.close(tells[1])
        os.close(hears[0])
        self._reads, self._writes, self._said = tells[0], hears[1], b""
        self.status: int | None = None

    def until(self, what: str, *, or_end: bool = False) -> None:
        """Wait until it says this."""
        while f"{what}\n".encode() not in self._said:
            if not self._hear():
                if or_end:
                    return
                raise RuntimeError(f"a process of the scene has ended and never said {what!r}")

    def go(self) -> None:
        """Let it go on."""
        os.write(self._writes, b".")

    def freeze(self) -> None:
        """Stop all of its threads."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on as if nothing had happened."""
        os.kill(self.pid, signal.SIGCONT)

    def end(self) -> None:
        """Wait until it has ended, by itself or killed by its handler; anything else is an error of the scene."""
        while self._hear():
            pass
        if self.status is None:
            self.status = os.waitpid(self.pid, 0)[1]
        if self.status not in (0, signal.SIGKILL):
            raise RuntimeError(f"a process of the scene ended with status {self.status}")

    def _hear(self) -> bool:
        if not select.select([self._reads], [], [], PATIENCE)[0]:
            os.kill(self.pid, signal.SIGKILL)
            raise TimeoutError(f"a process of the scene does not go on; it said {self._said!r}")
        heard = os.read(self._reads, 1000)
        self._said += heard
        return bool(heard)


def _play(play: Callable[[Here], object], here: Here) -> None:
    code = 1
    try:
        play(here)
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, its status tells
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


class World:
    """Subscriptions to ``Noted``, of which one worker after the other knows; and a bug that all of them have."""

    def __init__(self, bug: Callable[[], None]) -> None:
        Subscription.objects.all().delete()  # of the scene before
        Tally.objects.all().delete()
        self._bug = bug
        self.after = last_position()
        self.folder = Path(tempfile.mkdtemp(prefix="es-scene-"))
        self.traces = Traces(self.folder)
        self.definitions: list[Definition] = []
        self.promises: dict[str, Promise] = {}

    def subscribe(
        self,
        kind: Literal["outside", "fold"],
        before: Callable[[RecordedEvent], object] | None = None,
        **options: Any,
    ) -> None:
        """Declare a subscription that leaves a trace of each event, or folds it; ``before`` is called first."""
        name = f"storm.{kind}"

        def handle(_event: Noted, recorded: RecordedEvent) -> None:
            if before is not None:
                before(recorded)
            if kind == "fold":
                tally(name, recorded, 0)
            else:
                self.traces.did(name, recorded.position)

        self.definitions.append(
            Definition(
                name=name,
                kind="projection" if kind == "fold" else "subscriber",
                place=name,
                handlers={Noted: (handle,)},
                transactional=kind == "fold",
                start=self.after,
                **options,
            )
        )
        self.promises[name] = Promise(
            frozenset({"storm.noted"}),
            once=kind == "fold",
            folds=Tally if kind == "fold" else None,
            lines=kind == "outside",
            max_attempts=options.get("max_attempts") or 8,
        )

    def note(self, key: str = "one") -> int:
        """Publish an event under a key; return its position."""
        return publish(Noted(reference=""), key=key)

    def actor(self, play: Callable[[Here], object]) -> Actor:
        """Start a process that has the bug."""

        def play_with_bug(here: Here) -> None:
            self._bug()
            play(here)

        return Actor(play_with_bug)

    def worker(
        self, prepare: Callable[[Here], object] | None = None, *, only: Sequence[Definition] | None = None
    ) -> Actor:
        """Start a worker that drains and ends; ``prepare`` is called before, to stop it where the scene wants it."""

        def work(here: Here) -> None:
            if prepare is not None:
                prepare(here)
            drain(definitions=only or self.definitions, early=True)

        return self.actor(work)

    def end_leases(self) -> None:
        """Let the time be over that workers may go without a sign of life."""
        Segment.objects.filter(token__isnull=False).update(claimed_until=Now() - timedelta(seconds=1))

    def facts(self) -> Facts:
        """Collect what is left, as of something that has come to rest."""
        return Facts(log=collect.log_rows(self.after), watched=collect.watched(self.promises, self.folder))
