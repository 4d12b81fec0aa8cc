"""The list of stored events: newest first, filtered, one line for each; exported, and followed as the log grows."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from django.core.exceptions import BadRequest, PermissionDenied
from django.http import JsonResponse
from django.urls import path, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from eventsourcing_app.access.download import download_of
from eventsourcing_app.access.events import FILTERS, found
from eventsourcing_app.access.export import CONTENT_TYPES, Export
from eventsourcing_app.access.masking import PAYLOAD, without_masked
from eventsourcing_app.access.timeouts import ReadTimedOut, bounded_read
from eventsourcing_app.access.visibility import may_export_events, may_view_events, visible_events
from eventsourcing_app.admin.columns import ColumnsAdmin, Reader, column
from eventsourcing_app.admin.event_pages import BEGINNING, FORMAT, STAYS, EventList, EventsToExport, is_live
from eventsourcing_app.admin.event_tail import EventTail, tail_start
from eventsourcing_app.admin.filters import (
    ActorFilter,
    CausationFilter,
    CorrelationFilter,
    StreamKeyFilter,
    StreamTypeFilter,
    TypeFilter,
)
from eventsourcing_app.admin.links import linked
from eventsourcing_app.admin.pages import page
from eventsourcing_app.admin.people import told
from eventsourcing_app.admin.period import PARAMETERS, PeriodFilter
from eventsourcing_app.admin.read_only import require_reading, require_text
from eventsourcing_app.admin.summaries import summary_of
from eventsourcing_app.admin.times import both, utc
from eventsourcing_app.admin.values import NOTHING, breakable, brief, masked
from eventsourcing_app.exceptions import LogUnsafe
from eventsourcing_app.log.records import StoredEvent

if TYPE_CHECKING:
    from django.db.models import Model
    from django.http import HttpRequest, HttpResponse, HttpResponseBase
    from django.urls import URLPattern

    from eventsourcing_app.admin.columns import ListDisplay
    from eventsourcing_app.log.records import StoredEventQuerySet

E = TypeVar("E", bound=EventList)


class EventListAdmin(ColumnsAdmin[StoredEvent]):
    """The list, its exports and its live tail; all of them have the same filters and the same search."""

    masked_fields = PAYLOAD
    list_display: ListDisplay = (
        "position",
        "recorded",
        "stream",
        "wire_name",
        "version",
        "actor",
        "data",
        "correlation",
    )
    list_filter = (
        PeriodFilter, TypeFilter, StreamTypeFilter, StreamKeyFilter, ActorFilter, CorrelationFilter, CausationFilter,
    )  # fmt: skip
    list_per_page = 100
    sortable_by = ()
    search_fields = FILTERS
    search_help_text = _(
        "Exact: a position, an actor such as user:7, a correlation id, an event id, a stream key or a type."
    )
    show_full_result_count = False
    tail_rows = 50
    """Events that one answer of the live tail brings at most: of more, the newest."""
    changelist_class: ClassVar[type[EventList]] = EventList
    """The list of the page; ``get_changelist()`` may return another."""
    export_class: ClassVar[type[EventsToExport]] = EventsToExport
    tail_class: ClassVar[type[EventTail]] = EventTail

    class Media:
        css = {"all": ["eventsourcing_app/admin.css", "eventsourcing_app/log.css"]}

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return may_view_events(request.user)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return may_view_events(request.user)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        return [
            path("export/", wrap(self.export_view), name=f"{name}_export"),
            path("tail/", wrap(self.tail_view), name=f"{name}_tail"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> StoredEventQuerySet:
        return without_masked(visible_events(request.user), request.user)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[EventList]:
        return self.changelist_class

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup in FILTERS or lookup in PARAMETERS

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[StoredEventQuerySet, bool]:
        return (found(queryset, search_term) if search_term.strip() else queryset), False

    # Columns

    @column(_("recorded at"))
    def recorded(self, event: StoredEvent, reader: Reader) -> str:
        """When, exactly and how long ago; without the latter on a page that stays open, where that becomes wrong."""
        return utc(event.recorded_at) if getattr(event, STAYS, False) else both(event.recorded_at)

    @column(_("stream"))
    def stream(self, event: StoredEvent, reader: Reader) -> str:
        """Its stream, by the name of the aggregate, to which it leads."""
        return reader.links.stream(event, event.stream_names, in_brief=True)  # type: ignore[attr-defined]  # by the list

    @column(_("type"))
    def wire_name(self, event: StoredEvent, reader: Reader) -> str:
        """Its wire name, which a narrow column may break between its words."""
        return breakable(event.type)

    @column(_("actor"))
    def actor(self, event: StoredEvent, reader: Reader) -> str:
        """Who did it; leads to all that they did."""
        return told(event.actor, reader.links, event.people)  # type: ignore[attr-defined]  # by the list

    @column(_("data"))
    def data(self, event: StoredEvent, reader: Reader) -> str:
        """What it says, in one line."""
        return (summary_of(getattr(event, BEGINNING)) or NOTHING) if reader.sees_payload else masked()

    @column(_("correlation"))
    def correlation(self, event: StoredEvent, reader: Reader) -> str:
        """The beginning of its correlation id; leads to the tree of what happened because of one request."""
        name = event.correlation_id
        if not name:
            return NOTHING
        return linked(brief(name), reader.links.correlation_url(name) or reader.links.events_url(correlation_id=name))

    # Pages

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list. With ``?live=1`` it goes on by itself."""
        require_text(request)
        context: dict[str, Any] = {"may_export": may_export_events(request.user)}
        if is_live(request) and self.has_view_permission(request):
            # Before the rows are read: whatever may still come below them lies above it.
            context["tail_start"], context["tail_problem"] = tail_start()
            context["tail_url"] = self._url("tail")
        context["export_url"] = self._url("export")
        try:
            with bounded_read():
                return super().changelist_view(request, {**context, **(extra_context or {})})
        except ReadTimedOut as error:
            return self._timed_out(request, error)

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """All that is filtered, oldest first, as a file: ``?format=csv`` or ``?format=ndjson``."""
        require_reading(request)
        if not may_export_events(request.user):
            raise PermissionDenied
        require_text(request)
        form = next((form for form in CONTENT_TYPES if form == request.GET.get(FORMAT)), None)
        if form is None:
            raise BadRequest(f"'{FORMAT}' must be one of {', '.join(CONTENT_TYPES)}.")
        try:
            with bounded_read():
                events = self._list_of(request, self.export_class).queryset
            export = Export(events, form, user=request.user)
        except ReadTimedOut as error:
            return self._timed_out(request, error)
        except LogUnsafe as error:
            template = "admin/eventsourcing_app/storedevent/not_exported.html"
            return page(
                request, self, template, {"problem": str(error)}, title=gettext("Nothing was exported"), status=503
            )
        return download_of(export, request)

    def tail_view(self, request: HttpRequest) -> HttpResponse:
        """What has come after the position ``?after=``, for the script of the list."""
        require_reading(request)
        if not self.has_view_permission(request):
            raise PermissionDenied
        require_text(request)
        try:
            answer = JsonResponse(self._list_of(request, self.tail_class).answer())
        except (LogUnsafe, ReadTimedOut) as error:
            answer = JsonResponse({"error": str(error)}, status=503)
        answer.headers["Cache-Control"] = "private, no-store"
        return answer

    def _list_of(self, request: HttpRequest, kind: type[E]) -> E:
        """Return a list of another kind, made as Django makes that of the page."""
        other: Any = copy(self)  # of which Django asks for the class
        other.get_changelist = lambda *_args, **_kwargs: kind
        made: E = other.get_changelist_instance(request)
        return made

    def _timed_out(self, request: HttpRequest, error: ReadTimedOut) -> HttpResponse:
        template = "admin/eventsourcing_app/storedevent/timed_out.html"
        return page(
            request, self, template, {"seconds": error.seconds}, title=gettext("This took too long"), status=503
        )

    def _url(self, name: str) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}", current_app=self.admin_site.name)
