"""What one event changed: the state before and after, or why nobody can tell. Who may see it, ``past`` says."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import Error

from eventsourcing_app.access.past import UNREADABLE
from eventsourcing_app.aggregates.past.step import step

if TYPE_CHECKING:
    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.aggregates.past.step import Step
    from eventsourcing_app.log.records import StoredEvent

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The step that an event made, or ``None`` and the reason why no code here can tell."""

    step: Step | None
    problem: str | None


def effect_of(model: type[EventSourcedModel], event: StoredEvent) -> Effect:
    """Fold an aggregate over one of its events."""
    if event.version is None:
        return Effect(step=None, problem=None)
    try:
        return Effect(step=step(model, event.stream_key, event.version), problem=None)
    except UNREADABLE as error:
        return Effect(step=None, problem=str(error))
    except Error:
        raise  # the database's own
    except Exception as error:
        # Whatever a project's @applies method does: a page that helps to find out about events must show them.
        logger.exception("Event #%d of %s %s cannot be folded.", event.position, event.stream_type, event.stream_key)
        return Effect(step=None, problem="\n".join((f"{type(error).__name__}: {error}", *_notes(error))))


def _notes(error: Exception) -> list[str]:
    return list(getattr(error, "__notes__", ()))
