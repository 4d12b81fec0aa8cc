"""Building: the loop that delivers events, over one rebuild, in as many processes as it has segments.

A process that dies is replaced, and what it had claimed is given up; one whose handler hangs is killed, and so dies.
One that is told to stop ends after its batch.
"""

from __future__ import annotations

import multiprocessing
import time
from contextlib import suppress
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.module_loading import import_string

from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import RebuildFailed
from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.log.settled import settled_position
from eventsourcing_app.projections.arrival import require_arrived
from eventsourcing_app.projections.child import Setting, main
from eventsourcing_app.projections.replay import ReplayRefused, refusal, replaying
from eventsourcing_app.subscriptions.drain import drain
from eventsourcing_app.subscriptions.supervision import Signs
from eventsourcing_app.subscriptions.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventsourcing_app.projections.rebuilding import Target, Wishes

_spawn = multiprocessing.get_context("spawn")  # a fork would share the connection to the database
_LOOK_SECONDS = 0.5
_MOST_DEATHS = 20
_SLICE_SECONDS = 2.0
"""In the same process: progress is told that often."""


def build(target: Target, wishes: Wishes, tell: Callable[[], None]) -> bool:
    """Handle all that is settled now; false if it was stopped before. Raises ``RebuildFailed``, also if it is not
    there at its end.
    """
    until = settled_position()  # not what comes meanwhile: then it might never end
    processes = min(wishes.processes, target.definition.segments)
    if processes > 1 and log_connection().vendor == "postgresql":
        finished = _build_in_processes(target, processes, until, wishes, tell)
    else:
        finished = _build_here(target, until, wishes, tell)
    if finished:
        require_arrived(target.definition.name, until)
    return finished


def _build_here(target: Target, until: int, wishes: Wishes, tell: Callable[[], None]) -> bool:
    inside = log_connection().in_atomic_block  # a test
    while not wishes.stop():
        tell()
        try:
            with replaying(target.live.name, target.tables):
                drained = drain(
                    definitions=[target.definition],
                    stop=wishes.stop,
                    seconds=_SLICE_SECONDS,
                    until=until,
                    inside_transaction=inside,
                )
        except ReplayRefused as error:
            raise refusal(error) from error
        if drained.finished:
            tell()
            return True
    return False


def _build_in_processes(target: Target, count: int, until: int, wishes: Wishes, tell: Callable[[], None]) -> bool:
    builders = [_Builder(target.live.name, until) for _ in range(count)]
    deaths, done = 0, True
    try:
        while builders:
            ended = _wait_for_some(builders)
            tell()
            for builder in ended:
                builders.remove(builder)
                outcome = builder.outcome()
                if outcome is None:
                    deaths += 1
                    if deaths > _MOST_DEATHS:
                        raise RebuildFailed(f"{deaths} processes died while {target.live.name} was built again.")
                    if not wishes.stop():
                        builders.append(_Builder(target.live.name, until))
                elif outcome["error"]:
                    raise RebuildFailed(outcome["error"])
                else:
                    done = done and outcome["finished"]
            if wishes.stop():
                for builder in builders:
                    builder.dismiss()
    finally:
        _end(builders)
    return done and not wishes.stop()


def _wait_for_some(builders: list[_Builder]) -> list[_Builder]:
    """Wait a moment, and return those that have ended or died; one whose handler hangs is killed, to die as well."""
    ready = wait([builder.pipe for builder in builders], timeout=_LOOK_SECONDS)
    for builder in builders:
        builder.signs.kill_if_it_hangs(builder.process)
    return [builder for builder in builders if builder.pipe in ready]


def _end(builders: list[_Builder]) -> None:
    for builder in builders:
        builder.dismiss()
    patience = time.monotonic() + conf.HANDLER_SECONDS
    for builder in builders:
        builder.end(patience)


class _Builder:
    """One process, and our end of its pipe."""

    def __init__(self, projection: str, until: int) -> None:
        self.signs = Signs.of_new(_spawn)
        name = log_connection().settings_dict["NAME"]
        setting = Setting(
            settings=settings.SETTINGS_MODULE,
            alias=conf.DATABASE,
            database=name,
            projection=projection,
            until=until,
            token=self.signs.token,
            at=self.signs.at,
            since=self.signs.since,
        )
        self.pipe, theirs = _spawn.Pipe()
        self.process = _spawn.Process(target=main, args=(theirs, setting), daemon=True)
        self.process.start()
        theirs.close()  # or its death would not close the pipe

    def outcome(self) -> dict[str, Any] | None:
        """Return what it says at its end; ``None`` if it died, and what it had claimed is given up."""
        try:
            said: dict[str, Any] = self.pipe.recv()
        except (EOFError, OSError):
            said = {}
        self.end(time.monotonic() + conf.HANDLER_SECONDS)
        return said or None

    def dismiss(self) -> None:
        """Let it end after the batch that it is at."""
        with suppress(OSError):
            self.pipe.send("end")

    def end(self, patience: float) -> None:
        """Wait for its end until a time of the monotonic clock, then kill it; give up what a dead one has claimed."""
        self.process.join(max(0.0, patience - time.monotonic()))
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        if self.process.exitcode:
            self.signs.give_up()


def serve(setting: Setting, stop: Callable[[], bool]) -> bool:
    """Build in a process of its own; return whether all is done. Raises ``RebuildFailed``."""
    target: Target = import_string("eventsourcing_app.projections.rebuilding.target_of")(setting.projection)
    try:
        with replaying(target.live.name, target.tables):
            drained = drain(
                definitions=[target.definition],
                stop=stop,
                until=setting.until,
                worker=Worker(token=setting.token, watched=Signs(setting.token, setting.at, setting.since).watch),
            )
    except ReplayRefused as error:
        raise refusal(error) from error
    return drained.finished
