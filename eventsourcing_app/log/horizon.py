"""How near a moment may be for the past up to it to be final: whether an event recorded by then may still come up.

An event gets its time from the clock of the application, before it is inserted, and can be seen once its transaction
has committed. So whatever was recorded at or before a moment and cannot be seen yet belongs to a transaction that is
open, and that was open by then or began soon after: within ``clock.SKEW``, which stands for what clocks differ, and for
what passes between reading the clock and beginning to insert. Where that is more than one statement, the lock that
tells of an append is taken before the clock is read. A moment is final if it lies further back than that, from
now and from the beginning of the oldest transaction that may still append.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import OperationalError

from eventsourcing_app.log import clock, locks
from eventsourcing_app.log.connection import log_connection, without_waiting

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.backends.base.base import BaseDatabaseWrapper


def is_final(moment: datetime) -> bool:
    """Whether all events recorded at or before ``moment`` can be seen by statements that begin after this call.

    Ask first, and read then: what is committed in between is seen, and the answer stays true. False where it cannot be
    known: on a standby, in a transaction that keeps its snapshot, beside open transactions whose age the role may not
    see or that are prepared. The connection's own transaction is not counted: its events count as stored.
    """
    horizon = clock.now() - clock.SKEW
    if moment > horizon:
        return False
    connection = log_connection()
    if connection.vendor == "sqlite":
        return _has_no_other_writer(connection)
    appending = locks.appending(connection)
    return appending.is_known and (appending.age is None or moment <= horizon - appending.age)


def _has_no_other_writer(connection: BaseDatabaseWrapper) -> bool:
    """Whether no other connection to SQLite is writing now. Nobody can say how long one that is has been at it.

    There is one writer at a time, so whoever could begin to write is alone. Nothing is written, and nobody is waited
    for.
    """
    if connection.in_atomic_block:
        # One that began as a writer is the only one; another kind may keep the snapshot that it has read.
        return getattr(connection, "transaction_mode", None) in ("IMMEDIATE", "EXCLUSIVE")
    try:
        with without_waiting(connection), connection.cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.execute("COMMIT")
    except OperationalError:
        return False
    return True
