"""Being told to stop: SIGTERM and Ctrl-C end a command after what it is at, and its exit code says if work is left."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.core.management.base import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Whether the command was told to stop. Called by its work between two steps, as ``stop()``."""

    def __init__(self) -> None:
        self._number = 0
        self.heeded = False
        """Whether the work was told so when it asked, and so has left something."""

    def __call__(self) -> bool:
        """Tell the work whether it is to end now."""
        if self._number:
            self.heeded = True
        return self.heeded

    def note(self, number: int, *_frame: object) -> None:
        """Receive a signal."""
        self._number = number

    def error(self, message: str) -> CommandError:
        """Return the error of a command that has left work: it exits as what a signal has ended, with 128 + signal."""
        return CommandError(message, returncode=128 + self._number)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Listen to SIGTERM and Ctrl-C, and put back whoever listened before.

    Only the main thread of a process can: where ``call_command`` runs in another, its caller's own handling stays.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.note) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
