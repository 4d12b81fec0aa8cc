"""Where Django looks for models, and where users import the base of theirs."""

from __future__ import annotations

from eventsourcing_app.aggregates.manager import EventSourcedManager
from eventsourcing_app.aggregates.model import EventSourcedModel
from eventsourcing_app.aggregates.queryset import EventSourcedQuerySet
from eventsourcing_app.aggregates.rebuild.records import DueRebuild, RebuildFinding, RebuildPart, RebuildRun
from eventsourcing_app.aggregates.receipts import FlowReceipt, Receipt
from eventsourcing_app.aggregates.records import StoredReceipt, StoredSnapshot
from eventsourcing_app.log.records import SettledPosition, StoredEvent
from eventsourcing_app.subscriptions.records import Segment, Subscription, Wake

__all__ = [
    "DueRebuild",
    "EventSourcedManager",
    "EventSourcedModel",
    "EventSourcedQuerySet",
    "FlowReceipt",
    "RebuildFinding",
    "RebuildPart",
    "RebuildRun",
    "Receipt",
    "Segment",
    "SettledPosition",
    "StoredEvent",
    "StoredReceipt",
    "StoredSnapshot",
    "Subscription",
    "Wake",
]
