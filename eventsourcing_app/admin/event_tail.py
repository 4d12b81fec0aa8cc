"""The live tail of the list of events: what has become final since a position, as rows of the list.

A list may show events that are not settled yet, and others may still come below them. So whoever follows it begins at
the position that was settled before the list was read: every event that the list could have missed lies above it, and
every event is told once. Those that the list has shown already, the reader leaves out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from django.contrib.admin.templatetags.admin_list import results
from django.core.exceptions import BadRequest
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode

from eventsourcing_app.access.timeouts import bounded_read
from eventsourcing_app.admin.event_pages import EventList, is_live
from eventsourcing_app.admin.keyset import AFTER, position_in
from eventsourcing_app.exceptions import LogUnsafe
from eventsourcing_app.log.settled import settled_position

if TYPE_CHECKING:
    from django.http import HttpRequest


class Row(TypedDict):
    """One event as a row of the list."""

    position: int
    html: str


class Answer(TypedDict):
    """What the script of the list is told."""

    reached: int
    """From where to go on."""
    rows: list[Row]
    """The newest first."""
    skipped: bool
    """Whether there were more, which are left out."""


def tail_start() -> tuple[int | None, str]:
    """Return where a tail of a list begins that is read afterwards; or nothing, and why there can be none."""
    try:
        return settled_position(), ""
    except LogUnsafe as error:
        return None, str(error)


class EventTail(EventList):
    """The newest settled events after ``?after=``."""

    reached: int
    skipped: bool

    @classmethod
    def goes_on(cls, request: HttpRequest) -> bool:
        is_live(request)  # refuses what it cannot be
        return True

    def read(self, request: HttpRequest) -> None:
        after = position_in(request, AFTER)
        if after is None:
            raise BadRequest(f"'{AFTER}' must be the position after which to begin.")
        most: int = self.model_admin.tail_rows  # type: ignore[attr-defined]
        # In a statement before that which reads, and in a transaction of its own, so that other workers may use it.
        until = settled_position(beyond=after)
        found: list[Any] = []
        if until > after:
            within = self.queryset.filter(position__gt=after, position__lte=until)
            with bounded_read():
                found = list(within.order_by("-position")[: most + 1])
        # What was settled once stays so, also where a worker does not know it.
        self.reached, self.skipped = max(after, until), len(found) > most
        self.result_list = found[:most]
        self.formset = None
        # The links of its rows lead back to the list, as those of the list do.
        shown = request.GET.copy()
        del shown[AFTER]
        self.preserved_filters = urlencode({"_changelist_filters": shown.urlencode()})

    def answer(self) -> Answer:
        """Return what is told of it."""
        cells = results(self)
        rows = [
            Row(
                position=event.pk,
                html=format_html("<tr>{}</tr>", format_html_join("", "{}", ((cell,) for cell in row))),
            )
            for event, row in zip(self.result_list, cells, strict=True)
        ]
        return Answer(reached=self.reached, rows=rows, skipped=self.skipped)
