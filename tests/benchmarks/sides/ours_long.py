"""The package by its public calls: long streams and the whole log."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from io import StringIO
from typing import TYPE_CHECKING, Any

from django.core.management import call_command, load_command_class

from eventsourcing_app.log.read import read as read_log
from eventsourcing_app.models import StoredEvent
from tests.benchmarks import memory
from tests.benchmarks.bank.models import Account
from tests.benchmarks.sides.ours import stored
from tests.benchmarks.work import Done, Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.job import Job

__all__ = ["at_long", "at_short", "read", "rebuild", "rebuild_here", "replay", "stored"]

_WATCH_SECONDS = 0.05
_GROUP = ["rebuild", "bank.Account", "--check"]


def replay(job: Job) -> Sample:
    """Fold one long stream from its first event: ``objects.replay(pk)``."""
    pk = _longest()

    def sample() -> Done:
        version = 0
        for state, _ in Account.objects.replay(pk):
            version = state.version
        assert version == job.scale.stream
        return Done(version)

    return sample


def read(job: Job) -> Sample:
    """Read the whole log, each event as its class."""

    def sample() -> Done:
        count = 0
        for recorded in read_log():
            if recorded.event is not None:
                count += 1
        return Done(count)

    next(read_log()).event  # noqa: B018 - compiles what decodes it
    return sample


def rebuild(job: Job) -> Sample:
    """Fold every aggregate and compare its row, by the command line in two processes. Its start is part of it."""
    events = stored(job)

    def sample() -> Done:
        largest = watched([sys.executable, "-m", "django", *_GROUP, *_two_processes()])
        return Done(events, largest)

    return sample


def rebuild_here(job: Job) -> Sample:
    """The same in this process alone: for profiles."""
    events = stored(job)

    def sample() -> Done:
        call_command(*_GROUP, stdout=StringIO())
        return Done(events)

    return sample


def at_long(job: Job) -> Sample:
    """The state near the end of the long stream."""
    return _at(job, _longest(), job.scale.stream - 1)


def at_short(job: Job) -> Sample:
    """The state near the end of the short stream."""
    opened = StoredEvent.objects.filter(version=job.scale.short_stream).exclude(stream_key=_longest())
    return _at(job, opened.values_list("stream_key", flat=True)[0], job.scale.short_stream - 1)


def _at(job: Job, pk: Any, version: int) -> Sample:
    def sample() -> Done:
        count, end = 0, time.perf_counter() + job.scale.seconds
        while count == 0 or time.perf_counter() < end:
            assert Account.objects.at(pk, version=version).version == version
            count += 1
        return Done(count)

    Account.objects.at(pk, version=version)
    return sample


def _longest() -> str:
    found = Account.objects.order_by("-version").values_list("pk", flat=True)[0]
    return str(found)


def _two_processes() -> list[str]:
    parser: Any = load_command_class("eventsourcing_app", "rebuild").create_parser("manage.py", "rebuild")
    return ["--processes", "2"] if "--processes" in parser.format_help() else []


def watched(command: Sequence[str]) -> float | None:
    """Run a command to its end and return the most memory that one of its processes held, in MB."""
    peaks: dict[int, float] = {}
    with tempfile.TemporaryFile() as output:
        running = subprocess.Popen(command, stdout=output, stderr=output)
        while running.poll() is None:
            for pid in memory.family(running.pid):
                peaks[pid] = memory.peak(pid) or peaks.get(pid, 0.0)
            time.sleep(_WATCH_SECONDS)
        output.seek(0)
        assert running.returncode == 0, output.read().decode()
    return max(peaks.values(), default=0.0) or None
