"""The processes in which subscriptions run by themselves, started for a sample: runners, and clusters of django-q2."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PATIENCE_SECONDS = 300.0
_LOOK_SECONDS = 0.05


class Host:
    """A management command that runs until it is told to end, and what it writes down."""

    def __init__(self, process: subprocess.Popen[bytes], path: Path) -> None:
        self.pid, self._process, self.journal = process.pid, process, path

    def until(self, reached: Callable[[], object], what: str) -> None:
        """Wait for something that it does."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while not reached():
            assert self._process.poll() is None, "It has ended by itself."
            assert time.monotonic() < end, f"It has not come to this: {what}"
            time.sleep(_LOOK_SECONDS)


@contextmanager
def hosting(*command: str) -> Iterator[Host]:
    """Run a management command with the job of this process; afterwards it ends in order, and is waited for."""
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile() as output:
        path = Path(directory, "journal")
        path.touch()
        process = subprocess.Popen(
            [sys.executable, "-m", "django", *command, "--skip-checks"],
            env={**os.environ, journal.VARIABLE: str(path)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield Host(process, path)
            process.send_signal(signal.SIGTERM)
            process.wait(_PATIENCE_SECONDS)
        except BaseException:
            output.seek(0)
            print(output.read()[-5_000:].decode(errors="replace"), file=sys.stderr, flush=True)
            raise
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        assert process.returncode == 0, f"{command[0]} ended with {process.returncode}."
