"""The worker processes of a rebuild. One that dies is noticed, and what it was at is given to another.

Each has a pipe of its own: part numbers go in, outcomes come out. When the process that started them is gone, however
it ended, the pipes are closed, and they end too.
"""

from __future__ import annotations

import multiprocessing
import traceback
from contextlib import suppress
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Self

from django.apps import apps
from django.conf import settings
from django.db import OperationalError

from eventsourcing_app.aggregates.rebuild.child import Outcome, Setting, main
from eventsourcing_app.aggregates.rebuild.rebuild import Stopped
from eventsourcing_app.aggregates.rebuild.records import RebuildPart
from eventsourcing_app.aggregates.rebuild.runs import stored, work_off
from eventsourcing_app.conf import conf
from eventsourcing_app.log.connection import log_connection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

_spawn = multiprocessing.get_context("spawn")  # a fork would share the connection to the database


class Died(Exception):
    """A worker ended in the middle of a part."""

    def __init__(self, part: int, exit_code: int | None) -> None:
        super().__init__(part, exit_code)
        self.part, self.exit_code = part, exit_code


class Workers:
    """So many worker processes; their end is the end of the block."""

    def __init__(self, model: str, *, check: bool, count: int) -> None:
        name = log_connection().settings_dict["NAME"]
        self._setting = Setting(settings.SETTINGS_MODULE, conf.DATABASE, name, model, check)
        self._count = count
        self._busy: dict[_Worker, int] = {}
        self._idle: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for worker in [*self._busy, *self._idle]:
            worker.dismiss()
        for worker in [*self._busy, *self._idle]:
            worker.process.join()

    @property
    def busy(self) -> bool:
        """Whether a part is being worked on."""
        return bool(self._busy)

    @property
    def free(self) -> bool:
        """Whether another part could be given."""
        return len(self._busy) < self._count

    def give(self, part: int) -> None:
        """Give a part to a free worker; start one if there is none."""
        worker = self._idle.pop() if self._idle else _Worker(self._setting)
        self._busy[worker] = part
        with suppress(OSError):  # it has died: that shows when its outcome is waited for
            worker.pipe.send(part)

    def outcomes(self, *, timeout: float) -> Iterator[Outcome | Died]:
        """Yield what workers have done, once some have, or nothing after ``timeout`` seconds."""
        ready = set(wait([worker.pipe for worker in self._busy], timeout))
        for worker in [worker for worker in self._busy if worker.pipe in ready]:
            part = self._busy.pop(worker)
            try:
                outcome = worker.pipe.recv()
            except (EOFError, OSError):
                worker.process.join()
                yield Died(part, worker.process.exitcode)
                continue
            self._idle.append(worker)
            yield outcome._replace(part=part)


class _Worker:
    """One process, and our end of its pipe."""

    def __init__(self, setting: Setting) -> None:
        self.pipe, theirs = _spawn.Pipe()
        self.process = _spawn.Process(target=main, args=(theirs, setting), daemon=True)
        self.process.start()
        theirs.close()  # or its death would not close the pipe

    def dismiss(self) -> None:
        """Let it end after the window of events that it is at."""
        self.pipe.close()


def serve(pipe: Connection[Any, Any], setting: Setting) -> None:
    """Work off the parts that come through the pipe, in a worker process, until it is closed."""
    model: Any = apps.get_model(setting.model)
    while True:
        try:
            number = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            part = stored(RebuildPart).get(pk=number)
            # Nothing is sent while it works, so what can be read then is the end of the pipe.
            seen = work_off(part, model, check=setting.check, stop=pipe.poll)
            outcome = Outcome(number, seen.aggregates, seen.events)
        except Stopped:
            return
        except Exception as error:  # noqa: BLE001 - told where somebody reads it
            outcome = Outcome(number, error=traceback.format_exc(), passing=isinstance(error, OperationalError))
            log_connection().close()
        with suppress(OSError):  # whoever would read it is gone; the next recv() says so
            pipe.send(outcome)
