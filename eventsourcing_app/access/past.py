"""Who may see what follows from a history as a whole: what each event changed, and the states of the past.

All of that is folded from payloads, and of events that are not there for a user it would tell as well. So it needs the
permissions to see events and payloads, and that there is every event of the history for the user.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eventsourcing_app.access.folding import folding
from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.access.visibility import is_whole, may_view_events
from eventsourcing_app.aggregates.past.changes import trail
from eventsourcing_app.log.records import StoredEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventsourcing_app.access.visibility import Viewer
    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.aggregates.past.changes import Change
    from eventsourcing_app.log.records import StoredEventQuerySet


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangesByVersion:
    """What events changed, as far as code can tell, and what is wrong with the first one of which it cannot."""

    changes: Mapping[int, Mapping[str, Change]]
    problem: str | None = None


def history_of(model: type[EventSourcedModel], stream_key: str) -> StoredEventQuerySet:
    """Return all stored events of an aggregate, in order, whoever asks."""
    return StoredEvent.objects.get_queryset().of_stream(model.stream_type, stream_key)


def may_view_past(user: Viewer, model: type[EventSourcedModel], stream_key: str, *, until: int | None = None) -> bool:
    """Whether the user may see what follows from an aggregate's history up to a version, or from all of it."""
    if not (may_view_events(user) and may_view_payload(user)):
        return False
    history = history_of(model, stream_key)
    return is_whole(user, history if until is None else history.filter(version__lte=until))


def changes_by_version(model: type[EventSourcedModel], stream_key: str, *, since: int, until: int) -> ChangesByVersion:
    """Return what each event after version ``since`` changed, up to ``until``, or to one that cannot be folded."""
    changes: dict[int, Mapping[str, Change]] = {}
    with folding(model, stream_key) as outcome:
        for entry in trail(model, stream_key, since=since, until=until):
            changes[entry.recorded.version or 0] = entry.changes
    return ChangesByVersion(changes=changes, problem=outcome.problem)
