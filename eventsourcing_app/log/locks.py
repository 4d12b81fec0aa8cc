"""What PostgreSQL tells about the log: the newest position drawn, and the transactions that may still add below it.

Everything is asked for anew at each call and resolved through the search path of the connection: the same names may
mean another table in another schema, and test databases made from one template share relation ids.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eventsourcing_app.exceptions import LogUnsafe
from eventsourcing_app.log.records import SettledPosition, StoredEvent

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from django.db.backends.base.base import BaseDatabaseWrapper

_PREPARED = "prepared "

# The newest position is asked of pg_sequence_last_value(), never by SELECT last_value FROM the sequence: that reads the
# sequence's page while it is being written and sees up to 32 positions ahead, which then count as settled before they
# are drawn. The function returns null both for an unused sequence and (since PostgreSQL 17) for one without privilege.
# max(position) cannot overtake it: the statement's snapshot is older than the call.
_FACTS = """
SELECT drawn.name, drawn.readable, quote_ident(current_user),
       CASE WHEN drawn.readable THEN pg_sequence_last_value(drawn.name::regclass) END,
       (SELECT max(position) FROM {log}),
       current_setting('transaction_isolation'), pg_is_in_recovery(),
       shared.settled, shared.candidate, shared.holders::text, shared.server_started_at
FROM (SELECT name, has_sequence_privilege(name, 'USAGE, SELECT') AS readable
      FROM pg_get_serial_sequence(%s, 'position') AS name) AS drawn
LEFT JOIN {shared} AS shared ON shared.id = 1
"""

# One scan of pg_locks for both kinds of row: two scans would be two moments.
_HOLDERS = """
WITH locks AS MATERIALIZED (
    SELECT * FROM pg_locks WHERE locktype IN ('relation', 'transactionid')
), holders AS (
    SELECT DISTINCT virtualtransaction, pid FROM locks
    WHERE locktype = 'relation' AND relation = to_regclass(%s) AND mode = 'RowExclusiveLock' AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND pid IS DISTINCT FROM pg_backend_pid()
)
"""

# A prepared transaction is known by its transaction id: its virtualtransaction is that of the session that began it
# until the server recovers from a crash or restarts, and '-1/<xid>' from then on (in PostgreSQL 14.0, at once). Of the
# ids that it locks, its subtransactions' included, its own is the oldest.
_LOOK = f"""{_HOLDERS}
SELECT server.started_at, holders.virtualtransaction,
       CASE WHEN holders.virtualtransaction IS NOT NULL AND holders.pid IS NULL THEN coalesce(
           (SELECT transactionid::text FROM locks
            WHERE locktype = 'transactionid' AND locks.virtualtransaction = holders.virtualtransaction
            ORDER BY age(transactionid) DESC LIMIT 1),
           split_part(holders.virtualtransaction, '/', 2)
       ) END
FROM (SELECT pg_postmaster_start_time() AS started_at) AS server
LEFT JOIN holders ON true
"""

_OLDEST = f"""{_HOLDERS}
SELECT clock_timestamp() - coalesce(activity.xact_start, prepared.prepared), holders.pid, prepared.gid
FROM holders
LEFT JOIN pg_stat_activity AS activity ON activity.pid = holders.pid
LEFT JOIN (locks JOIN pg_prepared_xacts AS prepared ON prepared.transaction = locks.transactionid)
       ON holders.pid IS NULL AND locks.virtualtransaction = holders.virtualtransaction
ORDER BY 1 DESC NULLS LAST LIMIT 1
"""

# Also those that wait for the lock: they may have read their clock already. The start of a prepared transaction is not
# kept anywhere, and that of another role's may not be seen: these count, but have no age.
_APPENDING = """
WITH appending AS (
    SELECT DISTINCT virtualtransaction, pid FROM pg_locks
    WHERE locktype = 'relation' AND relation = to_regclass(%s) AND mode = 'RowExclusiveLock'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND pid IS DISTINCT FROM pg_backend_pid()
)
SELECT current_setting('transaction_isolation'), pg_is_in_recovery(),
       count(appending.virtualtransaction), count(activity.xact_start), max(clock_timestamp() - activity.xact_start)
FROM (SELECT) AS one LEFT JOIN appending ON true LEFT JOIN pg_stat_activity AS activity ON activity.pid = appending.pid
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The transactions that held the log's insert lock at one moment, and the start of the server that said so."""

    server_started_at: datetime
    plain: frozenset[str] = frozenset()
    prepared: frozenset[str] = frozenset()

    @property
    def holders(self) -> frozenset[str]:
        return self.plain | self.prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A candidate position and the transactions to wait for: once they have all ended, it is settled.

    The two belong together. Such a pair stays true however late it is used, by whom, and however many others exist.
    """

    candidate: int
    holders: frozenset[str]
    server_started_at: datetime | None

    def still_open(self, look: Look) -> frozenset[str]:
        """Return the transactions that must still be waited for, as of ``look``.

        A plain transaction that has vanished has not always ended: it may have been prepared, and gone on under a name
        that cannot be told from its old one. So whenever a plain one has vanished, every prepared transaction of that
        same look is waited for too; if the vanished one is still open, it is among them, since a look misses no holder
        of the lock. The wait stays finite, because only plain transactions vanish into prepared ones and no plain one
        is ever added. A prepared transaction that has vanished has ended: its transaction id never changes.

        Plain transactions do not survive their server, whose successor may use their names again: those of another
        server count as vanished. Prepared ones survive. (A crash after which the server recovers without a new start
        is covered too: a name used again only makes the wait longer.)
        """
        prepared = frozenset(holder for holder in self.holders if holder.startswith(_PREPARED))
        plain = self.holders - prepared
        seen = look.plain if self.server_started_at == look.server_started_at else frozenset()
        joined = look.prepared if plain - seen else frozenset()
        return (plain & seen) | (prepared & look.prepared) | joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The newest position drawn, and what workers have shared so far."""

    last: int
    settled: int
    waiting: Waiting | None
    shared: bool
    """Whether the shared row exists; a flush of the tables removes it."""

    @property
    def candidate(self) -> int | None:
        return self.waiting.candidate if self.waiting else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAppend:
    """A transaction that has appended, or begun to, and has not ended.

    ``age`` is the time since it began, or since it was prepared; ``None`` where the role may not see it: another
    role's session without ``pg_read_all_stats``. ``pid`` is its server process; a prepared transaction has none, but
    its name in ``prepared``, for ``COMMIT PREPARED`` or ``ROLLBACK PREPARED``.
    """

    age: timedelta | None
    pid: int | None
    prepared: str | None


