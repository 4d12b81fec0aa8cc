"""Folding in bulk: the states of many aggregates from windows of their events, in one pass and constant memory.

It gives what ``history.fold_onto`` gives, event by event, and leaves out what nobody looks at in between: the baseline
that tells recorded changes from others is taken once, at the end. Only JSON is brought into the form that the database
gives back after each event, because the next event may build on it.
"""

from __future__ import annotations

import json
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.db import models

from eventsourcing_app.aggregates.dispatch import method_for
from eventsourcing_app.aggregates.past.history import blank
from eventsourcing_app.aggregates.recording import history_fields
from eventsourcing_app.events import codec, evolution
from eventsourcing_app.events.registry import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.log.streams import Row

M = TypeVar("M", bound="EventSourcedModel")


def fold(model: type[M], windows: Iterable[list[Row]]) -> Iterator[M]:
    """Yield the state of each aggregate, whose events come by stream and version."""
    folding: _Fold[M] | None = None
    readers = _Readers(model)
    for window in windows:
        for row in window:
            if folding is None or row[0] != folding.stream_key:
                if folding is not None:
                    yield folding.finish()
                folding = _Fold(blank(model, row[0]), row[0], readers)
            folding.add(row)
    if folding is not None:
        yield folding.finish()


def fold_on(state: M, windows: Iterable[list[Row]]) -> M:
    """Move a state on by later events of its stream."""
    folding = _Fold(state, state.stream_key, _Readers(type(state)))
    for window in windows:
        for row in window:
            folding.add(row)
    return folding.finish()


class _Fold(Generic[M]):
    """One aggregate on its way from event to event."""

    __slots__ = ("_json", "_readers", "_recording", "_state", "_values", "stream_key")

    def __init__(self, state: M, stream_key: str, readers: _Readers) -> None:
        self.stream_key = stream_key
        self._state, self._values, self._readers = state, state.__dict__, readers
        self._recording = state._recording
        self._recording.applying = True
        was = self._recording.baseline
        self._json = [_Settled(field, was.get(field.attname)) for field in _json_fields(type(state))]

    def add(self, row: Row) -> None:
        """Apply the next event."""
        _key, version, position, name, schema_version, text, recorded_at = row
        try:
            read, method, ends = self._readers[name, schema_version]
            getattr(self._state, method)(read(text))
            for settled in self._json:
                settled.settle(self._values)
        except Exception as error:
            stream = f"{self._state.stream_type} {self.stream_key}"
            error.add_note(f"While folding {stream}, version {version} (event #{position}, {name}).")
            raise
        values = self._values
        values["version"], values["changed_at"] = version, recorded_at
        values["ended"], values["position"] = ends, position

    def finish(self) -> M:
        """Return the state, with what it is now for its baseline."""
        self._recording.applying = False
        self._recording.settle_applied(self._state)
        return self._state


class _Settled:
    """A JSON field, as ``Recording.settle_applied`` settles it after each event that changed it."""

    __slots__ = ("_field", "_name", "_was")

    def __init__(self, field: models.JSONField[Any, Any], was: Any) -> None:
        self._field, self._name, self._was = field, field.attname, was

    def settle(self, values: dict[str, Any]) -> None:
        value = values.get(self._name)
        if value == self._was:
            return
        if value is not None:
            value = json.loads(json.dumps(value, cls=self._field.encoder), cls=self._field.decoder)
            values[self._name] = value
        self._was = deepcopy(value)


class _Readers(dict[tuple[str, int], "tuple[Callable[[str], object], str, bool]"]):
    """How to read events of a wire name and schema version, which method applies them, and whether they end it."""

    def __init__(self, model: type[EventSourcedModel]) -> None:
        super().__init__()
        self._model = model

    def __missing__(self, key: tuple[str, int]) -> tuple[Callable[[str], object], str, bool]:
        name, schema_version = key
        declaration = registry.get(name)
        read: Callable[[str], object] = partial(evolution.read, name, schema_version)
        if schema_version == declaration.version:
            read = partial(codec.decode, declaration)
        found = self[key] = (read, method_for(self._model, declaration.cls), declaration.ends)
        return found


def _json_fields(model: type[models.Model]) -> list[models.JSONField[Any, Any]]:
    return [field for field in history_fields(model) if isinstance(field, models.JSONField)]
