"""Where Django looks for models, and where users import the base of theirs and the types of what it returns."""

from __future__ import annotations

from eventsourcing_app.aggregates.manager import EventSourcedManager
from eventsourcing_app.aggregates.model import EventSourcedModel
from eventsourcing_app.aggregates.past.as_of import AsOf
from eventsourcing_app.aggregates.past.changes import Change, Diff, TrailEntry
from eventsourcing_app.aggregates.queryset import EventSourcedQuerySet
from eventsourcing_app.aggregates.rebuild import records as _of_rebuilds  # noqa: F401 - found here by Django alone
from eventsourcing_app.aggregates.receipts import FlowReceipt, Receipt
from eventsourcing_app.aggregates.records import StoredReceipt, StoredSnapshot
from eventsourcing_app.log.records import SettledPosition, StoredEvent
from eventsourcing_app.subscriptions.records import ParkedEvent, Segment, Subscription, Wake

__all__ = [
    "AsOf",
    "Change",
    "Diff",
    "EventSourcedManager",
    "EventSourcedModel",
    "EventSourcedQuerySet",
    "FlowReceipt",
    "ParkedEvent",
    "Receipt",
    "Segment",
    "SettledPosition",
    "StoredEvent",
    "StoredReceipt",
    "StoredSnapshot",
    "Subscription",
    "TrailEntry",
    "Wake",
]
