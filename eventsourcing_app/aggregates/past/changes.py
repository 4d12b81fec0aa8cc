"""What events changed, field by field: between two versions or moments, and by each event of a history."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar

from eventsourcing_app.aggregates.past.fold import Fold
from eventsourcing_app.aggregates.past.history import resume, state_at
from eventsourcing_app.aggregates.past.snapshots import Keeper
from eventsourcing_app.aggregates.recording import history_fields
from eventsourcing_app.aggregates.values import differ, member_value, value_of
from eventsourcing_app.conf import conf
from eventsourcing_app.log.horizon import is_final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.log.recorded import RecordedEvent

M = TypeVar("M", bound="EventSourcedModel")

_BOOKKEEPING = frozenset({"version", "changed_at"})
"""They change with every event."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one field. Before an aggregate existed its fields were ``None``.

    Values are those of the column: of a file its name, of a foreign key the key.
    """

    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What changed in an aggregate between two of its versions."""

    pk: Any
    since: int
    """The version before; 0 if it did not exist yet."""
    until: int
    """The version after."""
    changes: dict[str, Change]
    """The fields that differ, by name; only the outcome counts, not what was changed and changed back."""
    is_final: bool
    """Whether no open append can still give another answer to the same question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailEntry:
    """An event of an aggregate, and what it changed."""

    recorded: RecordedEvent
    changes: dict[str, Change]
    """The fields that it changed, by name."""


def diff(model: type[M], stream_key: str, *, since: int | datetime, until: int | datetime | None) -> Diff:
    """Return what changed between two versions or moments. See ``EventSourcedManager.diff``."""
    return _in_one_fold(model, stream_key, since, until) or _in_two_folds(model, stream_key, since, until)


def _in_one_fold(
    model: type[EventSourcedModel], stream_key: str, since: int | datetime, until: int | datetime | None
) -> Diff | None:
    """Fold to ``since``, and go on from there to ``until``.

    ``None`` where that is not possible: one is a version and the other a moment, they are not in order, or there is an
    error to be raised; and where it takes longer than to begin at another snapshot.
    """
    far = conf.SNAPSHOT_EVERY or None
    if not _in_order(since, until, far):
        return None
    # Asked before anything is read: what is committed in between is seen, and changes nothing about the answer.
    finals = [_is_final(since), _is_final(until)]
    when = since if isinstance(since, datetime) else None
    last = until if isinstance(until, int) else None
    version = since if isinstance(since, int) else None
    state, events = resume(model, stream_key, snapshot_until=version, until_version=last, when=when)
    folding, keeper = Fold.of(state), Keeper(model)
    beyond = _fold_to(folding, events, since, keeper)
    keeper.close()
    finals[0] = finals[0] or beyond is not None or state.ended
    first, before = state.version, _handed_out(folding)
    if beyond is not None:
        beyond = _fold_to(folding, islice(chain([beyond], events), far), until)
        if beyond is None and state.version - first == far and state.version != last:
            return None
    if state.version == 0 or version not in (None, first) or last not in (None, state.version):
        return None
    finals[1] = finals[1] or beyond is not None or state.ended
    return Diff(
        pk=state.pk,
        since=first,
        until=state.version,
        changes=changes_between(before, _handed_out(folding)),
        is_final=all(finals),
    )


def _in_two_folds(model: type[M], stream_key: str, since: int | datetime, until: int | datetime | None) -> Diff:
    after = _state(model, stream_key, until)
    try:
        before = None if since == 0 else _state(model, stream_key, since)
    except model.DoesNotExist:  # it exists after, so it did not yet at that moment
        before = None
    first = 0 if before is None else before.version
    if first > after.version:
        raise ValueError(f"diff(since={since}, until={until}): version {first} comes after version {after.version}.")
    return Diff(
        pk=after.pk,
        since=first,
        until=after.version,
        changes=changes_between(_facts(before), _facts(after)),
        is_final=bool(after.past_is_final) and (before is None or bool(before.past_is_final)),
    )


def compare(before: M | None, after: M) -> dict[str, Change]:
    """Return the fields in which two past states of an aggregate differ; ``None`` stands for before it existed."""
    return changes_between(_facts(before), _facts(after))


def trail(model: type[M], stream_key: str, *, since: int, until: int | None) -> Iterator[TrailEntry]:
    """Yield the events of an aggregate with what each changed. See ``EventSourcedManager.trail``."""
    if until is not None and until <= since:
        return
    state, events = resume(model, stream_key, snapshot_until=since, until_version=until)
    folding, keeper = Fold.of(state), Keeper(model)
    facts = _facts(state) if state.version else {}
    for recorded in events:
        folding.add_recorded(recorded)
        if state.version <= since:  # of what comes after it there may be snapshots already
            keeper.passed(state, recorded)
        if state.version < since:
            continue
        before, facts = facts, _facts(state)
        if state.version > since:
            yield TrailEntry(recorded=recorded, changes=changes_between(before, facts))
        else:
            keeper.close()
    keeper.close()


def _in_order(since: int | datetime, until: int | datetime | None, far: int | None) -> bool:
    """Whether ``until`` comes after ``since``, both of one kind, and is not known to be more than ``far`` events on."""
    if until is None:
        return True
    if isinstance(since, datetime) or isinstance(until, datetime):
        return isinstance(since, datetime) and isinstance(until, datetime) and since <= until
    return since <= until and (far is None or until - since <= far)


def _is_final(moment: int | datetime | None) -> bool:
    return isinstance(moment, int) or (moment is not None and is_final(moment))


def _fold_to(
    folding: Fold[Any], events: Iterable[RecordedEvent], moment: int | datetime | None, keeper: Keeper | None = None
) -> RecordedEvent | None:
    """Fold the events up to a version or a moment, and return the first one after it, if there is one."""
    for recorded in events:
        if isinstance(moment, datetime):
            if recorded.recorded_at > moment:
                return recorded
        elif moment is not None and (recorded.version or 0) > moment:
            return recorded
        folding.add_recorded(recorded)
        if keeper is not None:
            keeper.passed(folding.state, recorded)
    return None


def _handed_out(folding: Fold[Any]) -> dict[str, Any]:
    """Return the facts of the state that a fold has come to, as a past state has them."""
    if not folding.state.version:
        return {}
    return {name: member_value(value) for name, value in _facts(folding.state).items()}


def _state(model: type[M], stream_key: str, moment: int | datetime | None) -> M:
    if isinstance(moment, datetime):
        return state_at(model, stream_key, when=moment)
    return state_at(model, stream_key, version=moment)


def _facts(state: EventSourcedModel | None) -> dict[str, Any]:
    if state is None:
        return {}
    fields = [field for field in history_fields(type(state)) if field.name not in _BOOKKEEPING]
    # Copies: the state moves on, and @applies methods may change what is in a column of JSON.
    return {field.name: deepcopy(value_of(state, field)) for field in fields}


def changes_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Change]:
    """Return the fields whose values differ, by name; a field that was not there was ``None``."""
    pairs = {name: Change(before.get(name), value) for name, value in after.items()}
    return {name: change for name, change in pairs.items() if differ(change.before, change.after)}
