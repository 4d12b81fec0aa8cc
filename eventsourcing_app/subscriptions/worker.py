"""``Worker``: what one run of the loop has to itself: its token, its windows of the log, its deadline."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from eventsourcing_app.exceptions import NewerEventVersion, UnknownEventType
from eventsourcing_app.subscriptions.deliver import deliver, deliver_batch
from eventsourcing_app.subscriptions.windows import Windows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eventsourcing_app.exceptions import EventUnreadable
    from eventsourcing_app.log.recorded import RecordedEvent
    from eventsourcing_app.subscriptions.registry import Definition


class TooNew(Exception):
    """This code is too old for an event: it is no failure of the event, nor of its handler."""

    def __init__(self, recorded: RecordedEvent, error: EventUnreadable) -> None:
        super().__init__(str(error))
        self.recorded, self.error = recorded, error


TURN_SECONDS = 0.2
"""A turn ends after so much time, so that others get theirs and little is repeated after a crash."""
_UNREADABLE_SECONDS = 30.0


def _nobody(_segment: int) -> None:
    """For a worker that nobody supervises."""


@dataclass(slots=True, kw_only=True)
class Worker:
    """See the module."""

    token: UUID = field(default_factory=uuid4)
    """Fences all that it claims: a checkpoint moves only for whoever has the token."""
    windows: Windows = field(default_factory=Windows)
    held: tuple[int, ...] = ()
    """The segments that it is at: their leases are renewed. What it had to let go is not among them."""
    watched: Callable[[int], None] = _nobody
    """Told the segment that it is at, before each call of a handler, and 0 when it is at none: so a supervisor knows
    what a worker died of, and kills one whose handler hangs."""
    at: int = 0
    """The segment that it is at."""
    called_at: float = field(default_factory=time.monotonic)
    """When it last called a handler, by the monotonic clock."""
    ends: float = 0.0
    """When the present turn is over, by the monotonic clock."""
    unreadable: dict[int, float] = field(default_factory=dict)
    """Segments that this code is too old for, and until when they are left to others."""

    def begin_anew(self) -> None:
        """Forget what was read, and that it is at anything: after the database was away it may hold another log."""
        self.windows, self.held = Windows(), ()
        self.watched(0)

    def begin_turn(self) -> None:
        """Give the next segments so much time, all of them together."""
        self.ends = time.monotonic() + TURN_SECONDS

    @property
    def is_over(self) -> bool:
        """Whether the present turn is over."""
        return time.monotonic() > self.ends

    def leave_to_newer(self, segment: int) -> None:
        """Leave a segment to newer code for a while."""
        self.unreadable[segment] = time.monotonic() + _UNREADABLE_SECONDS

    def leaves(self, segment: int) -> bool:
        """Whether a segment is left to newer code."""
        return bool(self.unreadable) and self.unreadable.get(segment, 0) > time.monotonic()

    def deliver(self, definition: Definition, recorded: RecordedEvent) -> None:
        """Call the handlers of one event; raises what they raise, and ``TooNew`` or ``EventUnreadable``."""
        event = self._event_of(recorded)
        self._begin_call()
        deliver(definition, recorded, event)

    def deliver_list(self, definition: Definition, batch: Sequence[RecordedEvent]) -> int:
        """Call the handlers with a list of events, those before one that is too new; return how many they were.

        Raises as ``deliver`` does: ``TooNew`` only if it is the first.
        """
        pairs = []
        for recorded in batch:
            try:
                pairs.append((self._event_of(recorded), recorded))
            except TooNew:
                if not pairs:
                    raise
                break
        self._begin_call()
        deliver_batch(definition, pairs)
        return len(pairs)

    def _begin_call(self) -> None:
        self.called_at = time.monotonic()
        self.watched(self.at)

    def _event_of(self, recorded: RecordedEvent) -> object:
        try:
            return self.windows.decoded.event_of(recorded)
        except (NewerEventVersion, UnknownEventType) as error:
            raise TooNew(recorded, error) from error
