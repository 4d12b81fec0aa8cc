"""All that is known of some subscriptions: rows, lags and segments, in two queries however many they are."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from eventsourcing_app.conf import conf
from eventsourcing_app.subscriptions.lag import lags
from eventsourcing_app.subscriptions.records import Segment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventsourcing_app.subscriptions.lag import Lag
    from eventsourcing_app.subscriptions.records import Subscription


class Overview(NamedTuple):
    """One subscription: what it is, how far it is behind, and its segments in order of their numbers."""

    row: Subscription
    lag: Lag
    segments: Sequence[Segment]

    @property
    def failed(self) -> Segment | None:
        """The segment that failed last, among those that still say of what."""
        failed = [segment for segment in self.segments if segment.last_error]
        return max(failed, key=_moment, default=None)

    @property
    def stopped_at(self) -> list[int]:
        """The events that segments have stopped at, in order."""
        return sorted(segment.stopped_at for segment in self.segments if segment.stopped_at is not None)


def overviews(rows: Sequence[Subscription]) -> list[Overview]:
    """Return the overviews of these subscriptions, in their order; one that is gone by now is left out."""
    names = [row.name for row in rows]
    found = {lag.name: lag for lag in lags(names)}
    segments = defaultdict[str, list[Segment]](list)
    for segment in Segment.objects.using(conf.DATABASE).filter(subscription__in=names).order_by("number"):
        segments[segment.subscription_id].append(segment)
    return [Overview(row, found[row.name], segments[row.name]) for row in rows if row.name in found]


def _moment(segment: Segment) -> float:
    return 0.0 if segment.failed_at is None else segment.failed_at.timestamp()
