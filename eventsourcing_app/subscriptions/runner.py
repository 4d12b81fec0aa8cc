"""The runner: worker processes that deliver events all the time, and the process that watches over them.

A worker that dies is replaced, and what it had claimed is given up at once, so that nobody waits for its lease. One
whose handler takes too long is killed: it may hang in a way that nothing inside of it could end.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from django.db import connections

from eventsourcing_app.conf import conf
from eventsourcing_app.subscriptions.child import main
from eventsourcing_app.subscriptions.supervision import Signs

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("eventsourcing_app.subscriptions")

# A fork begins in milliseconds, and this process has no connection open then. Elsewhere than on Linux, libraries of the
# system may not survive one.
_processes: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
_LOOK_SECONDS = 0.5
_SHORT_LIFE, _LONGEST_PAUSE = 5.0, 5.0
"""A worker that lived no longer than this is replaced after a pause, so that one that cannot begin costs little."""


@dataclass(slots=True)
class _Place:
    """One of the workers that there should be: the process that is it now, or when the next one begins."""

    number: int
    child: _Child | None = None
    short_lives: int = 0
    begins_at: float = 0.0

    def begin(self) -> None:
        """Start a process, if there is none and its time has come."""
        if self.child is None and time.monotonic() >= self.begins_at:
            self.child = _Child(self.number)

    def look_after(self) -> None:
        """End a process that hangs, and give up what a dead one has claimed."""
        child = self.child
        if child is None:
            return
        child.signs.kill_if_it_hangs(child.process)
        if not child.process.is_alive():
            self._has_died(child)

    def _has_died(self, child: _Child) -> None:
        child.process.join()
        logger.error("Worker %d has died (exit code %s); another one begins.", child.number, child.process.exitcode)
        give_up(child)
        now = time.monotonic()
        self.short_lives = self.short_lives + 1 if now - child.began < _SHORT_LIFE else 0
        pause = min(_LONGEST_PAUSE, 0.1 * 2**self.short_lives) if self.short_lives > 1 else 0.0
        self.child, self.begins_at = None, now + pause


class _Child:
    """One worker process."""

    def __init__(self, number: int) -> None:
        self.number, self.signs = number, Signs.of_new(_processes)
        self.began = time.monotonic()
        self.process = _processes.Process(
            target=main,
            args=(self.signs.token, self.signs.at, self.signs.since, os.getpid()),
            name=f"subscriptions-{number}",
            daemon=True,
        )
        connections.close_all()  # or both would use them
        self.process.start()


def run(workers: int, *, stop: Callable[[], bool]) -> None:
    """Keep so many worker processes at work until ``stop()``; each then ends after the batch that it is at."""
    places = [_Place(number) for number in range(workers)]
    try:
        while not stop():
            for place in places:
                place.begin()
            wait([each.process.sentinel for each in _children(places)], timeout=_LOOK_SECONDS)
            if not stop():
                for place in places:
                    place.look_after()
    finally:
        _end(_children(places))


def _children(places: list[_Place]) -> list[_Child]:
    return [place.child for place in places if place.child is not None]


def give_up(child: _Child) -> None:
    """Say of a worker that it is dead, on a connection that no other process will have."""
    try:
        child.signs.give_up()
    finally:
        connections.close_all()


def _end(children: list[_Child]) -> None:
    patience = time.monotonic() + conf.HANDLER_SECONDS
    while any(child.process.is_alive() for child in children) and time.monotonic() < patience:
        for child in children:
            # More than once: one that has just begun may not listen yet.
            child.process.terminate()
        for child in children:
            child.process.join(max(0.0, min(1.0, patience - time.monotonic())))
    for child in children:
        if child.process.is_alive():
            child.process.kill()
            child.process.join()
            give_up(child)
