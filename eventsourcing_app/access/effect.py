"""What one event changed: the state before and after, or why nobody can tell. Who may see it, ``past`` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eventsourcing_app.access.folding import folding
from eventsourcing_app.aggregates.past.step import step

if TYPE_CHECKING:
    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.aggregates.past.step import Step
    from eventsourcing_app.log.records import StoredEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The step that an event made, or ``None`` and the reason why no code here can tell."""

    step: Step | None
    problem: str | None


def effect_of(model: type[EventSourcedModel], event: StoredEvent) -> Effect:
    """Fold an aggregate over one of its events."""
    if event.version is None:
        return Effect(step=None, problem=None)
    made = None
    with folding(model, event.stream_key) as outcome:
        made = step(model, event.stream_key, event.version)
    return Effect(step=made, problem=outcome.problem)
