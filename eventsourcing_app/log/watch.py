"""Who looks on while the running code appends, committed or not: tests, and whoever tells what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID


class Written(NamedTuple):
    """What one call of ``append`` wrote, in order; a rollback may still take it back."""

    rows: Sequence[tuple[Any, ...]]
    """The columns of each event but its position, as in ``log.recorded.COLUMNS``; JSON as text."""
    positions: Sequence[int] | None
    """``None`` where COPY has not told them."""

    @property
    def event_ids(self) -> list[UUID]:
        """The identities of the events."""
        return [row[0] for row in self.rows]


Watcher: TypeAlias = Callable[[Written], None]
"""Told, after each call of ``append``, what it wrote."""

watchers: ContextVar[tuple[Watcher, ...]] = ContextVar("eventsourcing_app.watchers", default=())
"""Those of the running code: other threads have their own, async tasks inherit them."""


@contextmanager
def watching(watch: Watcher) -> Iterator[None]:
    """Have a watcher told of what the block appends."""
    watchers.set((*watchers.get(), watch))
    try:
        yield
    finally:  # not by a token: the block may end in another context than it began in
        watchers.set(tuple(each for each in watchers.get() if each is not watch))
