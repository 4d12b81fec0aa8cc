"""Parked events in groups, by subscription and kind of error: one statement over the parked rows, and no more groups
than are asked for.

The kind of an error is what stands before its first colon: the class of the exception, as the line of each error
begins with it. What follows quotes ids, amounts and names, so each event would become a group of its own by the whole
line; and only a class can be told by both databases without a look at every row. A group gives one of its lines as an
example, and says if all are alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.db.models import BooleanField, Case, Count, F, Max, Min, Q, Value, When
from django.db.models.functions import Left, StrIndex

from eventsourcing_app.subscriptions.records import ParkedEvent

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import QuerySet

_BEHIND, _DEAD = ParkedEvent.State.BEHIND, ParkedEvent.State.DEAD


class ParkedGroup(NamedTuple):
    """Some parked events of one subscription."""

    subscription: str
    waits_behind: bool
    """Whether they wait behind others of their streams: they have not failed, and only those others can be tried."""
    error: str
    """The kind of their errors; empty if they have none yet, or are not grouped by it."""
    number: int
    dead: int
    attempts: tuple[int, int]
    """The fewest and the most."""
    first: datetime | None
    last: datetime | None
    retry_at: datetime | None
    example: str
    """The line of one of their errors; empty if they are not grouped by it."""
    is_alike: bool
    """Whether all have that line."""


def parked_groups(rows: QuerySet[ParkedEvent], *, by_error: bool, most: int) -> list[ParkedGroup]:
    """Return the ``most`` largest groups of ``rows``. Without ``by_error``, errors are not even read."""
    keys = ["segment__subscription", "waits_behind", *(["kind_of_error"] if by_error else [])]
    figures: dict[str, Any] = {
        "number": Count("pk"),
        "dead": Count("pk", filter=Q(state=_DEAD)),
        "fewest": Min("attempts"),
        "most": Max("attempts"),
        "first": Min("first_failed_at"),
        "last": Max("last_failed_at"),
        "due": Min("retry_at"),
    }
    if by_error:
        figures |= {"example": Min("reason"), "another": Max("reason")}
    is_behind = Case(When(state=_BEHIND, then=True), default=False, output_field=BooleanField())
    grouped = _with_kind(rows.order_by()) if by_error else rows.order_by()
    found = grouped.annotate(waits_behind=is_behind).values(*keys).annotate(**figures)
    return [_group(each) for each in found.order_by("-number", *keys)[:most]]


def of_error(rows: QuerySet[ParkedEvent], kind: str) -> QuerySet[ParkedEvent]:
    """Keep those that failed with this kind of error; an empty one is that of events that have not been tried."""
    return _with_kind(rows).filter(kind_of_error=kind).exclude(state=_BEHIND)


def _with_kind(rows: QuerySet[ParkedEvent]) -> QuerySet[Any]:
    until = StrIndex("reason", Value(":")) - 1
    kind = Case(
        When(state=_BEHIND, then=Value("")),
        When(reason__contains=":", then=Left("reason", until)),
        default=F("reason"),
    )
    return rows.annotate(kind_of_error=kind)


def _group(found: dict[str, Any]) -> ParkedGroup:
    return ParkedGroup(
        subscription=found["segment__subscription"],
        waits_behind=bool(found["waits_behind"]),
        error=found.get("kind_of_error", ""),
        number=found["number"],
        dead=found["dead"],
        attempts=(found["fewest"], found["most"]),
        first=found["first"],
        last=found["last"],
        retry_at=found["due"],
        example=found.get("example", ""),
        is_alike=found.get("example", "") == found.get("another", ""),
    )