def quoted(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """Return the quoted names of the log (``log``) and of the shared row's table (``shared``)."""
    return {
        "log": connection.ops.quote_name(StoredEvent._meta.db_table),
        "shared": connection.ops.quote_name(SettledPosition._meta.db_table),
    }


def ask(connection: BaseDatabaseWrapper) -> Facts:
    """Return the newest position drawn and what has been shared.

    Raise ``LogUnsafe`` where a settled position could be wrong: isolation above READ COMMITTED, a standby, a sequence
    that cannot be read or that lies behind what is already known.
    """
    names = quoted(connection)
    with connection.cursor() as cursor:
        cursor.execute(_FACTS.format(**names), [names["log"]])
        sequence, readable, role, last, newest, isolation, standby, settled, candidate, holders, started = (
            cursor.fetchone()
        )
    _refuse_unsafe(isolation, standby)
    _refuse_unreadable(sequence, readable, role)
    waiting = None
    if candidate is not None:
        waiting = Waiting(candidate=candidate, holders=frozenset(json.loads(holders)), server_started_at=started)
    facts = Facts(last=last or 0, settled=settled or 0, waiting=waiting, shared=settled is not None)
    _refuse_behind(sequence, facts.last, newest=newest or 0, known=max(facts.settled, facts.candidate or 0))
    return facts


def look(connection: BaseDatabaseWrapper) -> Look:
    """Return the transactions that hold the log's insert lock now, without the connection's own.

    An INSERT takes this lock before it draws a position and keeps it until its commit can be seen. So whoever drew a
    position before this statement began is among them, or its events can be seen by the next statement.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LOOK, [quoted(connection)["log"]])
        rows = cursor.fetchall()
    return Look(
        server_started_at=rows[0][0],
        plain=frozenset(name for _, name, xid in rows if name is not None and xid is None),
        prepared=frozenset(f"{_PREPARED}{xid}" for _, _, xid in rows if xid is not None),
    )


def oldest(connection: BaseDatabaseWrapper) -> OpenAppend | None:
    """Return the open append that began first; ones of unknown age come last."""
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST, [quoted(connection)["log"]])
        row = cursor.fetchone()
    return None if row is None else OpenAppend(age=row[0], pid=row[1], prepared=row[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Appending:
    """The transactions of others that have appended, or are about to, as far as they can be told."""

    age: timedelta | None
    """The time since the first of them began; ``None`` if there is none."""
    is_known: bool
    """Whether the age of each is known, and what they commit will be seen by the next statement."""


def appending(connection: BaseDatabaseWrapper) -> Appending:
    """Return how long the oldest transaction that may still add to the log has been open, without the connection's."""
    with connection.cursor() as cursor:
        cursor.execute(_APPENDING, [quoted(connection)["log"]])
        isolation, standby, count, known, age = cursor.fetchone()
    # A transaction that keeps its snapshot would not see what was committed since.
    moves_on = isolation == "read committed" or not connection.in_atomic_block
    return Appending(age=age, is_known=count == known and moves_on and not standby)


def _refuse_unsafe(isolation: str, standby: bool) -> None:
    if isolation != "read committed":
        raise LogUnsafe(
            f"The log cannot be read at isolation level {isolation.upper()}: events that are settled would not be seen "
            "by a snapshot taken before. Use READ COMMITTED, the default, on the connection that reads the log."
        )
    if standby:
        raise LogUnsafe(
            "The log cannot be read from a standby: it does not know which transactions are open on the primary. "
            'Name the primary in EVENTSOURCING["DATABASE"].'
        )


def _refuse_unreadable(sequence: str | None, readable: bool, role: str) -> None:
    if sequence is None:
        raise LogUnsafe(
            "The log's positions are not drawn by a sequence that belongs to their column. "
            "Restore the identity of the column `position` as the migrations of eventsourcing_app made it."
        )
    if not readable:
        raise LogUnsafe(
            f"The role {role} may not read the sequence of the log's positions. "
            f"Run: GRANT SELECT ON SEQUENCE {sequence} TO {role};"
        )


def _refuse_behind(sequence: str, last: int, *, newest: int, known: int) -> None:
    if last >= max(newest, known):
        return
    found = f"the log holds position {newest}" if newest > last else f"position {known} is already known to readers"
    raise LogUnsafe(
        f"The sequence of the log's positions stands at {last}, but {found}: they come from different backups, and the "
        "next events would be drawn where readers have already been. Stop all writers. Then either restore the whole "
        "database from one backup, or, to keep this log, move the sequence past both: "
        f"SELECT setval('{sequence.replace(chr(39), chr(39) * 2)}', {max(newest, known)});"
    )
