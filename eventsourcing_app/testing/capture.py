"""``capture_events()``: the events that a block of a test appends, exactly those, committed or not.

``append`` tells the identities of what it writes; the log is asked which of them are there. So an event of somebody
else is never among them, and one that was rolled back is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from django.db import DatabaseError

from eventsourcing_app.aggregates.model import EventSourcedModel
from eventsourcing_app.events.declare import declaration_of
from eventsourcing_app.log.read import read_by_id
from eventsourcing_app.log.recorded import RecordedEvent
from eventsourcing_app.log.watch import Written, watching

if TYPE_CHECKING:
    from unittest import TestCase, TestResult
    from uuid import UUID

    _TestCase = TestCase
else:
    _TestCase = object

E = TypeVar("E")


class CapturedEvents(Sequence[RecordedEvent], Generic[E]):
    """The events captured, in order of the log: while the block runs those so far, asked of the log each time."""

    def __init__(self, types: frozenset[str] | None = None) -> None:
        self._types = types
        self._noted: list[UUID] = []
        self._final: list[RecordedEvent] | None = None

    @property
    def events(self) -> list[E]:
        """The events themselves, as their classes of today."""
        return [cast("E", recorded.event) for recorded in self]

    def of(self, aggregate: type[EventSourcedModel] | EventSourcedModel) -> CapturedEvents[E]:
        """Return those of the aggregates of a model, or of one aggregate."""
        chosen: CapturedEvents[E] = CapturedEvents(self._types)
        chosen._final = [
            recorded
            for recorded in self
            if recorded.stream_type == aggregate.stream_type
            and (not isinstance(aggregate, EventSourcedModel) or recorded.stream_key == aggregate.stream_key)
        ]
        return chosen

    @overload
    def __getitem__(self, index: int) -> RecordedEvent: ...
    @overload
    def __getitem__(self, index: slice) -> list[RecordedEvent]: ...
    def __getitem__(self, index: int | slice) -> RecordedEvent | list[RecordedEvent]:
        return self._read()[index]

    def __len__(self) -> int:
        return len(self._read())

    def __iter__(self) -> Iterator[RecordedEvent]:
        return iter(self._read())

    def __repr__(self) -> str:
        return f"<CapturedEvents: {', '.join(recorded.type for recorded in self) or 'none'}>"

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Capture inside the block, and do not ask the log at its end."""
        with watching(self._note):
            yield

    def _note(self, written: Written) -> None:
        self._noted.extend(written.event_ids)

    def _read(self) -> list[RecordedEvent]:
        if self._final is not None:
            return self._final
        found = read_by_id(self._noted)
        return [recorded for recorded in found if self._types is None or recorded.type in self._types]


@overload
def capture_events() -> AbstractContextManager[CapturedEvents[object]]: ...
@overload
def capture_events(*types: type[E]) -> AbstractContextManager[CapturedEvents[E]]: ...
def capture_events(*types: type) -> AbstractContextManager[CapturedEvents[Any]]:
    """Capture the events that the block appends, in order; only those of the classes ``types``, if any are named.

    ``with capture_events(MoneyDeposited) as captured:`` works in a ``TestCase``, where nothing is committed. What a
    savepoint or a transaction took back before the block ended is not among them. Captured is what this thread appends,
    reactions under ``drain()`` included, and async code that it awaits; not what other threads and processes do. Blocks
    may be nested. Raises ``TypeError`` for a class that is no event.
    """
    return _capture(None if not types else frozenset(name for each in types for name in declaration_of(each).names))


@contextmanager
def _capture(types: frozenset[str] | None) -> Iterator[CapturedEvents[Any]]:
    captured: CapturedEvents[Any] = CapturedEvents(types)
    try:
        with captured._watching():
            yield captured
    except BaseException:
        try:
            captured._final = captured._read()
        except DatabaseError:  # a transaction that is broken, and so rolled back
            captured._final = []
        raise
    captured._final = captured._read()


class CapturedEventsMixin(_TestCase):
    """Gives each test ``self.captured_events``: whatever it has appended so far. For test cases of Django::

    class TransferTests(CapturedEventsMixin, TestCase): ...
    """

    captured_events: CapturedEvents[object]

    def run(self, result: TestResult | None = None) -> TestResult | None:
        self.captured_events = CapturedEvents()
        with self.captured_events._watching():  # around setUp(), which test cases override without a call of super()
            return super().run(result)
