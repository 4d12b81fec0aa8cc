"""Following the log: what comes next for a reader who has come to a position, without gap and without repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from django.core.exceptions import EmptyResultSet

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from eventsourcing_app.log.records import StoredEvent, StoredEventQuerySet

WINDOW = 100
"""Events read at a time."""


class Window(NamedTuple):
    """Events that follow one another."""

    events: Sequence[StoredEvent]
    reached: int
    """Nothing else that was asked for is at or below this position."""


def read_on(events: StoredEventQuerySet, *, after: int, until: int, limit: int = WINDOW) -> Window:
    """Return the first ``limit`` of ``events`` above the position ``after``, up to and including ``until``.

    ``until`` has to be a settled position that was asked for before, in a statement of its own: only then is there no
    event of an open transaction that could still come between.
    """
    found = list(events.filter(position__gt=after, position__lte=until).order_by("position")[:limit])
    return Window(found, until if len(found) < limit else found[-1].position)


def question_of(events: StoredEventQuerySet) -> Hashable:
    """Return what is asked of the database: querysets that ask the same have the same rows at the same moment."""
    try:
        sql, params = events.query.get_compiler(events.db).as_sql()
    except EmptyResultSet:
        return None
    return sql, tuple(map(repr, params))
