"""Events as their classes, decoded once for all subscriptions of a worker, where none of them can change them."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured

from eventsourcing_app.exceptions import EventUnreadable

if TYPE_CHECKING:
    from eventsourcing_app.log.recorded import RecordedEvent

_UNCHANGEABLE = frozenset({str, int, bool, float, Decimal, date, datetime, time, timedelta, UUID, bytes, type(None)})


_MOST, _DROPPED = 4_096, 1_024


class Decoded:
    """A bounded cache by position. What holds a list or the like, which could change, is decoded for each handler."""

    def __init__(self) -> None:
        self._events: dict[int, object] = {}

    def event_of(self, recorded: RecordedEvent) -> object:
        """Return the event as its class of today; raises what ``RecordedEvent.event`` raises."""
        event = self._events.get(recorded.position)
        if event is None:
            try:
                event = recorded.event
            except ImproperlyConfigured as error:
                raise EventUnreadable(str(error)) from error
            if _is_unchangeable(event):
                self._events[recorded.position] = event
                if len(self._events) > _MOST:
                    for position in [*islice(self._events, _DROPPED)]:
                        del self._events[position]
        return event


def _is_unchangeable(event: object) -> bool:
    values = (getattr(event, name) for name in getattr(type(event), "__dataclass_fields__", {}))
    return all(type(value) in _UNCHANGEABLE or isinstance(value, Enum) for value in values)
