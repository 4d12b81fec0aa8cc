"""Failpoints: places where tests kill the process, to prove that nothing is lost there. Off, and free, unless armed.

``EVENTSOURCING_FAILPOINTS="append.inserted, work.effect:0.01"`` in the environment names them, each with the chance
that reaching it is the end (1 if left out).
"""

from __future__ import annotations

import os
import random
import signal
from typing import Final

NAMES: Final = ("append.inserted", "commit.wake", "work.attempt", "work.effect", "rebuild.batch")
"""After the insert and before the commit; after the commit and before the wake; between the committed attempt and the
handler; after the handler and before the checkpoint; in the middle of a projection's rebuild."""

_armed: dict[str, float] = {}


def reach(name: str) -> None:
    """End the process, as ``kill -9`` would, if this place is armed."""
    if _armed and random.random() < _armed.get(name, 0):
        os.kill(os.getpid(), signal.SIGKILL)


def arm(specification: str) -> None:
    """Arm these places and no others. Raises ``ValueError`` for a name or a chance that is none."""
    armed = {}
    for part in filter(None, map(str.strip, specification.split(","))):
        name, _, chance = part.partition(":")
        if name not in NAMES:
            raise ValueError(f"{name!r} is no failpoint; they are {', '.join(NAMES)}.")
        armed[name] = float(chance or 1)
    _armed.clear()
    _armed.update(armed)


arm(os.environ.get("EVENTSOURCING_FAILPOINTS", ""))
