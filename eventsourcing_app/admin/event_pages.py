"""What a page of events, an export of them and the live tail have in common: their filters, and what is fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.contrib.admin.views.main import SEARCH_VAR
from django.core.exceptions import BadRequest

from eventsourcing_app.access.masking import PAYLOAD, may_view_payload
from eventsourcing_app.admin.keyset import AFTER, BEFORE, KeysetChangeList
from eventsourcing_app.admin.people import people
from eventsourcing_app.admin.stream_names import names_of_streams
from eventsourcing_app.admin.summaries import LENGTH
from eventsourcing_app.log.beginning import Beginning

if TYPE_CHECKING:
    from django.http import HttpRequest

    from eventsourcing_app.access.visibility import Viewer
    from eventsourcing_app.log.records import StoredEventQuerySet

LIVE, FORMAT = "live", "format"
BEGINNING: Final = "beginning_of_data"
"""What an event of a list has in place of its data."""
STAYS: Final = "stays_on_page"
"""What it has set if its row stays on a page that goes on."""


def is_live(request: HttpRequest) -> bool:
    """Whether the list shall go on by itself. Older pages of it do not: what is new does not belong there."""
    live = request.GET.get(LIVE)
    if live not in (None, "1"):
        raise BadRequest(f"'{LIVE}' can only be 1.")
    return live is not None and BEFORE not in request.GET and AFTER not in request.GET


def with_beginnings(events: StoredEventQuerySet, user: Viewer) -> StoredEventQuerySet:
    """Fetch no more of what events say than one line takes, and nothing of what the user may not see."""
    briefly = events.defer(*PAYLOAD)
    return briefly.annotate(**{BEGINNING: Beginning("data", LENGTH)}) if may_view_payload(user) else briefly


class EventList(KeysetChangeList):
    """A page of events. It shows one line of the data, so it fetches no more than that takes.

    Each comes with the ``people`` among the actors of the page, and with the ``stream_names``.
    """

    is_live: bool
    beside_filters: ClassVar[tuple[str, ...]] = (LIVE,)
    """Parameters that filter nothing."""

    @classmethod
    def goes_on(cls, request: HttpRequest) -> bool:
        """Whether the page stays open while time goes by."""
        return is_live(request)

    def get_results(self, request: HttpRequest) -> None:
        self.is_live = self.goes_on(request)
        self.has_active_filters = self.has_active_filters or SEARCH_VAR in self.params
        self.queryset = with_beginnings(self.queryset, request.user)
        self.read(request)
        site = self.model_admin.admin_site
        known = people(site, request, (event.actor for event in self.result_list))
        names = names_of_streams(site, request, self.result_list)
        for event in self.result_list:
            event.people, event.stream_names = known, names
            setattr(event, STAYS, self.is_live)

    def read(self, request: HttpRequest) -> None:
        """Fetch the rows."""
        super().get_results(request)

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        filters: dict[str, Any] = super().get_filters_params(params)
        for name in self.beside_filters:
            filters.pop(name, None)
        return filters

    @property
    def positions(self) -> list[int]:
        """The positions of the rows, as they are shown."""
        return [event.pk for event in self.result_list]

    @property
    def live_url(self) -> str:
        """The newest page, going on by itself."""
        return str(self.get_query_string({LIVE: "1"}))

    @property
    def still_url(self) -> str:
        """The newest page as it is now."""
        return str(self.get_query_string(remove=[LIVE]))

    @property
    def csv_query(self) -> str:
        """What is filtered here, as a table."""
        return str(self.get_query_string({FORMAT: "csv"}, remove=[LIVE]))

    @property
    def ndjson_query(self) -> str:
        """What is filtered here, as lines of JSON."""
        return str(self.get_query_string({FORMAT: "ndjson"}, remove=[LIVE]))


class EventsToExport(EventList):
    """What is filtered, whole: an export reads it itself."""

    beside_filters = (LIVE, FORMAT)

    def get_results(self, request: HttpRequest) -> None:
        self.result_list = []
