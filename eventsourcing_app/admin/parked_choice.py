"""Which parked events an operator means to act on: ticked ones, one, or a group; never more than the user may see.

The form names each by its key and its position, so that what is confirmed is what was shown, and what has gone since
can be named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from django.core.exceptions import BadRequest

from eventsourcing_app.access.events import is_text, position_from
from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.access.subscriptions import filtered_parked, visible_parked
from eventsourcing_app.subscriptions.parked_groups import of_error
from eventsourcing_app.subscriptions.records import ParkedEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest

MOST: Final = 1000
"""How many parked events can be acted on at once."""
_WRITTEN = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The rows, in the order of subscription and position, and what is not among them."""

    rows: Sequence[ParkedEvent]
    has_more: bool = False
    """Whether others belong to the group that come after the first ``MOST``."""
    gone: Sequence[int] = field(default=())
    """The positions of those that are parked no more."""

    @property
    def written(self) -> str:
        """The choice as the form sends it back."""
        return ",".join(f"{row.pk}-{row.position}" for row in self.rows)

    @property
    def positions(self) -> dict[str, list[int]]:
        """The positions by subscription."""
        found: dict[str, list[int]] = {}
        for row in self.rows:
            found.setdefault(row.segment.subscription_id, []).append(row.position)
        return found


def ticked(request: HttpRequest, keys: Iterable[str]) -> Choice:
    """Return the parked events with these keys. Raises ``BadRequest`` for what can be no key, or too many of them."""
    given = list(keys)
    chosen = [key for each in given[: MOST + 1] if (key := position_from(each)) is not None]
    if len(chosen) != len(given) or len(chosen) > MOST:
        raise BadRequest(f"Choose parked events by their keys, no more than {MOST} of them.")
    return _limited(visible_parked(request.user).filter(pk__in=chosen))


def asked(request: HttpRequest) -> Choice:
    """Return what the address names: ``?id=`` one or more, or a group by ``?subscription= &state= &error=``.

    Of a group those are left out that wait behind others. Raises ``BadRequest`` for other parameters.
    """
    query = {name: str(values[-1]) for name, values in request.GET.lists()}
    if not all(map(is_text, (*query, *query.values()))):
        raise BadRequest("A parameter of the address contains a character that no text has.")
    if set(query) == {"id"}:
        return ticked(request, request.GET.getlist("id"))
    rows = visible_parked(request.user).exclude(state=ParkedEvent.State.BEHIND)
    error = query.pop("error", None) if may_view_payload(request.user) else None
    if "subscription" not in query:
        raise BadRequest("Say which parked events: by 'id', or by 'subscription'.")
    for name, value in query.items():
        try:
            rows = filtered_parked(rows, name, value)
        except ValueError as wrong:
            raise BadRequest(str(wrong)) from wrong
    return _limited(rows if error is None else of_error(rows, error))


def confirmed(request: HttpRequest) -> Choice:
    """Return what a form sends back. Raises ``BadRequest`` for what no form has sent."""
    parts = request.POST.get("chosen", "").split(",")
    found = [match for part in parts[: MOST + 1] if (match := _WRITTEN.fullmatch(part))]
    if len(found) != len(parts) or len(parts) > MOST:
        raise BadRequest("What was chosen cannot be read. Choose again.")
    wanted = {match[1]: int(match[2]) for match in found}
    choice = ticked(request, wanted)
    there = {str(row.pk) for row in choice.rows}
    return Choice(rows=choice.rows, gone=sorted(position for key, position in wanted.items() if key not in there))


def _limited(rows: QuerySet[ParkedEvent]) -> Choice:
    ordered = rows.select_related("segment__subscription").defer("error")
    found = list(ordered.order_by("segment__subscription", "position")[: MOST + 1])
    return Choice(rows=found[:MOST], has_more=len(found) > MOST)
