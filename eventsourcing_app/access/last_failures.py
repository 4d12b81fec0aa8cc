"""What subscriptions failed of last, as far as a user may see it: in a segment that stopped, or at a parked event."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import OuterRef, Subquery

from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.access.subscriptions import quotes_payload, visible_parked
from eventsourcing_app.access.visibility import narrowed_positions
from eventsourcing_app.conf import conf
from eventsourcing_app.subscriptions.records import Segment

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


def hidden_positions(user: Viewer, overviews: Sequence[Overview]) -> set[int]:
    """Return the positions that segments have failed at of which there is no event for the user: nothing is told of
    these failures, not even in the reason of a status."""
    segments = (segment for each in overviews for segment in each.segments)
    positions = {segment.failed_position for segment in segments if segment.failed_position is not None}
    return positions - narrowed_positions(user, positions) if positions else positions


def shows_reason(user: Viewer, overview: Overview, *, hidden: set[int]) -> bool:
    """Whether the user may read the reason of the status."""
    if not quotes_payload(overview.row):
        return True
    return may_view_payload(user) and hidden.isdisjoint(overview.stopped_at)


def last_failures(user: Viewer, overviews: Sequence[Overview], *, hidden: set[int]) -> dict[str, Failure]:
    """Return the last failure of each of these subscriptions that has one. One statement, if some have parked events.

    ``hidden`` is what ``hidden_positions`` says of them.
    """
    shown = may_view_payload(user)
    found: dict[str, Failure] = {}
    for overview in overviews:
        if (segment := overview.failed) is not None:
            is_hidden = segment.failed_position in hidden
            error = last_line(segment.last_error) if shown and not is_hidden else None
            found[overview.row.name] = Failure(segment.failed_at, None if is_hidden else segment.failed_position, error)
    for name, failure in _of_parked(user, [each.row.name for each in overviews if each.lag.parked], shown=shown):
        if name not in found or (found[name].moment or _LONG_AGO) <= (failure.moment or _LONG_AGO):
            found[name] = failure
    return found


def last_line(error: str) -> str:
    """Return the last line of a traceback, which says what it was, cut to a length that a table bears."""
    return error.strip().rpartition("\n")[2][:_LINE]


def _of_parked(user: Viewer, names: Sequence[str], *, shown: bool) -> Iterable[tuple[str, Failure]]:
    """The parked events of these subscriptions that failed last, one of each segment that has some.

    An index leads to them. The moments are compared by the database: SQLite keeps those of its own clock in another
    form than those that it is given.
    """
    if not names:
        return
    parked = visible_parked(user).filter(last_failed_at__isnull=False)
    of_segment = parked.filter(segment=OuterRef("pk")).order_by("-last_failed_at", "-position").values("pk")[:1]
    segments = Segment.objects.using(conf.DATABASE).filter(subscription__in=names).order_by()
    last = parked.filter(pk__in=segments.annotate(last=Subquery(of_segment)).values("last"))
    columns = ("segment__subscription", "last_failed_at", "position", *(("reason",) if shown else ()))
    for name, moment, position, *reason in last.order_by("last_failed_at", "position").values_list(*columns):
        yield name, Failure(moment, position, reason[0] if reason else None)
