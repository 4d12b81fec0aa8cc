"""For the tests of projects that use this app. What makes up a past or lifts protection needs a test database.

Its words are imported when they are first used: pytest imports this package for its plugin, before Django is set up.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventsourcing_app.testing.append_only import AppendOnlyTestMixin, append_only_lifted, flush_allowed
    from eventsourcing_app.testing.capture import CapturedEvents, CapturedEventsMixin, capture_events
    from eventsourcing_app.testing.draining import drain
    from eventsourcing_app.testing.histories import stored_facts, stored_history
    from eventsourcing_app.testing.old_events import OldEvent, assert_upcasts
    from eventsourcing_app.testing.scenario import Scenario, given

__all__ = [
    "AppendOnlyTestMixin",
    "CapturedEvents",
    "CapturedEventsMixin",
    "OldEvent",
    "Scenario",
    "append_only_lifted",
    "assert_upcasts",
    "capture_events",
    "drain",
    "flush_allowed",
    "given",
    "stored_facts",
    "stored_history",
]

_HOMES = {
    "AppendOnlyTestMixin": "append_only",
    "CapturedEvents": "capture",
    "CapturedEventsMixin": "capture",
    "OldEvent": "old_events",
    "Scenario": "scenario",
    "append_only_lifted": "append_only",
    "assert_upcasts": "old_events",
    "capture_events": "capture",
    "drain": "draining",
    "flush_allowed": "append_only",
    "given": "scenario",
    "stored_facts": "histories",
    "stored_history": "histories",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
