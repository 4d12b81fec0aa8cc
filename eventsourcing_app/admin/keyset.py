"""A list of the admin in pages by key: no COUNT, no OFFSET, so page 1,000 costs what page 1 costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.core.exceptions import BadRequest
from django.core.paginator import Paginator

from eventsourcing_app.access.events import position_from
from eventsourcing_app.access.pages import page_of

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

AFTER, BEFORE = "after", "before"


class KeysetChangeList(ChangeList):
    """Newest first; ``?before=`` and ``?after=`` a position go to older and newer pages.

    What cannot be understood is answered with 400, rather than with another list than was asked for.
    """

    newer_url: str | None = None
    older_url: str | None = None

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        # Links to filters, and the search form, start at the first page again.
        for name in (AFTER, BEFORE, PAGE_VAR):
            self.params.pop(name, None)
            self.filter_params.pop(name, None)
        try:
            return super().get_queryset(request, exclude_parameters)
        except IncorrectLookupParameters as error:
            raise BadRequest("The list cannot be filtered like that.") from error

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return ["-pk"]

    def get_ordering_field_columns(self) -> dict[int, Any]:
        return {}

    def get_results(self, request: HttpRequest) -> None:
        key = self.opts.pk.name
        after, before = position_in(request, AFTER), position_in(request, BEFORE)
        if after is not None and before is not None:
            raise BadRequest("Give 'after' or 'before', not both.")
        page = page_of(self.queryset, key, limit=self.list_per_page, after=after, before=before, newest_first=True)
        self.result_list = list(page.rows)
        self.result_count = self.full_result_count = len(page.rows)
        self.show_full_result_count = self.show_admin_actions = False
        self.can_show_all = self.multi_page = False
        self.paginator = Paginator(self.result_list, self.list_per_page)
        if page.rows and page.has_previous:
            self.newer_url = self.get_query_string({AFTER: page.rows[0].pk})
        if page.rows and page.has_next:
            self.older_url = self.get_query_string({BEFORE: page.rows[-1].pk})
        self.newest_url = self.get_query_string()


def position_in(request: HttpRequest, name: str) -> int | None:
    """Return the position that a parameter is, if it is given; answer 400 if it is none."""
    text = request.GET.get(name)
    if text is None:
        return None
    position = position_from(text)
    if position is None:
        raise BadRequest(f"'{name}' must be a position.")
    return position
