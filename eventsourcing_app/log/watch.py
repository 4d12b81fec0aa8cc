"""Who looks on while the running code appends, committed or not: tests do. Costs a glance while nobody does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TypeAlias
from uuid import UUID

Watcher: TypeAlias = Callable[[Sequence[UUID]], None]
"""Told, after each call of ``append``, the identities of what it wrote, in order."""

watchers: ContextVar[tuple[Watcher, ...]] = ContextVar("eventsourcing_app.watchers", default=())
"""Those of the running code: other threads have their own, async tasks inherit them."""
