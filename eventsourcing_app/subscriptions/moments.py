"""The database's clock, in SQL: workers on several machines need not agree on the time.

In a transaction it goes on from statement to statement, as ``django.db.models.functions.Now`` does.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django.utils.dateparse import parse_datetime

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


def now(connection: BaseDatabaseWrapper, *, plus: float = 0.0) -> str:
    """Return the SQL of the time in ``plus`` seconds, for a statement that has parameters."""
    if connection.vendor == "postgresql":
        return f"(STATEMENT_TIMESTAMP() + interval '{plus:.6f} seconds')"
    return f"STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW', '{plus:+.6f} seconds')"


def moment_of(stored: object) -> datetime | None:
    """Return a time as a statement of plain SQL gives it: SQLite has text for it, without a zone."""
    moment = stored if isinstance(stored, datetime) or stored is None else parse_datetime(str(stored))
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
