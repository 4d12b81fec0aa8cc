"""What subscriptions failed of last, as far as a user may see it: in a segment that stopped, or at a parked event."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import Max

from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.access.subscriptions import visible_parked
from eventsourcing_app.access.visibility import narrowed_positions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from eventsourcing_app.access.visibility import Viewer
    from eventsourcing_app.subscriptions.overview import Overview

_LINE = 250
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Failure(NamedTuple):
    """A failure of a subscription."""

    moment: datetime | None
    position: int | None
    """Of the event, if it was one, and there is that event for the user."""
    error: str | None
    """Its last line; ``None`` if it is masked."""


def last_failures(user: Viewer, overviews: Sequence[Overview]) -> dict[str, Failure]:
    """Return the last failure of each of these subscriptions that has one, in three statements at most."""
    shown = may_view_payload(user)
    failed = [(each.row.name, each.failed) for each in overviews]
    positions = {segment.failed_position for _name, segment in failed if segment and segment.failed_position}
    visible = narrowed_positions(user, positions) if positions else positions
    found: dict[str, Failure] = {}
    for name, segment in failed:
        if segment is None:
            continue
        is_hidden = segment.failed_position is not None and segment.failed_position not in visible
        error = last_line(segment.last_error) if shown and not is_hidden else None
        found[name] = Failure(segment.failed_at, None if is_hidden else segment.failed_position, error)
    parked = _of_parked(user, [each.row.name for each in overviews if each.lag.parked], shown=shown)
    for name, failure in parked:
        if name not in found or (found[name].moment or _LONG_AGO) < (failure.moment or _LONG_AGO):
            found[name] = failure
    return found


def last_line(error: str) -> str:
    """Return the last line of a traceback, which says what it was, cut to a length that a table bears."""
    return error.strip().rpartition("\n")[2][:_LINE]


def _of_parked(user: Viewer, names: Sequence[str], *, shown: bool) -> Iterable[tuple[str, Failure]]:
    """The parked event of each that failed last. Two plain statements: no index leads to it, and to sort all that is
    parked would cost more than to look at it twice."""
    if not names:
        return
    parked = visible_parked(user).filter(segment__subscription__in=names, last_failed_at__isnull=False).order_by()
    moments = dict(parked.values_list("segment__subscription").annotate(Max("last_failed_at")))
    last = parked.filter(last_failed_at__in=set(moments.values()))
    columns = ("segment__subscription", "last_failed_at", "position", *(("reason",) if shown else ()))
    for name, moment, position, *reason in last.order_by("position").values_list(*columns):
        if moments[name] == moment:
            yield name, Failure(moment, position, reason[0] if reason else None)
