"""The one place where the database's errors become ours: by constraint name or marker, never by prose."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import DatabaseError, DataError, IntegrityError, OperationalError

from eventsourcing_app.exceptions import ConcurrencyError, LogUnsafe

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFLICT = "eventsourcing:conflict"
"""Marker of SQLite's guard over the key of a stream's versions: it speaks before the UNIQUE constraint does."""

STREAM_VERSION = "eventsourcing_stream_version"
"""Name of the constraint that gives each aggregate one history."""

_LOST_RACES = ("40001", "40P01")
"""SQLSTATE of a serialization failure, and of a deadlock that was broken by giving up this transaction."""

_TIMEOUTS = ("55P03", "57014")
"""SQLSTATE after ``lock_timeout`` and ``statement_timeout``: others have held what this one needs for too long."""

_BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED")
"""How SQLite's names begin for "database is locked": another connection writes."""

_DIVISION_BY_ZERO = "22012"
_DISCARDED = (
    "The log did not take every event: a trigger or rule of the database discards rows. Nothing was stored. Remove it: "
    "an event that is not kept is no event."
)
_PRIMARY_KEY = re.compile(r"_pkey\d*\Z")


@contextmanager
def conflicts_translated(
    stream_type: str, stream_key: str, *, expected: int | None, primary_key: str | None = None
) -> Iterator[None]:
    """Turn a lost race into ``ConcurrencyError``; let every other error pass.

    ``primary_key`` is ``table.column`` of the row to be created, whose duplicate is a lost race as well.
    """
    try:
        yield
    except (IntegrityError, OperationalError) as error:
        if _is_conflict(error, primary_key):
            raise ConcurrencyError(stream_type, stream_key, expected=expected) from error
        raise


def is_lost_race(error: BaseException) -> bool:
    """Whether this transaction was given up for the sake of another one, so that to run it again may succeed.

    Wherever it arises: in a statement of ours, in one of Django, or on COMMIT. The end of a connection is none: nobody
    knows whether a COMMIT that was under way has been done.
    """
    if isinstance(error, ConcurrencyError):
        return True
    cause = error.__cause__ if isinstance(error, DatabaseError) else None
    if getattr(getattr(cause, "diag", None), "sqlstate", None) in _LOST_RACES:
        return True
    return getattr(cause, "sqlite_errorname", "").startswith(_BUSY)


def is_too_busy(error: BaseException) -> bool:
    """Whether the transaction was given up because of others: by a lost race, or since it has waited long enough."""
    cause = error.__cause__ if isinstance(error, DatabaseError) else None
    return is_lost_race(error) or getattr(getattr(cause, "diag", None), "sqlstate", None) in _TIMEOUTS


@contextmanager
def discards_translated() -> Iterator[None]:
    """Turn the division by zero with which ``append`` undoes itself into ``LogUnsafe``."""
    try:
        yield
    except DataError as error:
        if getattr(getattr(error.__cause__, "diag", None), "sqlstate", "") == _DIVISION_BY_ZERO:
            raise LogUnsafe(_DISCARDED) from error
        raise


def require_all_taken(taken: int, written: int) -> None:
    """Raise ``LogUnsafe`` if the log has not taken every row that was written."""
    if taken != written:
        raise LogUnsafe(_DISCARDED)


def _is_conflict(error: Exception, primary_key: str | None) -> bool:
    cause = error.__cause__
    diagnostics = getattr(cause, "diag", None)
    if diagnostics is not None:
        if diagnostics.sqlstate in _LOST_RACES:
            return True
        if diagnostics.constraint_name == STREAM_VERSION:
            return True
        # The constraint keeps its name when the table is renamed, and PostgreSQL shortens long ones and numbers others.
        table = None if primary_key is None else primary_key.partition(".")[0]
        return diagnostics.table_name == table and bool(_PRIMARY_KEY.search(diagnostics.constraint_name or ""))
    message = str(cause)
    if getattr(cause, "sqlite_errorname", "") == "SQLITE_CONSTRAINT_TRIGGER":
        return message.startswith(CONFLICT)
    return primary_key is not None and message == f"UNIQUE constraint failed: {primary_key}"
