"""Child processes that end with the demo: each in a process group of its own, asked to stop, then made to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Self

from django.conf import settings

if TYPE_CHECKING:
    from types import TracebackType

_GRACE_SECONDS = 15.0
_TAIL = 4_000


class Child:
    """``manage.py <arguments>`` as a child process, for the time of a ``with`` block.

    Ctrl-C in a terminal reaches this process only, so that children are ended in order. With ``quiet`` what the child
    prints is kept for ``tail()`` instead of shown.
    """

    def __init__(self, *arguments: str, quiet: bool) -> None:
        self.name = arguments[0]
        self._arguments = [sys.executable, "-m", "django", *arguments]
        self._quiet = quiet

    def __enter__(self) -> Self:
        self._output: IO[bytes] | None = tempfile.TemporaryFile() if self._quiet else None
        self._process = subprocess.Popen(
            self._arguments,
            cwd=settings.BASE_DIR,
            stdin=subprocess.DEVNULL,
            stdout=self._output or sys.stderr.fileno(),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            # Only the leader is asked: it ends its own children in order.
            self._process.terminate()
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            if self._output is not None:
                self._output.close()

    @property
    def ended(self) -> int | None:
        """Its exit code once it has ended."""
        return self._process.poll()

    def tail(self) -> str:
        """Return the last that it printed, if it is quiet."""
        if self._output is None:
            return ""
        size = os.fstat(self._output.fileno()).st_size
        # Not read(), which would move the place at which the child goes on writing.
        return os.pread(self._output.fileno(), _TAIL, max(size - _TAIL, 0)).decode(errors="replace").strip()
