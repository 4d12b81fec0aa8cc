"""How long a read may take: on PostgreSQL no question of a client keeps a connection for longer than that."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from django.db import OperationalError, connections, transaction

from eventsourcing_app.conf import conf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

QUERY_CANCELED: Final = "57014"
"""https://www.postgresql.org/docs/current/errcodes-appendix.html"""

# A role or database that allows less keeps what it has. Both are milliseconds; 0 is no limit.
_LOWER = """
SELECT current_setting('statement_timeout'), set_config('statement_timeout', CASE
    WHEN extract(epoch FROM current_setting('statement_timeout')::interval) * 1000 BETWEEN 1 AND %s
    THEN current_setting('statement_timeout') ELSE %s END, true)
"""
_RESTORE = "SELECT set_config('statement_timeout', %s, true)"


class ReadTimedOut(OperationalError):
    """A statement of a bounded read took longer than ``READ_TIMEOUT_SECONDS``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"A read took longer than {seconds:g} s (EVENTSOURCING['READ_TIMEOUT_SECONDS']).")
        self.seconds = seconds


@contextmanager
def bounded_read() -> Iterator[None]:
    """Bound every statement inside on the log's database by ``READ_TIMEOUT_SECONDS``; nothing on SQLite.

    The limit belongs to a transaction: it ends with that, whatever becomes of the connection afterwards, and a pooler
    may give each transaction another server. In a transaction that is open already it is put back at the end. It costs
    one statement, besides BEGIN and COMMIT. Raises ``ReadTimedOut``.
    """
    connection = connections[conf.DATABASE]
    seconds = conf.READ_TIMEOUT_SECONDS
    if seconds is None or connection.vendor != "postgresql":
        yield
        return
    nested = connection.in_atomic_block
    try:
        with transaction.atomic(using=conf.DATABASE):
            before = _lower(connection, max(1, round(seconds * 1000)))
            yield
            if nested:  # after an error the savepoint puts it back
                with connection.cursor() as cursor:
                    cursor.execute(_RESTORE, [before])
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) != QUERY_CANCELED:
            raise
        raise ReadTimedOut(seconds) from error


def _lower(connection: BaseDatabaseWrapper, milliseconds: int) -> str:
    with connection.cursor() as cursor:
        cursor.execute(_LOWER, [milliseconds, str(milliseconds)])
        before: str = cursor.fetchone()[0]
    return before
