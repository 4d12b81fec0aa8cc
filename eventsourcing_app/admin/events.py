"""The log in the admin: every stored event, newest first, and nothing to press that could change one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR
from django.utils.translation import gettext_lazy as _

from eventsourcing_app.access.events import FILTERS, found
from eventsourcing_app.access.masking import PAYLOAD, without_masked
from eventsourcing_app.access.visibility import may_view_events, visible_events
from eventsourcing_app.admin.correlation import CorrelationMixin
from eventsourcing_app.admin.event_page import EventPageMixin
from eventsourcing_app.admin.filters import (
    ActorFilter,
    CausationFilter,
    CorrelationFilter,
    StreamKeyFilter,
    StreamTypeFilter,
    TypeFilter,
)
from eventsourcing_app.admin.keyset import KeysetChangeList
from eventsourcing_app.admin.links import Links
from eventsourcing_app.admin.operators import OperatorLogMixin
from eventsourcing_app.admin.read_only import ReadOnlyAdmin
from eventsourcing_app.admin.times import utc
from eventsourcing_app.admin.values import breakable, brief
from eventsourcing_app.log.records import StoredEvent

if TYPE_CHECKING:
    from django.db.models import Model
    from django.http import HttpRequest

    from eventsourcing_app.log.records import StoredEventQuerySet


@admin.register(StoredEvent)
class StoredEventAdmin(EventPageMixin, CorrelationMixin, OperatorLogMixin, ReadOnlyAdmin[StoredEvent]):
    """The stored events: their list, the page of each, their correlations, and what operators did."""

    list_display = ("position", "recorded", "stream_type", "stream_key", "version", "type", "actor", "correlation_id")
    list_filter = (TypeFilter, StreamTypeFilter, StreamKeyFilter, ActorFilter, CorrelationFilter, CausationFilter)
    list_per_page = 100
    sortable_by = ()
    search_fields = FILTERS
    search_help_text = _(
        "Exact: a position, an actor such as user:7, a correlation id, an event id, a stream key or a type."
    )
    show_full_result_count = False

    class Media:
        css = {"all": ["eventsourcing_app/admin.css"]}

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return may_view_events(request.user)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return may_view_events(request.user)

    def get_queryset(self, request: HttpRequest) -> StoredEventQuerySet:
        return without_masked(visible_events(request.user), request.user)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return _EventList

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup in FILTERS

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[StoredEventQuerySet, bool]:
        return (found(queryset, search_term) if search_term.strip() else queryset), False

    def get_list_display(self, request: HttpRequest) -> Any:
        links = Links(self.admin_site, request)

        @admin.display(description=_("stream"))
        def stream(event: StoredEvent) -> str:
            return links.stream(event, in_brief=True)

        @admin.display(description=_("actor"))
        def actor(event: StoredEvent) -> str:
            return links.events(event.actor, actor=event.actor)

        @admin.display(description=_("correlation"))
        def correlation(event: StoredEvent) -> str:
            return links.events(brief(event.correlation_id), correlation_id=event.correlation_id)

        @admin.display(description=_("type"))
        def wire_name(event: StoredEvent) -> str:
            return breakable(event.type)

        return ("position", self.recorded, stream, "version", wire_name, actor, correlation)

    @admin.display(description=_("recorded at"))
    def recorded(self, event: StoredEvent) -> str:
        """When it was recorded, to the second."""
        return utc(event.recorded_at)


class _EventList(KeysetChangeList):
    """The list shows no data, so it does not fetch any."""

    def get_results(self, request: HttpRequest) -> None:
        self.queryset = self.queryset.defer(*PAYLOAD)
        self.has_active_filters = self.has_active_filters or SEARCH_VAR in self.params
        super().get_results(request)
