"""A file to which processes add lines of one length: who got what, and when, by the clock that all of them share."""

from __future__ import annotations

import os
import struct
import time
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

VARIABLE = "BENCHMARK_JOURNAL"
_LINE = struct.Struct("<qqd")


class Entry(NamedTuple):
    """One line."""

    who: int
    position: int
    at: float


def write(who: int, position: int) -> None:
    """Add a line; the system keeps lines of several processes apart."""
    os.write(_file(), _LINE.pack(who, position, time.monotonic()))


def read(path: Path) -> list[Entry]:
    """Return all lines."""
    return [Entry(*line) for line in _LINE.iter_unpack(path.read_bytes())]


def length(path: Path) -> int:
    """Return how many lines there are."""
    return path.stat().st_size // _LINE.size


@cache
def _file() -> int:
    return os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
