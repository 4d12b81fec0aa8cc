"""The fold: one aggregate moved from event to event, and the states of many from windows of their events.

There is one way in which stored events become state, and this is it. After each event the state is brought into the
form that the columns give back, as it is when a command records one, because the next event may build on it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from django.core.exceptions import ImproperlyConfigured

from eventsourcing_app.aggregates.dispatch import method_for
from eventsourcing_app.aggregates.keys import pk_of
from eventsourcing_app.events import codec, evolution
from eventsourcing_app.events.registry import registry
from eventsourcing_app.exceptions import EventUnreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.log.recorded import RecordedEvent
    from eventsourcing_app.log.streams import Row

M = TypeVar("M", bound="EventSourcedModel")


def blank(model: type[M], stream_key: str) -> M:
    """Return an instance as it is before its first event."""
    instance = model()
    setattr(instance, model._meta.pk.attname, pk_of(model, stream_key))
    for field in model._meta.concrete_fields:
        if field.generated:  # else it would be asked of the row of now
            instance.__dict__[field.attname] = None
    return instance


def fold(model: type[M], windows: Iterable[list[Row]]) -> Iterator[M]:
    """Yield the state of each aggregate, whose events come by stream and version."""
    folding: Fold[M] | None = None
    readers = Readers(model)
    for window in windows:
        for row in window:
            if folding is None or row[0] != folding.stream_key:
                if folding is not None:
                    yield folding.finish()
                folding = Fold(blank(model, row[0]), row[0], readers)
            folding.add(row)
    if folding is not None:
        yield folding.finish()


def fold_on(state: M, windows: Iterable[list[Row]]) -> M:
    """Move a state on by later events of its stream."""
    folding = Fold.of(state)
    for window in windows:
        for row in window:
            folding.add(row)
    return folding.finish()


class Fold(Generic[M]):
    """One aggregate on its way from event to event. Errors get a note that says which event it was."""

    __slots__ = ("_readers", "_recording", "_values", "state", "stream_key")

    def __init__(self, state: M, stream_key: str, readers: Readers) -> None:
        self.state, self.stream_key = state, stream_key
        self._values, self._readers = state.__dict__, readers
        self._recording = state._recording
        self._recording.applying = True

    @classmethod
    def of(cls, state: M) -> Fold[M]:
        """Begin with a state, to which the next event of its stream leads on."""
        return cls(state, state.stream_key, Readers(type(state)))

    def add(self, row: Row) -> None:
        """Apply the next event."""
        _key, version, position, name, schema_version, text, recorded_at = row
        try:
            read, method, ends = self._readers[name, schema_version]
            getattr(self.state, method)(read(text))
            self._recording.settle_applied(self.state)
        except Exception as error:
            error.add_note(f"While folding {self._stream}, version {version} (event #{position}, {name}).")
            raise
        values = self._values
        values["version"], values["changed_at"] = version, recorded_at
        values["ended"], values["position"] = ends, position

    def add_recorded(self, recorded: RecordedEvent) -> None:
        """Apply the next event, as readers of the log give it."""
        version = recorded.version or 0
        position, name, schema_version = recorded.position, recorded.type, recorded.schema_version
        self.add(
            (recorded.stream_key, version, position, name, schema_version, recorded.data_text, recorded.recorded_at)
        )

    def finish(self) -> M:
        """Return the state, with what it is now for its baseline."""
        self._recording.applying = False
        self._recording.settle(self.state)
        return self.state

    @property
    def _stream(self) -> str:
        return f"{self.state.stream_type} {self.stream_key}"


class Readers(dict[tuple[str, int], "tuple[Callable[[str], object], str, bool]"]):
    """How to read events of a wire name and schema version, which method applies them, and whether they end it."""

    def __init__(self, model: type[EventSourcedModel]) -> None:
        super().__init__()
        self._model = model

    def __missing__(self, key: tuple[str, int]) -> tuple[Callable[[str], object], str, bool]:
        name, schema_version = key
        try:
            declaration = registry.get(name)
        except ImproperlyConfigured as error:  # two classes claim the name
            raise EventUnreadable(str(error)) from error
        read: Callable[[str], object] = partial(evolution.read, name, schema_version)
        if schema_version == declaration.version:
            read = partial(codec.decode, declaration)
        found = self[key] = (read, method_for(self._model, declaration.cls), declaration.ends)
        return found
