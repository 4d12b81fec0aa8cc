"""The time at which events are recorded: the application's clock, in UTC, never running back within a stream."""

from __future__ import annotations

import logging
import random
from datetime import UTC, datetime, timedelta

from django.utils.module_loading import import_string

from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import LogUnsafe
from eventsourcing_app.log.connection import announce_append, log_connection
from eventsourcing_app.log.unit import unit_of_writes

logger = logging.getLogger(__name__)

SKEW = timedelta(seconds=5)
"""How far apart the clocks of the machines may be that record events, before it is worth a warning."""


def recording_time(*, not_before: datetime | None = None, announced: bool = False) -> datetime:
    """Return the time to record events at: now, or just after ``not_before`` if the clock has fallen behind it.

    ``announced`` is for writes that take more than one statement, so that any time may pass until the events are
    inserted: the transaction, which must be open, can be told from then on as one that appends (see ``log.horizon``).
    Within a flow it is the time of what the flow has written last, as long as that stands and is not before
    ``not_before``.
    """
    unit = unit_of_writes()
    if unit is not None and unit.moment is not None:
        if unit.find_undone():  # what was rolled back must not get its time given again
            floor = unit.moment + timedelta(microseconds=1)
            not_before = floor if not_before is None else max(floor, not_before)
        elif not_before is None or not_before <= unit.moment:
            return unit.moment
    if announced or unit is not None:
        announce_append(log_connection())
    return now(not_before=not_before)


def now(*, not_before: datetime | None = None) -> datetime:
    """Return what the clock says, or a time just after ``not_before`` if it has fallen behind that."""
    clock = conf.CLOCK
    if clock is None:
        moment = datetime.now(UTC)
    else:
        moment = (import_string(clock) if isinstance(clock, str) else clock)()
        if moment.tzinfo is None:
            raise LogUnsafe(f"EVENTSOURCING['CLOCK'] returned the naive time {moment}: return an aware one.")
        moment = moment.astimezone(UTC)
    if not_before is None or not_before <= moment:
        return moment
    behind = not_before - moment
    if behind > SKEW:
        logger.warning("The clock is %s behind the last event of a stream: is the time of every machine right?", behind)
    # Some microseconds on, and not always the same: what was rolled back must not get its time given again.
    return not_before + timedelta(microseconds=random.randint(1, 999))


def timestamp(moment: datetime) -> str:
    """Write an aware time as the log does: RFC 3339, UTC, always six digits of a second."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
