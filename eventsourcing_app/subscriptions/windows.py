"""Windows of the log that the subscriptions of one worker share: read once, decoded once, and bounded in memory.

The *tail* is the end of the log up to the settled position. Whoever is near it finds what matches in memory, and knows
without asking whether anything does. Whoever lags further behind reads windows of its own, by the index of types.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, deque
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from eventsourcing_app.log.read import read_bounded, types_in_log
from eventsourcing_app.subscriptions.decoded import Decoded
from eventsourcing_app.subscriptions.sequences import Sequences, segment_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from eventsourcing_app.log.recorded import RecordedEvent
    from eventsourcing_app.subscriptions.registry import Definition

TAIL_EVENTS = 2_000
TAIL_BYTES = 4 * 2**20
"""The tail holds no more positions, and no more bytes of text, than these."""
WINDOW_EVENTS = 500
WINDOW_BYTES = 2**20
"""The same of one window of a subscription that lags behind."""
_KEPT_WINDOWS = 8


class Share(NamedTuple):
    """One segment out of so many."""

    number: int = 0
    segments: int = 1


class Found(NamedTuple):
    """What a segment has to handle next."""

    events: list[RecordedEvent]
    reached: int
    """Nothing else that matches is at or below this position; never before the checkpoint that was asked from."""


class Windows:
    """See the module."""

    def __init__(self) -> None:
        self.sequences = Sequences()
        self.decoded = Decoded()
        self._base = self._top = 0
        self._tail: deque[RecordedEvent] = deque()
        self._bytes = 0
        self._at: dict[int, RecordedEvent] = {}
        self._by_type: dict[str, list[int]] = {}
        self._lists: dict[str, tuple[int, list[list[int]]]] = {}
        self._kept: OrderedDict[tuple[int, frozenset[str]], Found] = OrderedDict()
        self._types: tuple[int, list[str]] = (-1, [])

    def advance(self, settled: int, *, oldest: int) -> frozenset[str]:
        """Read on to the settled position, and return the types of what came; ``oldest`` is the lowest checkpoint."""
        if settled <= self._top:
            return frozenset()
        if settled - self._top > TAIL_EVENTS or not self._top:
            self._reset(max(settled - TAIL_EVENTS, min(oldest, settled)))
        came: set[str] = set()
        for recorded in _read_all(self._top, settled):
            self._tail.append(recorded)
            self._at[recorded.position] = recorded
            self._bytes += _length(recorded)
            self._by_type.setdefault(recorded.type, []).append(recorded.position)
            came.add(recorded.type)
            while len(self._tail) > TAIL_EVENTS or self._bytes > TAIL_BYTES:
                self._drop_first()
        self._top = settled
        return frozenset(came)

    def covers(self, checkpoint: int) -> bool:
        """Whether all that comes after a checkpoint, up to the settled position, is in the tail."""
        return bool(self._top) and checkpoint >= self._base

    def is_idle(self, definition: Definition, share: Share, checkpoint: int, until: int) -> bool:
        """Whether nothing up to ``until`` matches; false also where that cannot be told without reading."""
        if not self.covers(checkpoint):
            return False
        return next(self._matching(definition, share, checkpoint, until), None) is None

    def find(self, definition: Definition, share: Share, checkpoint: int, *, until: int, limit: int) -> Found:
        """Return the next events that a segment has to handle, ``limit`` at most."""
        if until <= checkpoint:
            # Another worker knew more of the log, and has been here since this one looked.
            return Found([], checkpoint)
        if self.covers(checkpoint):
            events = list(islice(self._matching(definition, share, checkpoint, until), limit))
            return Found(events, until if len(events) < limit else events[-1].position)
        found = self._window(definition, checkpoint, until)
        events = found.events if share.segments == 1 else [each for each in found.events if self._is_in(each, share)]
        if len(events) <= limit:
            return Found(events, found.reached)
        return Found(events[:limit], events[limit - 1].position)

    def _matching(self, definition: Definition, share: Share, checkpoint: int, until: int) -> Iterator[RecordedEvent]:
        after = [each[bisect_right(each, checkpoint) :] for each in self._lists_of(definition)]
        positions: Iterable[int] = after[0] if len(after) == 1 else merge(*after)
        for position in positions:
            if position > until:
                return
            recorded = self._at[position]
            if share.segments == 1 or self._is_in(recorded, share):
                yield recorded

    def _lists_of(self, definition: Definition) -> list[list[int]]:
        # By fingerprint: what was subscribed at run time may react to other events by now.
        known = self._lists.get(definition.fingerprint)
        if known is None or known[0] != len(self._by_type):
            lists = [positions for type_, positions in self._by_type.items() if definition.handlers_of(type_)]
            known = self._lists[definition.fingerprint] = (len(self._by_type), lists)
        return known[1]

    def _is_in(self, recorded: RecordedEvent, share: Share) -> bool:
        return segment_of(self.sequences.of(recorded), share.segments) == share.number

    def _window(self, definition: Definition, checkpoint: int, until: int) -> Found:
        """Read a window by types. Subscriptions that stand at the same place share it."""
        key = (checkpoint, definition.types)
        kept = self._kept.get(key)
        if kept is not None and kept.reached <= until:
            self._kept.move_to_end(key)
            return kept
        types = self._types_of(definition, until)
        read = read_bounded(after=checkpoint, until=until, types=types, limit=WINDOW_EVENTS, max_bytes=WINDOW_BYTES)
        found = self._kept[key] = Found(read.events, until if read.is_whole else read.events[-1].position)
        if len(self._kept) > _KEPT_WINDOWS:
            self._kept.popitem(last=False)
        return found

    def _types_of(self, definition: Definition, until: int) -> Collection[str]:
        if not definition.has_patterns:
            return definition.types
        # Those of the log, not those that this code declares: what it does not know must stop it, not be passed.
        if self._types[0] != until:
            self._types = (until, types_in_log())
        return [name for name in self._types[1] if definition.handlers_of(name)]

    def _reset(self, base: int) -> None:
        self._base = self._top = base
        self._tail.clear()
        self._at.clear()
        self._by_type.clear()
        self._lists.clear()
        self._bytes = 0

    def _drop_first(self) -> None:
        first = self._tail.popleft()
        self._base = first.position
        del self._at[first.position]
        self._bytes -= _length(first)
        del self._by_type[first.type][0]


def _read_all(after: int, until: int) -> Iterator[RecordedEvent]:
    while True:
        read = read_bounded(after=after, until=until, limit=WINDOW_EVENTS, max_bytes=WINDOW_BYTES)
        yield from read.events
        if read.is_whole:
            return
        after = read.events[-1].position


def _length(recorded: RecordedEvent) -> int:
    texts = (recorded.data_text, recorded.metadata_text)
    return sum(len(text) if text.isascii() else len(text.encode()) for text in texts)
