"""Where a period of time begins and ends in the log, so that its events are read along their positions.

Times rise with positions, but not strictly: clocks differ, and a long transaction writes an earlier time at a later
position. So a bound is searched for as if they did, by halving, and then moved to the furthest event on the wrong side
of it, which the index over periods finds. No event of the period lies outside its bounds; those inside still have to be
compared with the times. Left to itself, a database takes times and positions for independent of each other, and may
walk through the whole log to the first event of last week.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.log.records import StoredEvent

if TYPE_CHECKING:
    from datetime import datetime

_REACHED = "(SELECT l.recorded_at FROM {log} l WHERE l.position >= (low + high) / 2 ORDER BY l.position LIMIT 1) >= %s"
_SEARCH = """
WITH RECURSIVE search (low, high) AS (
    SELECT (SELECT min(position) FROM {log}), (SELECT max(position) + 1 FROM {log})
    UNION ALL
    SELECT CASE WHEN {reached} THEN low ELSE (low + high) / 2 + 1 END,
        CASE WHEN {reached} THEN (low + high) / 2 ELSE high END
    FROM search WHERE low < high
)
SELECT low, (SELECT min(position) FROM {log}), (SELECT max(position) FROM {log}) FROM search WHERE low >= high
"""
# Each planner would take the log's own key for the way there, and read half of the log: so PostgreSQL gets no order to
# use, and a position that only the index over periods knows in this form.
_FURTHEST = {
    "postgresql": """
SELECT {end}(position) FROM (
    SELECT position FROM {log} WHERE recorded_at {times} %s AND (position + 0) {places} %s OFFSET 0
) AS astray
""",
    "sqlite": """
SELECT {end}(+position) FROM {log}
WHERE {by_place}recorded_at {times} %s AND {by_time}position {places} %s
""",
}


def first_position(since: datetime) -> int:
    """Return a position below which no event was recorded at or after ``since``; two statements."""
    searched = _search(since)
    if searched is None:
        return 0
    near, first, last = searched
    astray = _furthest("min", ">=", since, "<", near, is_short=near - first < (last - first) / 8)
    return near if astray is None else astray


def last_position_before(until: datetime) -> int:
    """Return a position above which no event was recorded before ``until``; two statements."""
    searched = _search(until)
    if searched is None:
        return 0
    near, first, last = searched
    astray = _furthest("max", "<", until, ">=", near, is_short=last - near < (last - first) / 8)
    return near - 1 if astray is None else astray


def _search(moment: datetime) -> tuple[int, int, int] | None:
    """Return where ``moment`` would be if times rose strictly, and the ends of the log; None if it is empty."""
    sql = _SEARCH.format(log=_log(), reached=_REACHED.format(log=_log()))
    found: list[tuple[int, int, int]] = _rows(sql, [_adapted(moment)] * 2)
    return found[0] if found else None


def _furthest(end: str, times: str, moment: datetime, places: str, position: int, *, is_short: bool) -> int | None:
    sql = _FURTHEST[log_connection().vendor].format(
        log=_log(),
        end=end,
        times=times,
        places=places,
        # SQLite takes the index whose column has no sign before it.
        by_place="+" if is_short else "",
        by_time="" if is_short else "+",
    )
    ((found,),) = _rows(sql, [_adapted(moment), position])
    return None if found is None else int(found)


def _rows(sql: str, params: list[Any]) -> list[Any]:
    with log_connection().cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def _log() -> str:
    return log_connection().ops.quote_name(StoredEvent._meta.db_table)


def _adapted(moment: datetime) -> Any:
    return log_connection().ops.adapt_datetimefield_value(moment)
