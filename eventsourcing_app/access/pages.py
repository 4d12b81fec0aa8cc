"""Pages by key: each starts where another ended, so that no row is counted and none is skipped over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.db import models
from django.db.models import F, Q
from django.db.models.expressions import OrderBy

if TYPE_CHECKING:
    from collections.abc import Sequence

M = TypeVar("M", bound=models.Model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[M]):
    """Some rows in order, and whether there may be more on either side."""

    rows: Sequence[M]
    has_previous: bool
    has_next: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of an order: a field of the model by its name, never a name from outside. Nulls come last."""

    name: str
    falling: bool = False
    nullable: bool = False

    def ordered(self, *, backwards: bool) -> OrderBy:
        """Return it for ``order_by``: databases disagree on where nulls come, so each nullable column says it."""
        descending = self.falling is not backwards
        if not self.nullable:  # nothing to say, and an index serves both directions
            return OrderBy(F(self.name), descending=descending)
        nulls = {"nulls_first": True} if backwards else {"nulls_last": True}
        return OrderBy(F(self.name), descending=descending, **nulls)

    def equals(self, value: object) -> Q:
        """Return the condition that a row has this value."""
        return Q((f"{self.name}__isnull", True)) if value is None else Q((self.name, value))

    def beyond(self, value: object, *, backwards: bool) -> Q | None:
        """Return the condition that a row comes strictly after ``value``, or before it; ``None`` if no row can."""
        if value is None:
            return Q((f"{self.name}__isnull", False)) if backwards else None
        larger = Q((f"{self.name}__{'lt' if self.falling is not backwards else 'gt'}", value))
        if self.nullable and not backwards:
            larger |= Q((f"{self.name}__isnull", True))
        return larger


def page_of(
    rows: models.QuerySet[M],
    key: str,
    *,
    limit: int,
    after: Any = None,
    before: Any = None,
    newest_first: bool = False,
) -> Page[M]:
    """Return the first ``limit`` rows whose unique ``key`` is above ``after``, or the last ones below ``before``.

    With ``newest_first`` the page is in falling order, and without ``after`` and ``before`` it is the newest one.
    Raises ``ValueError`` if both are given.
    """
    start = None if after is None else (after,)
    end = None if before is None else (before,)
    if newest_first:  # what is above a key comes before it
        start, end = end, start
    return ordered_page_of(rows, [Column(name=key, falling=newest_first)], limit=limit, after=start, before=end)


def ordered_page_of(
    rows: models.QuerySet[M],
    order: Sequence[Column],
    *,
    limit: int,
    after: Sequence[Any] | None = None,
    before: Sequence[Any] | None = None,
) -> Page[M]:
    """Return the first ``limit`` rows in ``order`` that come after the place ``after``, or the last ones before
    ``before``. A place has one value for each column of the order; no row need stand there.

    All columns together must be unique: end the order with the primary key. Raises ``ValueError`` if both are given.
    """
    if after is not None and before is not None:
        raise ValueError("A page begins after one key or ends before another, not both.")
    backwards = before is not None
    if (place := before if backwards else after) is not None:
        rows = rows.filter(_beyond(order, place, backwards=backwards))
    # By its list of expressions the queryset forgets any order of its own.
    found = list(rows.order_by(*(column.ordered(backwards=backwards) for column in order))[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    if backwards:
        return Page(rows=found[::-1], has_previous=more, has_next=True)
    return Page(rows=found, has_previous=after is not None, has_next=more)


def _beyond(order: Sequence[Column], place: Sequence[Any], *, backwards: bool) -> Q:
    """``(a, b) > (x, y)`` as ``a > x OR (a = x AND b > y)``: only so can each column have its direction and nulls."""
    wanted, equal = Q(), Q()
    for column, value in zip(order, place, strict=True):
        if (further := column.beyond(value, backwards=backwards)) is not None:
            wanted |= equal & further
        equal &= column.equals(value)
    if not wanted:  # after a null that nothing but the key could follow, and there is no key
        return Q(pk__in=())
    first, value = order[0], place[0]
    if len(order) > 1 and value is not None and not (first.nullable and not backwards):
        # It follows from the rest, but no planner finds that: so an index on the first column begins at the place.
        wanted &= Q((f"{first.name}__{'lte' if first.falling is not backwards else 'gte'}", value))
    return wanted
