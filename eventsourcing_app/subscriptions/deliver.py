"""Calling the handlers of one event, in the context of the event that they react to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventsourcing_app.context import Reaction, apart, reacting

if TYPE_CHECKING:
    from eventsourcing_app.log.recorded import RecordedEvent
    from eventsourcing_app.subscriptions.registry import Definition


def deliver(definition: Definition, recorded: RecordedEvent) -> None:
    """Call what a subscription has for an event. What the handlers write is caused by that event."""
    event = recorded.event
    reaction = Reaction(
        subscription=definition.name,
        event_id=recorded.event_id,
        kind="projection" if definition.transactional else "subscriber",
    )
    before = reacting.set(reaction)
    try:
        with apart(
            actor=f"subscription:{definition.name}",
            correlation_id=recorded.correlation_id,
            causation_id=recorded.event_id,
        ):
            for handler in definition.handlers.get(type(event), ()):
                handler(event, recorded)
    finally:
        reacting.reset(before)
