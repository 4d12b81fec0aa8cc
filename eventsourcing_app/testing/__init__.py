"""For the tests of projects that use this app; refuses to work outside a test database.

Its words are imported when they are first used: pytest imports this package for its plugin, before Django is set up.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventsourcing_app.testing.append_only import AppendOnlyTestMixin, append_only_lifted, flush_allowed
    from eventsourcing_app.testing.draining import drain

__all__ = ["AppendOnlyTestMixin", "append_only_lifted", "drain", "flush_allowed"]

_HOMES = {
    "AppendOnlyTestMixin": "append_only",
    "append_only_lifted": "append_only",
    "drain": "draining",
    "flush_allowed": "append_only",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
