"""Locking what a user may act on: the row that the user's own query gives, whatever that query computes beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from django.db.models import Model

from eventsourcing_app.conf import conf

if TYPE_CHECKING:
    from django.db.models import QuerySet

M = TypeVar("M", bound=Model)


def locking(rows: QuerySet[M]) -> tuple[QuerySet[M], bool]:
    """Return the query that locks the rows of another one, and whether it had to be another query.

    Then a row may have gone out of the first one while the lock was waited for: ask that again once it is held.
    """
    query = rows.query
    windows = any(getattr(each, "contains_over_clause", False) for each in query.annotations.values())
    rewritten = bool(query.distinct or query.group_by is not None or windows)
    if rewritten:
        # PostgreSQL locks no rows of these; the rows that they come from it does.
        rows = rows.model._default_manager.using(conf.DATABASE).filter(pk__in=rows.order_by().values("pk"))
    return rows.select_for_update(no_key=True, of=("self",)), rewritten
