"""Who looks on while the running code appends, committed or not: tests, and whoever tells what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias
from uuid import UUID

Watcher: TypeAlias = Callable[[Sequence[UUID]], None]
"""Told, after each call of ``append``, the identities of what it wrote, in order."""

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
