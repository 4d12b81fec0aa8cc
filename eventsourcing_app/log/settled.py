"""How far the log is final: at or below the settled position, no open transaction can still add an event.

Positions are drawn before they can be seen, so a reader that goes on from the last position it saw loses events. On
PostgreSQL a position is settled once every transaction that could still write at or below it has ended:

1. take the newest position drawn as the candidate;
2. then, in a later statement, note every transaction that holds the lock which an INSERT takes before it draws;
3. when all of those have ended, the candidate is settled.

Writers pay nothing for it. Candidate and transactions are shared in one row, so that any worker can finish the wait
that another began, and most need not read the locks at all. SQLite has one writer at a time: what can be seen is final.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eventsourcing_app.exceptions import LogUnsafe
from eventsourcing_app.log import locks
from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.log.locks import OpenAppend, Waiting

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from eventsourcing_app.log.locks import Facts, Look

__all__ = ["LogStatus", "OpenAppend", "last_position", "oldest_open_append", "settled_position", "status"]

# Each statement below runs alone in autocommit. SKIP LOCKED: whoever finds the row taken leaves it, for the other
# worker is writing a value as good. So nobody ever waits for this row, also while a commit waits for its replica, and
# nothing can deadlock over it. The pair is replaced only where it is still the one that was read, so that a slow worker
# does not put an older candidate back; were it to, the wait would be longer but the pair no less true.
_SHARE = """
UPDATE {shared} SET settled = GREATEST(settled, %s), candidate = %s, holders = %s::jsonb, server_started_at = %s
WHERE id = (SELECT id FROM {shared} WHERE id = 1 FOR NO KEY UPDATE SKIP LOCKED)
  AND candidate IS NOT DISTINCT FROM %s::bigint
"""
_SHARE_FIRST = """
INSERT INTO {shared} (id, settled, candidate, holders, server_started_at) VALUES (1, %s, %s, %s::jsonb, %s)
ON CONFLICT (id) DO NOTHING
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStatus:
    """How far the log goes, how far it is settled, and what holds the rest back."""

    last: int
    settled: int
    candidate: int | None
    """The position that will be settled next, once ``holders`` transactions have ended."""
    holders: int
    oldest_open_append: OpenAppend | None

    @property
    def distance(self) -> int:
        """How many positions are not settled yet; some of them may never hold an event."""
        return self.last - self.settled


def settled_position(*, beyond: int | None = None) -> int:
    """Return a position at or below which everything is final. Read the events up to it in a later statement.

    With ``beyond``, the position up to which the caller has read, what other workers have found suffices if it lies
    further; the locks are read only if it does not. One call never waits: after a commit beside other writers it
    may take a few calls until the position reaches the event.

    Inside a transaction the answer counts the transaction's own events, which nobody else can see, and is not shared.
    As not every answer is shared, a later call may return less.

    Raise ``LogUnsafe`` where the answer could be wrong.
    """
    connection = _connection()
    if connection.vendor == "sqlite":
        return _newest_visible(connection)
    facts = locks.ask(connection)
    if facts.last <= facts.settled or (beyond is not None and facts.settled > beyond):
        return facts.settled
    # Only now, in a statement of its own: a transaction that begins to insert between the two statements draws its
    # positions above the candidate. The other way round it would go unnoticed.
    settled, waiting = _conclude(facts, locks.look(connection))
    if (settled, waiting) != (facts.settled, facts.waiting) and connection.get_autocommit():
        _share(connection, facts, settled, waiting)
    return settled


def last_position() -> int:
    """Return the newest position drawn, whether or not its event is stored, or ever will be; 0 before the first."""
    connection = _connection()
    return _newest_visible(connection) if connection.vendor == "sqlite" else locks.ask(connection).last


def oldest_open_append() -> OpenAppend | None:
    """Return the transaction that has longest been open among those that hold the settled position back, if any.

    The connection's own transaction is not counted. On SQLite there is never one: nobody reads past an open append.
    """
    connection = _connection()
    return None if connection.vendor == "sqlite" else locks.oldest(connection)


def status() -> LogStatus:
    """Try to advance, then return how far the log goes, how far it is settled and what holds the rest back."""
    connection = _connection()
    settled = settled_position()
    if connection.vendor == "sqlite":
        return LogStatus(last=settled, settled=settled, candidate=None, holders=0, oldest_open_append=None)
    facts = locks.ask(connection)
    return LogStatus(
        last=facts.last,
        settled=max(settled, facts.settled),
        candidate=facts.candidate,
        holders=len(facts.waiting.holders) if facts.waiting else 0,
        oldest_open_append=locks.oldest(connection),
    )


def _connection() -> BaseDatabaseWrapper:
    connection = log_connection()
    if connection.vendor not in {"postgresql", "sqlite"}:
        raise LogUnsafe(
            f"The order of the log is not known to be safe on {connection.display_name}. "
            'Name a PostgreSQL or SQLite database in EVENTSOURCING["DATABASE"].'
        )
    return connection


def _newest_visible(connection: BaseDatabaseWrapper) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(position), 0) FROM {log}".format(**locks.quoted(connection)))
        newest: int = cursor.fetchone()[0]
    return newest


def _conclude(facts: Facts, look: Look) -> tuple[int, Waiting | None]:
    """Return what is settled now, and the pair to wait for next. ``look`` must be later than ``facts``."""
    settled, waiting = facts.settled, facts.waiting
    still_open = waiting.still_open(look) if waiting else frozenset()
    if not look.holders:
        return facts.last, None
    if waiting and still_open:
        if still_open == waiting.holders:
            return settled, waiting
        return settled, Waiting(
            candidate=waiting.candidate, holders=still_open, server_started_at=look.server_started_at
        )
    if waiting:
        settled = max(settled, waiting.candidate)
    return settled, Waiting(candidate=facts.last, holders=look.holders, server_started_at=look.server_started_at)


def _share(connection: BaseDatabaseWrapper, facts: Facts, settled: int, waiting: Waiting | None) -> None:
    pair = (
        (waiting.candidate, json.dumps(sorted(waiting.holders)), waiting.server_started_at)
        if waiting
        else (None, "[]", None)
    )
    names = locks.quoted(connection)
    with connection.cursor() as cursor:
        if facts.shared:
            cursor.execute(_SHARE.format(**names), [settled, *pair, facts.candidate])
        else:
            cursor.execute(_SHARE_FIRST.format(**names), [settled, *pair])
