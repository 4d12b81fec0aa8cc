"""Pages by key: each starts where another ended, so that no row is counted and none is skipped over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.db import models

if TYPE_CHECKING:
    from collections.abc import Sequence

M = TypeVar("M", bound=models.Model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[M]):
    """Some rows in order, and whether there may be more on either side."""

    rows: Sequence[M]
    has_previous: bool
    has_next: bool


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
    if after is not None and before is not None:
        raise ValueError("A page begins after one key or ends before another, not both.")
    if after is not None:
        rows = rows.filter(**{f"{key}__gt": after})
    elif before is not None:
        rows = rows.filter(**{f"{key}__lt": before})
    falling = before is not None or (newest_first and after is None)
    found = list(rows.order_by(f"-{key}" if falling else key)[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    if falling is newest_first:
        return Page(rows=found, has_previous=after is not None or before is not None, has_next=more)
    return Page(rows=found[::-1], has_previous=more, has_next=True)
