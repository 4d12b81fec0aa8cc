"""What became of a command that an error ends: it is refused, or others were in the way, or it is done all the same.

What a commit sets off (``on_commit``) may fail although everything is stored. To answer that as a refusal would be a
lie: whoever believes it sends the request again.
"""

from __future__ import annotations

import logging
from enum import Enum
from typing import TYPE_CHECKING

from django.db import DatabaseError, DataError, IntegrityError, OperationalError

from eventsourcing_app.conf import conf
from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.log.errors import is_too_busy
from eventsourcing_app.log.records import StoredEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventsourcing_app.log.watch import Written

logger = logging.getLogger(__name__)


class Outcome(Enum):
    """What became of it."""

    STORED = "stored"
    """It is done, for good; what its commit has set off has failed."""
    BUSY = "busy"
    """Others were in the way. Nothing was done, and the same may succeed."""
    NOT_ALLOWED = "not allowed"
    """The database does not accept the state: constraints are the last word on that. Nothing was done."""


def outcome_of(error: Exception, written: Sequence[Written]) -> Outcome | None:
    """Return what an error means after what was ``written``; ``None`` if it is another's to say. It is logged.

    Asked outside the transaction of the command: inside, nothing is stored for good yet.
    """
    if _is_stored(written):
        logger.error("What was set off by the commit has failed; the events are stored.", exc_info=error)
        return Outcome.STORED
    if isinstance(error, OperationalError) and is_too_busy(error):
        logger.info("A command was given up for the sake of others: %s", error)
        return Outcome.BUSY
    if isinstance(error, (IntegrityError, DataError, OverflowError)):
        logger.warning("A command was refused by the database: %s", error)
        return Outcome.NOT_ALLOWED
    return None


def _is_stored(written: Sequence[Written]) -> bool:
    """Whether the last that was written is in the log; within a transaction that is still open, nothing is yet."""
    if not written or log_connection().in_atomic_block:
        return False
    try:
        events = StoredEvent.objects.using(conf.DATABASE)
        return events.filter(event_id=written[-1].event_ids[-1]).exists()
    except DatabaseError:
        return False
