"""What operators do to several parked events at once: all of it is done, or nothing.

It costs a few statements for each segment that holds one of the events, however many they are, where ``operate.retry``
and ``operate.skip`` would look into every segment for each of them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import ngettext

from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import OperationRefused
from eventsourcing_app.subscriptions import acts
from eventsourcing_app.subscriptions.operate import locked, operating
from eventsourcing_app.subscriptions.parking import parked_of, summarize, take_out_all
from eventsourcing_app.subscriptions.records import ParkedEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

_NAMED = 20
"""How many positions a refusal names."""


def retry_parked(chosen: Mapping[str, Collection[int]], *, reason: str) -> None:
    """Try parked events again at once, with all their attempts: for each subscription those at the given positions.

    Raises ``OperationRefused``, and does nothing, if one of them is not parked any more, or waits behind another.
    """
    _all_or_nothing(chosen, _retry, reason)


def skip_parked(chosen: Mapping[str, Collection[int]], *, reason: str) -> None:
    """Give up parked events: for each subscription those at the given positions. The next of their streams may go on.

    Raises ``OperationRefused``, and does nothing, if one of them is not parked any more.
    """
    _all_or_nothing(chosen, _skip, reason)


def _all_or_nothing(
    chosen: Mapping[str, Collection[int]], act: Callable[[str, Collection[int], str], None], reason: str
) -> None:
    refusals = []
    with transaction.atomic(using=conf.DATABASE):
        for name in sorted(chosen):  # in one order, so that two operators never wait for each other
            try:
                act(name, chosen[name], reason)
            except OperationRefused as refused:
                refusals.append(str(refused))
        if refusals:
            raise OperationRefused(" ".join(refusals))


def _retry(name: str, positions: Collection[int], reason: str) -> None:
    with operating(name, reason):
        found = _parked(name, positions)
        rows = [row for in_segment in found.values() for row in in_segment]
        _refuse_gone(name, positions, rows)
        behind = sorted(row.position for row in rows if row.state == ParkedEvent.State.BEHIND)
        if behind:
            raise OperationRefused(
                ngettext(
                    "%(name)s cannot try %(positions)s: it waits behind another event of its stream.",
                    "%(name)s cannot try %(positions)s: they wait behind other events of their streams.",
                    len(behind),
                )
                % {"name": name, "positions": _named(behind)}
            )
        for segment, in_segment in found.items():
            again = parked_of(segment).filter(pk__in=[row.pk for row in in_segment])
            again.update(state=ParkedEvent.State.FAILED, attempts=0, retry_at=Now())
            summarize(segment)
        tried = tuple(sorted(row.position for row in rows))
        acts.record_act(acts.ParkedEventsRetried(subscription=name, reason=reason, positions=tried))


def _skip(name: str, positions: Collection[int], reason: str) -> None:
    with operating(name, reason):
        found = _parked(name, positions)
        rows = sorted((row for in_segment in found.values() for row in in_segment), key=lambda row: row.position)
        _refuse_gone(name, positions, rows)
        for segment, in_segment in found.items():
            take_out_all(segment, in_segment)
        for row in rows:
            acts.record_act(
                acts.EventSkipped(
                    subscription=name, reason=reason, position=row.position, event_id=row.event_id, type=row.type
                )
            )


def _parked(name: str, positions: Collection[int]) -> dict[int, list[ParkedEvent]]:
    """Return what is parked there, by segment, under the lock of the segments."""
    found = defaultdict[int, list[ParkedEvent]](list)
    rows = ParkedEvent.objects.using(conf.DATABASE).filter(
        segment__in=[segment.pk for segment in locked(name)], position__in=positions
    )
    for row in rows.defer("error").order_by("position"):
        found[row.segment_id].append(row)
    return found


def _refuse_gone(name: str, positions: Collection[int], rows: Collection[ParkedEvent]) -> None:
    gone = sorted(set(positions) - {row.position for row in rows})
    if gone:
        raise OperationRefused(
            ngettext(
                "%(name)s has nothing parked at %(positions)s any more: it was handled or skipped in the meantime.",
                "%(name)s has nothing parked at %(positions)s any more: they were handled or skipped in the meantime.",
                len(gone),
            )
            % {"name": name, "positions": _named(gone)}
        )


def _named(positions: Collection[int]) -> str:
    named = ", ".join(f"#{position}" for position in list(positions)[:_NAMED])
    return named if len(positions) <= _NAMED else f"{named}, …"
