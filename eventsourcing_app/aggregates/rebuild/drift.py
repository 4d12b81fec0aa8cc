"""Rows that are not what their history says: found, looked at again, repaired under the row's lock.

A write at the same time is never taken for a difference: what differs at first sight is compared once more, with the
history that belongs to the very row. And it never waits for long: where row and history part is found before the row is
locked, since no event of a history changes, and to compare alone locks nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.db import DataError, IntegrityError, models, transaction

from eventsourcing_app.aggregates.keys import stream_key_of
from eventsourcing_app.aggregates.past.fold import Fold, blank, fold_on
from eventsourcing_app.aggregates.plain_rows import plain_rows
from eventsourcing_app.aggregates.recording import history_fields
from eventsourcing_app.aggregates.saving.ends import has_row
from eventsourcing_app.aggregates.values import as_column, same
from eventsourcing_app.conf import conf
from eventsourcing_app.log.read import read_stream
from eventsourcing_app.log.streams import windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.log.recorded import RecordedEvent

    Values = tuple[Any, ...]
    """What a row holds, in the order of ``history_fields``."""


_TRIES = 3
"""How often a row is looked at that is written meanwhile, before it is locked for longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A row that is not what its history says."""

    pk: Any
    fields: dict[str, tuple[Any, Any]]
    """For each field that differs: its value in the row, and its value by history. Empty if the row is missing."""
    version: int | None
    """The first version from which on history and row differ; ``None`` for a row without history."""
    position: int | None
    """The position of that event."""
    type: str = ""
    """Its wire name."""
    problem: str
    """``differs``, ``missing`` (history without a row), ``left over`` (the row of an aggregate that has ended and whose
    model removes it then) or ``unknown`` (a row without history)."""
    refusal: str = ""
    """Why the database did not take the repair; empty if it did, or if nothing was to be repaired."""


def _ignore(_drift: Drift) -> None:
    """Keep nothing."""


def drifts(
    states: Sequence[EventSourcedModel], *, check: bool, keep: Callable[[Drift], None] = _ignore
) -> Iterator[Drift]:
    """Yield those of one model's ``states``, folded from history, whose rows differ; repair them unless ``check``.

    ``keep`` is called in the transaction of the repair, so that what it stores is stored with it or not at all.
    """
    if not states:
        return
    found = _rows_of(states)
    for state in states:
        values = found.get(state.stream_key)
        if _problem(state, values):
            drift = _look_again(state, check=check, keep=keep)
            if drift is not None:
                yield drift


def _rows_of(states: Sequence[EventSourcedModel]) -> dict[str, Values]:
    model = type(states[0])
    names = [field.attname for field in history_fields(model)]
    found = plain_rows(model).filter(pk__in=[state.pk for state in states]).values_list("pk", *names)
    return {stream_key_of(model, pk): tuple(values) for pk, *values in found.iterator()}


def _problem(state: EventSourcedModel, values: Values | None) -> str:
    if not has_row(state):
        return "" if values is None else "left over"
    if values is None:
        return "missing"
    return "differs" if differences(state, values) else ""


def differences(state: EventSourcedModel, values: Sequence[Any]) -> dict[str, tuple[Any, Any]]:
    """Return the fields in which the ``values`` of a row differ from a state, and what they are in either."""
    found = {}
    folded = state.__dict__
    for field, was in zip(history_fields(type(state)), values, strict=True):
        ought = folded[field.attname]
        if same(was, ought):
            continue
        was, ought = as_column(field, was), as_column(field, ought)  # noqa: PLW2901
        if not (same(was, ought) if isinstance(field, models.JSONField) else was == ought):
            found[field.name] = (was, ought)
    return found


def _look_again(state: EventSourcedModel, *, check: bool, keep: Callable[[Drift], None]) -> Drift | None:
    attempts = 0
    while True:
        attempts += 1
        values = _values_beside(state)
        drift = _compared(state, values)
        if drift is None:
            return None
        if check:
            keep(drift)
            return drift
        repaired, drift = _repaired(state, values, drift, keep, anyway=attempts == _TRIES)
        if repaired:
            return drift


def _repaired(
    state: EventSourcedModel, values: Values | None, drift: Drift | None, keep: Callable[[Drift], None], *, anyway: bool
) -> tuple[bool, Drift | None]:
    """Repair a row that still holds ``values``; one that was written meanwhile only if ``anyway``, compared anew.

    What was told is known before the row is locked: to fold a long history must not make its writers wait.
    """
    try:
        with transaction.atomic(using=conf.DATABASE):
            version, now = state.version, _values_of(state, lock=True)
            _move_on(state)
            if now != values or state.version != version:
                if not anyway:
                    return False, drift
                drift = _compared(state, now)
            if drift is not None:
                _repair(state, drift.problem)
                keep(drift)
    except (IntegrityError, DataError) as error:  # of the repair, or of a deferred constraint when it was committed
        if drift is None:
            raise
        drift = replace(drift, refusal=str(error).strip())
        keep(drift)
    return True, drift


def _values_beside(state: EventSourcedModel) -> Values | None:
    """Move a state on to the newest event, and return what the row holds beside that event.

    Each write changes the row, and its events are committed with it: what was read between two looks at a row that
    are alike belongs to it. A row that is written all the time is locked, for as long as it takes to catch up.
    """
    for _ in range(_TRIES):
        values = _values_of(state)
        _move_on(state)
        if values == _values_of(state):
            return values
    with transaction.atomic(using=conf.DATABASE):
        values = _values_of(state, lock=True)
        _move_on(state)
    return values


def _values_of(state: EventSourcedModel, *, lock: bool = False) -> Values | None:
    row = plain_rows(type(state)).filter(pk=state.pk)
    if lock:
        row = row.select_for_update(no_key=True)
    return row.values_list(*[field.attname for field in history_fields(type(state))]).first()


def _move_on(state: EventSourcedModel) -> None:
    key = state.stream_key
    fold_on(state, windows(state.stream_type, after_key=key, after_version=state.version, until_key=key))


def _compared(state: EventSourcedModel, values: Values | None) -> Drift | None:
    problem = _problem(state, values)
    if not problem:
        return None
    fields = differences(state, values) if values is not None and problem == "differs" else {}
    parting = _parting(state, fields, problem)
    return Drift(
        pk=state.pk,
        fields=fields,
        version=parting.version,
        position=parting.position,
        type=parting.type,
        problem=problem,
    )


def _parting(state: EventSourcedModel, fields: dict[str, tuple[Any, Any]], problem: str) -> RecordedEvent:
    """Return the first event from which on the folded values are never again those of the row.

    For a row that is missing it is the first one, and for one that is left over the last.
    """
    model = type(state)
    columns = [field for field in history_fields(model) if field.name in fields]
    step, parting, last = Fold.of(blank(model, state.stream_key)), None, None
    after = state.version - 1 if problem == "left over" else 0
    until = 1 if problem == "missing" else state.version
    for recorded in read_stream(model.stream_type, state.stream_key, after_version=after, until_version=until):
        last = recorded
        if problem != "differs":
            break
        step.add_recorded(recorded)
        if all(as_column(field, getattr(step.state, field.attname)) == fields[field.name][0] for field in columns):
            parting = None
        elif parting is None:
            parting = recorded
    found = parting or last
    assert found is not None, "a stream has versions 1 to n"
    return found


def _repair(state: EventSourcedModel, problem: str) -> None:
    # The values are what history says; nothing (as pre_save of a field) may compute others.
    mine: Any = plain_rows(type(state))
    if problem == "missing":
        columns = [field for field in state._meta.concrete_fields if not field.generated]
        mine._insert([state], fields=columns, using=conf.DATABASE, raw=True)
    elif problem == "left over":
        mine.filter(pk=state.pk)._raw_delete(conf.DATABASE)
    else:
        values = [(field, None, getattr(state, field.attname)) for field in history_fields(type(state))]
        mine.filter(pk=state.pk)._update(values)
