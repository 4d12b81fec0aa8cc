"""The admin: what is stored, in order, read-only for everybody. Base your own on ``EventSourcedAdmin``."""

from __future__ import annotations

from eventsourcing_app.admin.aggregates import EventSourcedAdmin
from eventsourcing_app.admin.audit import AuditTrailMixin
from eventsourcing_app.admin.commands import CommandsMixin
from eventsourcing_app.admin.events import StoredEventAdmin
from eventsourcing_app.admin.parked import ParkedEventAdmin
from eventsourcing_app.admin.read_only import ReadOnlyAdmin
from eventsourcing_app.admin.subscriptions import SubscriptionAdmin

__all__ = [
    "AuditTrailMixin",
    "CommandsMixin",
    "EventSourcedAdmin",
    "ParkedEventAdmin",
    "ReadOnlyAdmin",
    "StoredEventAdmin",
    "SubscriptionAdmin",
]
