"""Who reacts: registry, durable progress, and the loop that delivers events. For operators, these functions:

``pause``, ``resume``, ``retry``, ``skip``, ``reset``, ``catch_up``, ``set_rate`` act on a subscription and leave an
event in the log; ``lags`` tells how far each is behind, ``wait_for`` waits until one has reached a position.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventsourcing_app.subscriptions.lag import Lag, lags
    from eventsourcing_app.subscriptions.operate import catch_up, pause, reset, resume, retry, set_rate, skip
    from eventsourcing_app.subscriptions.runtime import wait_for

__all__ = ["Lag", "catch_up", "lags", "pause", "reset", "resume", "retry", "set_rate", "skip", "wait_for"]

# The package is imported before models can be: what needs them is looked up when it is asked for.
_MODULES = {"Lag": "lag", "lags": "lag", "wait_for": "runtime"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'operate')}"), name)
