"""What becomes of a command that an error ends: it is refused, or others were in the way, or it is done all the same.

What a commit sets off (``on_commit``) may fail although everything is stored. To answer that as a refusal would be a
lie: whoever believes it sends the request again.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import DatabaseError, DataError, IntegrityError, OperationalError
from django.utils.translation import gettext as _

from eventsourcing_app.api.problems import Busy, DoneWithError, StateRefused
from eventsourcing_app.conf import conf
from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.log.errors import is_too_busy
from eventsourcing_app.log.records import StoredEvent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eventsourcing_app.log.watch import Written

logger = logging.getLogger(__name__)


@contextmanager
def refusals_answered(written: Sequence[Written]) -> Iterator[None]:
    """Turn what the database refuses into an answer: constraints are the last word on which states are allowed.

    Raises ``DoneWithError`` if what was ``written`` inside is stored for good in spite of the error.
    """
    try:
        yield
    except Exception as error:
        if _is_stored(written):
            logger.exception("What was set off by the commit has failed; the events are stored.")
            raise DoneWithError from error
        if isinstance(error, OperationalError) and is_too_busy(error):
            logger.info("A command was given up for the sake of others: %s", error)
            raise Busy from error
        if isinstance(error, (IntegrityError, DataError, OverflowError)):
            logger.warning("A command was refused by the database: %s", error)
            raise StateRefused(_("The state that this would lead to is not allowed.")) from error
        raise


def _is_stored(written: Sequence[Written]) -> bool:
    """Whether the last that was written is in the log; within a transaction that is still open, nothing is yet."""
    if not written or log_connection().in_atomic_block:
        return False
    try:
        events = StoredEvent.objects.using(conf.DATABASE)
        return events.filter(event_id=written[-1].event_ids[-1]).exists()
    except DatabaseError:
        return False
