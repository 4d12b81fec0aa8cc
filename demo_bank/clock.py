"""The demo's clock: the real time, unless a block has set another one. It lets a year of history be recorded today."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_set: ContextVar[datetime | None] = ContextVar("demo_bank.clock", default=None)


def now() -> datetime:
    """Return the time: the one that a block has set, else the real one. ``EVENTSOURCING["CLOCK"]`` names this."""
    return _set.get() or datetime.now(UTC)


@contextmanager
def at(moment: datetime) -> Iterator[None]:
    """Let it be ``moment`` inside the block."""
    before = _set.set(moment)
    try:
        yield
    finally:
        _set.reset(before)
