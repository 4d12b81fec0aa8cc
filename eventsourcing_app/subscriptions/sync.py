"""The dispatcher for tests and scripts: whoever commits drains, before it goes on."""

from __future__ import annotations

from contextvars import ContextVar

from eventsourcing_app.subscriptions.drain import drain

_draining: ContextVar[bool] = ContextVar("eventsourcing_app.draining", default=False)


def drain_here() -> None:
    """Drain in this thread. What a handler appends is found by the loop that called it, not by another inside it."""
    if _draining.get():
        return
    before = _draining.set(True)
    try:
        drain()
    finally:
        _draining.reset(before)
