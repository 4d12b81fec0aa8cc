"""How busy the log is: the events of the last hour, minute by minute.

It must cost the same however long the log is, and however much was written in that hour. So the hour is looked for
along the positions (see ``log.periods``), and as long as it spans few of them, its events are counted. Where it spans
more, some positions of it are drawn, one by chance from each of many short stretches of the same length, and each event
found there stands for all of its stretch. As times rise with positions, what is estimated for a minute is off by little
more than a stretch at either end of it. Stretches are drawn from by chance because events often come in a rhythm, such
as one of each kind in turn: drawn at equal distances they could all be of one kind.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from django.db.models import Max

from eventsourcing_app.access.visibility import visible_events
from eventsourcing_app.conf import conf
from eventsourcing_app.log import clock
from eventsourcing_app.log.periods import first_position
from eventsourcing_app.log.records import StoredEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventsourcing_app.access.visibility import Viewer

MINUTES: Final = 60
COUNTED: Final = 10_000
"""Positions that are looked at one by one; if the hour spans more of them, it is estimated."""
STRETCHES: Final = 1_000
"""Positions that are drawn for an estimate."""
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """The events of the last hour. Its minutes are those before ``until``, not those of a clock on the wall."""

    until: datetime
    minutes: tuple[int, ...]
    """Events of each minute, the oldest first."""
    is_exact: bool
    """Whether they were counted; estimated if not."""

    @property
    def total(self) -> int:
        """All events of the hour."""
        return sum(self.minutes)

    @property
    def last(self) -> int:
        """The events of the minute that ends now."""
        return self.minutes[-1]

    @property
    def busiest(self) -> int:
        """Which minute had the most events; of several, the last one."""
        return max(range(MINUTES), key=lambda index: (self.minutes[index], index))

    def start_of(self, index: int) -> datetime:
        """When a minute began."""
        return self.until - (MINUTES - index) * _MINUTE


def activity(user: Viewer) -> Activity:
    """Return how many of the events that the user may see were recorded in each minute of the last hour.

    The hour ends now by the clock of the log. Four statements.
    """
    until = clock.now()
    since = until - MINUTES * _MINUTE
    first, last = first_position(since), _newest()
    events = visible_events(user).filter(recorded_at__gte=since)
    span = last - first + 1
    if span <= COUNTED:
        events, weight = events.filter(position__gte=first, position__lte=last), 1.0
    else:
        weight = span / STRETCHES
        events = events.filter(
            position__in=[first + int((number + random.random()) * weight) for number in range(STRETCHES)]
        )
    found = _by_minute(since, events.order_by().values_list("recorded_at", flat=True))
    return Activity(until=until, minutes=tuple(round(number * weight) for number in found), is_exact=weight == 1.0)


def _by_minute(since: datetime, moments: Iterable[datetime]) -> list[int]:
    minutes = [0] * MINUTES
    for moment in moments:
        # A clock that is ahead records in the future of this one.
        minutes[min(MINUTES - 1, (moment - since) // _MINUTE)] += 1
    return minutes


def _newest() -> int:
    newest: int | None = StoredEvent.objects.using(conf.DATABASE).aggregate(newest=Max("position"))["newest"]
    return newest or 0
