"""Rebuilding rows from history, or only comparing them: finds the first event where a row and its history part."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.db import models, transaction

from eventsourcing_app.aggregates.ends import has_row
from eventsourcing_app.aggregates.history import blank, fold_onto
from eventsourcing_app.aggregates.keys import stream_key_of
from eventsourcing_app.aggregates.recording import history_fields
from eventsourcing_app.conf import conf
from eventsourcing_app.log.read import read_stream, read_streams
from eventsourcing_app.log.records import StoredEvent
from eventsourcing_app.log.streams import names_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.log.recorded import RecordedEvent

_ROWS = 500


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
    problem: str
    """``differs``, ``missing`` (history without a row), ``left`` (a row that its end should have removed) or
    ``unknown`` (a row without history)."""


@dataclass(slots=True)
class Rebuilt:
    """What a rebuild has gone through so far."""

    aggregates: int = 0
    events: int = 0


def rebuild(model: type[EventSourcedModel], *, check: bool, seen: Rebuilt | None = None) -> Iterator[Drift]:
    """Fold every aggregate of ``model`` again and yield those whose rows differ; repair them unless ``check``.

    A row without any history is yielded and left alone: nothing says what it should be. A difference is looked at again
    under the row's lock, so that a write at the same time is not taken for one. Memory stays constant.
    """
    seen = Rebuilt() if seen is None else seen
    for stream_key, events in groupby(read_streams(model.stream_type), key=lambda recorded: recorded.stream_key):
        state = blank(model, stream_key)
        for recorded in events:
            fold_onto(state, recorded)
            seen.events += 1
        seen.aggregates += 1
        row = _rows(model).filter(pk=state.pk).first()
        if (row is None) == has_row(state) or (row is not None and differences(row, state)):
            drift = _look_again(model, stream_key, check=check)
            if drift is not None:
                yield drift
    yield from _without_history(model)


def _look_again(model: type[EventSourcedModel], stream_key: str, *, check: bool) -> Drift | None:
    with transaction.atomic(using=conf.DATABASE):
        pk = blank(model, stream_key).pk
        row = _rows(model).filter(pk=pk).select_for_update(no_key=True, of=("self",)).first()
        state = _fold(model, stream_key)
        fields = {} if row is None else differences(row, state)
        if (row is None) != has_row(state) and not fields:
            return None
        parting = _parting(model, stream_key, fields)
        if not check:
            _repair(state, exists=row is not None)
    return Drift(
        pk=pk,
        fields=fields,
        version=parting.version,
        position=parting.position,
        problem="missing" if row is None else "differs" if has_row(state) else "left",
    )


def _fold(model: type[EventSourcedModel], stream_key: str) -> EventSourcedModel:
    state = blank(model, stream_key)
    for recorded in read_stream(model.stream_type, stream_key):
        fold_onto(state, recorded)
    return state


def _parting(model: type[EventSourcedModel], stream_key: str, fields: dict[str, tuple[Any, Any]]) -> RecordedEvent:
    """Return the first event from which on the folded values are never again those of the row."""
    state, parting, last = blank(model, stream_key), None, None
    for recorded in read_stream(model.stream_type, stream_key):
        fold_onto(state, recorded)
        last = recorded
        if fields and all(_value(state, name) == was for name, (was, _ought) in fields.items()):
            parting = None
        elif parting is None:
            parting = recorded
    found = parting or last
    assert found is not None, "a stream has at least one event"
    return found


def differences(row: EventSourcedModel, state: EventSourcedModel) -> dict[str, tuple[Any, Any]]:
    """Return the fields in which a row is not what history says: its value in the row, and its value by history."""
    names = [field.name for field in history_fields(type(row))]
    pairs = {name: (_value(row, name), _value(state, name)) for name in names}
    return {name: (was, ought) for name, (was, ought) in pairs.items() if was != ought}


def _value(instance: EventSourcedModel, name: str) -> Any:
    field = instance._meta.get_field(name)
    assert isinstance(field, models.Field)
    # Through the column's own conversion, so that 1 and Decimal("1.00") are the same stored value.
    value = field.to_python(getattr(instance, field.attname))
    if isinstance(field, models.FileField):  # keeps no file as the empty name
        return str(value or "")
    if isinstance(field, models.JSONField):  # keeps a tuple as a list, and every key as text
        return json.loads(json.dumps(value, cls=field.encoder))
    return value


def _rows(model: type[EventSourcedModel]) -> models.QuerySet[EventSourcedModel]:
    # A plain queryset: the model's own refuses to write, and a custom manager may hide rows.
    return models.QuerySet(model, using=conf.DATABASE)


def _repair(state: EventSourcedModel, *, exists: bool) -> None:
    # The values are what history says; nothing (as pre_save of a field) may compute others.
    rows: Any = _rows(type(state))
    if not has_row(state):
        rows.filter(pk=state.pk)._raw_delete(conf.DATABASE)
    elif exists:
        values = [(field, None, getattr(state, field.attname)) for field in history_fields(type(state))]
        rows.filter(pk=state.pk)._update(values)
    else:
        columns = [field for field in state._meta.concrete_fields if not field.generated]
        rows._insert([state], fields=columns, using=conf.DATABASE, raw=True)


def _without_history(model: type[EventSourcedModel]) -> Iterator[Drift]:
    last: Any = None
    while True:
        rows = _rows(model).order_by("pk").values_list("pk", flat=True)
        pks = list((rows if last is None else rows.filter(pk__gt=last))[:_ROWS])
        if not pks:
            return
        first_events = StoredEvent.objects.using(conf.DATABASE).filter(
            stream_type__in=names_of(model.stream_type),
            stream_key__in=[stream_key_of(model, pk) for pk in pks],
            version=1,
        )
        known = set(first_events.values_list("stream_key", flat=True))
        for pk in pks:
            if stream_key_of(model, pk) not in known:
                yield Drift(pk=pk, fields={}, version=None, position=None, problem="unknown")
        last = pks[-1]
