"""A whole rebuild of a model: goes on where the last one was, shares the parts out among processes, and tells.

One rebuild of a model at a time. What it has done is stored part by part, so it can be killed at any time.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils import timezone

from eventsourcing_app.aggregates.rebuild import runs
from eventsourcing_app.aggregates.rebuild.child import Outcome
from eventsourcing_app.aggregates.rebuild.exclusion import exclusive
from eventsourcing_app.aggregates.rebuild.rebuild import Stopped
from eventsourcing_app.aggregates.rebuild.records import RebuildPart, RebuildRun
from eventsourcing_app.aggregates.rebuild.workers import Died, Workers
from eventsourcing_app.exceptions import RebuildFailed
from eventsourcing_app.log.connection import log_connection

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from eventsourcing_app.aggregates.model import EventSourcedModel

_ATTEMPTS = 3
"""How often a part is begun before it counts as one that cannot be done."""
_LOOK_SECONDS = 0.2
"""How long nobody looks whether the rebuild is to stop."""


@dataclass(slots=True)
class Progress:
    """How far a rebuild is."""

    aggregates: int = 0
    events: int = 0
    planned: int = 0
    """Events of the parts that are planned so far."""
    whole: bool = False
    """Whether everything is planned, so that ``planned`` is all there is."""
    before: int = 0
    """Events of ``events`` that an earlier process has done."""


@dataclass(frozen=True, slots=True)
class Ears:
    """Who is told what while a rebuild runs; all of it may be left out."""

    found: Callable[[runs.Finding], None] = lambda _finding: None
    """A row that differed, once its part is finished."""
    began: Callable[[datetime, bool], None] = lambda _moment, _resumed: None
    """When the run began, and whether that was before this call: its first rows were compared then, not now."""
    progress: Callable[[Progress], None] = lambda _progress: None
    note: Callable[[str], None] = lambda _text: None
    """Something that an operator may want to know."""


@dataclass(slots=True)
class _Work:
    """The parts of a run that are still to be done, and those that are not even planned."""

    run: RebuildRun
    model: type[EventSourcedModel]
    progress: Progress
    last: RebuildPart | None = None
    waiting: deque[int] = field(default_factory=deque)
    attempts: Counter[int] = field(default_factory=Counter)

    def plan(self) -> None:
        """Plan one part more, unless everything is planned."""
        if self.progress.whole:
            return
        part = runs.plan(self.run, self.model, self.last)
        if part is None:
            self.progress.whole = True
            return
        self.last = part
        self.progress.planned += part.planned_events
        self.waiting.append(part.pk)

    def done(self, outcome: Outcome, ears: Ears) -> None:
        """Take note of a part that is finished."""
        self.progress.aggregates += outcome.aggregates
        self.progress.events += outcome.events
        runs.stored(RebuildRun).filter(pk=self.run.pk).update(active_at=timezone.now())
        for finding in runs.findings(self.run, outcome.part):
            ears.found(finding)

    def again(self, part: int, why: str) -> None:
        """Put a part back. Raises ``RebuildFailed`` if that has been done too often."""
        self.attempts[part] += 1
        if self.attempts[part] >= _ATTEMPTS:
            raise RebuildFailed(f"A part of the rebuild of {self.run.model} failed {_ATTEMPTS} times. {why}")
        self.waiting.appendleft(part)


def run_rebuild(
    model: type[EventSourcedModel],
    *,
    check: bool,
    processes: int | None = None,
    restart: bool = False,
    ears: Ears = Ears(),
    stop: Callable[[], bool] = lambda: False,
) -> runs.Counts | None:
    """Rebuild every row of a model, or compare with ``check``; return what was done, or ``None`` if it was stopped.

    A run that was interrupted is gone on with, unless ``restart``. ``processes`` is the number of worker processes: by
    default that of the processors, and one where SQLite is written, because it has one writer. Raises
    ``RebuildRunning``, and ``RebuildFailed`` with the traceback of a worker.
    """
    with exclusive(model._meta.label_lower):
        run, gone_on = runs.begin(model, check=check, restart=restart)
        ears.began(run.started_at, gone_on)
        work = _resumed(run, model) if gone_on else _Work(run, model, Progress())
        if gone_on:
            ears.note(f"Going on with the rebuild that was begun at {run.started_at:%Y-%m-%d %H:%M:%S %Z}.")
            for finding in runs.findings(run):
                ears.found(finding)
        count = _processes(processes, check=check)
        while not work.progress.whole and len(work.waiting) <= count:
            work.plan()
        count = min(count, len(work.waiting))
        drive = _here if count <= 1 else _in_processes
        if not drive(work, count, ears, stop):
            return None
        return runs.finish(run)


def _resumed(run: RebuildRun, model: type[EventSourcedModel]) -> _Work:
    parts = runs.stored(RebuildPart).filter(run=run).order_by("number")
    done = runs.counts(run)
    progress = Progress(done.aggregates, done.events, sum(parts.values_list("planned_events", flat=True)))
    progress.before = done.events
    waiting = deque(parts.filter(finished=False).values_list("pk", flat=True))
    return _Work(run, model, progress, last=parts.last(), waiting=waiting)


def _processes(wanted: int | None, *, check: bool) -> int:
    connection = log_connection()
    is_sqlite = connection.vendor == "sqlite"
    # What a transaction has written, or a database in memory holds, no other process sees. A process of a pool may
    # start none, and settings without a module cannot be loaded by another.
    alone = (
        connection.in_atomic_block
        or (is_sqlite and connection.is_in_memory_db())  # type: ignore[attr-defined]  # SQLite's alone has it
        or multiprocessing.current_process().daemon
        or not settings.SETTINGS_MODULE
    )
    if alone:
        return 1
    if wanted is not None:
        return wanted
    return 1 if is_sqlite and not check else os.cpu_count() or 1


def _here(work: _Work, _count: int, ears: Ears, stop: Callable[[], bool]) -> bool:
    while work.waiting or not work.progress.whole:
        if stop():
            return False
        work.plan()
        ears.progress(work.progress)
        if not work.waiting:
            continue
        part = runs.stored(RebuildPart).get(pk=work.waiting[0])
        try:
            seen = runs.work_off(part, work.model, check=work.run.check_only, stop=stop)
        except Stopped:
            return False
        work.waiting.popleft()
        work.done(Outcome(part.pk, seen.aggregates, seen.events), ears)
    ears.progress(work.progress)
    return True


def _in_processes(work: _Work, count: int, ears: Ears, stop: Callable[[], bool]) -> bool:
    with Workers(work.run.model, check=work.run.check_only, count=count) as workers:
        while work.waiting or workers.busy or not work.progress.whole:
            if stop():
                ears.note("Stopping…")
                return False
            work.plan()
            while work.waiting and workers.free:
                workers.give(work.waiting.popleft())
            for outcome in workers.outcomes(timeout=_LOOK_SECONDS if work.progress.whole else 0):
                _take(work, outcome, ears)
            ears.progress(work.progress)
    return True


def _take(work: _Work, outcome: Outcome | Died, ears: Ears) -> None:
    if isinstance(outcome, Died):
        ears.note(f"A worker ended with exit code {outcome.exit_code}; its part is done again.")
        work.again(outcome.part, f"Its worker ended with exit code {outcome.exit_code}.")
    elif outcome.passing:
        ears.note(f"A part failed and is done again: {outcome.error.strip().splitlines()[-1]}")
        work.again(outcome.part, f"A worker raised:\n{outcome.error}")
    elif outcome.error:
        raise RebuildFailed(f"The rebuild of {work.run.model} failed. A worker raised:\n{outcome.error}")
    else:
        work.done(outcome, ears)
