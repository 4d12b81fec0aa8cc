"""Event-sourced, audited Django models, and subscribers that never lose an event.

The words to declare and say things with. The model to inherit from is in ``eventsourcing_app.models``.
"""

from eventsourcing_app.aggregates.declare import applies, command
from eventsourcing_app.aggregates.flow import flow
from eventsourcing_app.context import context
from eventsourcing_app.events.declare import event
from eventsourcing_app.exceptions import CommandRejected
from eventsourcing_app.log.recorded import RecordedEvent
from eventsourcing_app.projections.base import Projection
from eventsourcing_app.subscriptions.declare import handles, subscriber
from eventsourcing_app.subscriptions.publish import publish
from eventsourcing_app.subscriptions.runtime import subscribe, unsubscribe, wait_for

__version__ = "0.1.0"

__all__ = [
    "CommandRejected",
    "Projection",
    "RecordedEvent",
    "applies",
    "command",
    "context",
    "event",
    "flow",
    "handles",
    "publish",
    "subscribe",
    "subscriber",
    "unsubscribe",
    "wait_for",
]
