"""What one event changed, for a user who may see it: the state before and after, or why nobody can tell.

It follows from payloads, and from every event before it: so it needs the permission to see payloads, and that there is
all of the history up to the event for the user.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.db import Error

from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.access.visibility import is_whole, may_view_events
from eventsourcing_app.aggregates.past.step import step
from eventsourcing_app.exceptions import EventUnreadable
from eventsourcing_app.log.records import StoredEvent

if TYPE_CHECKING:
    from eventsourcing_app.access.visibility import Viewer
    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.aggregates.past.step import Step

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The step that an event made, or ``None`` and the reason why no code here can tell."""

    step: Step | None
    problem: str | None


def may_view_effect(user: Viewer, event: StoredEvent) -> bool:
    """Whether the user may see what an event of an aggregate changed, besides whether it may see the aggregate."""
    if event.version is None or not (may_view_events(user) and may_view_payload(user)):
        return False
    history = StoredEvent.objects.get_queryset().of_stream(event.stream_type, event.stream_key)
    return is_whole(user, history.filter(version__lte=event.version))


def effect_of(model: type[EventSourcedModel], event: StoredEvent) -> Effect:
    """Fold an aggregate over one of its events."""
    if event.version is None:
        return Effect(step=None, problem=None)
    try:
        return Effect(step=step(model, event.stream_key, event.version), problem=None)
    except (EventUnreadable, ImproperlyConfigured) as error:
        return Effect(step=None, problem=str(error))
    except Error:
        raise  # the database's own
    except Exception as error:
        # Whatever a project's @applies method does: a page that helps to find out about events must show them.
        logger.exception("Event #%d of %s %s cannot be folded.", event.position, event.stream_type, event.stream_key)
        return Effect(step=None, problem="\n".join((f"{type(error).__name__}: {error}", *_notes(error))))


def _notes(error: Exception) -> list[str]:
    return list(getattr(error, "__notes__", ()))
