"""The processes of one contestant: started together, idle until a sample is asked for, and counted on to end well."""

from __future__ import annotations

import selectors
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tests.benchmarks.child import Report

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

    from tests.benchmarks.job import Job

ROOT = Path(__file__).resolve().parent.parent.parent
_PATIENCE_SECONDS = 1800.0


class WorkerFailed(Exception):
    """A process of the benchmark died, or did nothing."""


class Sampled(NamedTuple):
    """One sample of a crew."""

    units: int
    seconds: float
    cpu: float
    peak: float | None
    more: dict[str, float]
    """What else the last of them measured."""


class _Worker:
    def __init__(self, job: Job) -> None:
        self._what = job.work
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.child"],
            cwd=ROOT,
            env=job.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    def ask(self, request: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None

    def answer(self) -> bytes:
        """Wait for the one line that answers."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(_PATIENCE_SECONDS):
                self._process.kill()
        line = self._process.stdout.readline()
        if not line:
            raise self._failure()
        return line

    def end(self) -> None:
        """Close its input, at which it ends; raise unless it ends well."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._process.wait(_PATIENCE_SECONDS) != 0:
            raise self._failure()
        self.discard()

    def discard(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None and not pipe.closed:
                pipe.close()

    def _failure(self) -> WorkerFailed:
        self._process.kill()
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()
        print(said, file=sys.stderr, flush=True)
        last = said.splitlines()[-1] if said else "it said nothing"
        return WorkerFailed(f"{self._what} ended with {code}: {last}")


class Crew:
    """All processes of one contestant. ``close`` it."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._workers = [_Worker(job) for job in jobs]

    def wait_until_ready(self) -> None:
        """Wait until everybody is connected and has prepared its work."""
        for worker in self._workers:
            worker.answer()

    def sample(self) -> Sampled:
        """Let all work at once; the time is that from the first who starts to the last who ends."""
        for worker in self._workers:
            worker.ask("run")
        reports = [msgspec.json.decode(worker.answer(), type=Report) for worker in self._workers]
        if not all(report.units for report in reports):
            raise WorkerFailed("A worker did nothing.")
        peaks = [report.peak for report in reports if report.peak is not None]
        return Sampled(
            units=sum(report.units for report in reports),
            seconds=max(report.end for report in reports) - min(report.start for report in reports),
            cpu=sum(report.cpu for report in reports),
            peak=max(peaks, default=None),
            more=reports[-1].more,
        )

    def stored(self) -> int:
        """How many events its database holds."""
        self._workers[0].ask("count")
        return msgspec.json.decode(self._workers[0].answer(), type=int)

    def profile(self) -> str:
        """Where the time of one sample goes."""
        self._workers[0].ask("profile")
        return msgspec.json.decode(self._workers[0].answer(), type=str)

    def end(self) -> None:
        """Let all end; raise unless all end well."""
        for worker in self._workers:
            worker.end()

    def discard(self) -> None:
        """End all, whatever they are doing."""
        for worker in self._workers:
            worker.discard()
