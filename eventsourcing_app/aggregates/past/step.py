"""One step of a history: the state before one event and after it, folded once, from the nearest snapshot."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eventsourcing_app.aggregates.past.changes import changes_between
from eventsourcing_app.aggregates.past.fold import Fold
from eventsourcing_app.aggregates.past.history import resume
from eventsourcing_app.aggregates.past.snapshots import Keeper
from eventsourcing_app.aggregates.recording import OF_THE_EVENT, history_fields
from eventsourcing_app.aggregates.values import member_value, value_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.aggregates.past.changes import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What was, and what an event made of it. Values are those of the columns, as in ``Change``."""

    before: Mapping[str, Any] | None
    """``None`` if the aggregate did not exist before."""
    after: Mapping[str, Any]

    @property
    def changes(self) -> dict[str, Change]:
        """The fields that the event changed, by name."""
        return changes_between(self.before or {}, self.after)


def step(model: type[EventSourcedModel], stream_key: str, version: int) -> Step | None:
    """Return the step that the event of a version made; ``None`` if there is no such version.

    Raises what the fold raises at an event that this code cannot read or apply.
    """
    state, events = resume(model, stream_key, snapshot_until=version - 1, until_version=version)
    folding, keeper = Fold.of(state), Keeper(model)
    before: dict[str, Any] | None = None
    for recorded in events:
        if recorded.version == version:
            before = _facts(state) if state.version else None
        folding.add_recorded(recorded)
        keeper.passed(state, recorded)
    keeper.close()
    if state.version != version:
        return None
    return Step(before=before, after=_facts(state))


def _facts(state: EventSourcedModel) -> dict[str, Any]:
    # Copies: the state moves on, and @applies methods may change what is in a column of JSON.
    return {
        field.name: deepcopy(member_value(value_of(state, field)))
        for field in history_fields(type(state))
        if field.name not in OF_THE_EVENT
    }
