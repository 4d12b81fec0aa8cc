"""The log in the admin: every stored event, newest first, and nothing to press that could change one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.access.surroundings import neighbours_of, parent_of
from eventsourcing_app.admin.event_list import EventListAdmin
from eventsourcing_app.admin.links import Links
from eventsourcing_app.admin.times import utc
from eventsourcing_app.admin.values import NOTHING, masked, pretty
from eventsourcing_app.log.records import StoredEvent

if TYPE_CHECKING:
    from django.db.models import Model
    from django.http import HttpRequest, HttpResponse

    from eventsourcing_app.log.records import StoredEventQuerySet


@admin.register(StoredEvent)
class StoredEventAdmin(EventListAdmin):
    """The stored events: the list of them, and the page of each."""

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        links = Links(self.admin_site, request)

        @admin.display(description=_("stream"))
        def stream(event: StoredEvent) -> str:
            return links.stream(event)

        @admin.display(description=_("actor"))
        def actor(event: StoredEvent) -> str:
            return links.events(event.actor, actor=event.actor)

        @admin.display(description=_("correlation id"))
        def correlation(event: StoredEvent) -> str:
            return links.events(event.correlation_id, correlation_id=event.correlation_id)

        @admin.display(description=_("caused by event"))
        def cause(event: StoredEvent) -> str:
            return _cause(self.get_queryset(request), links, event)

        shown = may_view_payload(request.user)

        @admin.display(description=_("data"))
        def data(event: StoredEvent) -> str:
            return pretty(event.data) if shown else masked()

        @admin.display(description=_("metadata"))
        def metadata(event: StoredEvent) -> str:
            return pretty(event.metadata) if shown else masked()

        @admin.display(description=_("hash (SHA-256)"))
        def hash_as_hex(event: StoredEvent) -> str:
            return format_html("<code>{}</code>", bytes(event.hash).hex()) if shown else masked()

        what = ("position", "recorded_exactly", stream, "version", "type", "schema_version", data)
        why = (actor, correlation, cause, metadata)
        return (
            (None, {"fields": what}),
            (_("Who and why"), {"fields": why}),
            (_("Identity"), {"fields": ("event_id", hash_as_hex)}),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return [name for _title, options in self.get_fieldsets(request, obj) for name in options["fields"]]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        event: StoredEvent = kwargs["obj"]
        links = Links(self.admin_site, request)
        previous, following = neighbours_of(self.get_queryset(request), event)
        context.update(
            title=_("Event %(position)d: %(type)s") % {"position": event.position, "type": event.type},
            subtitle=None,
            previous_url=links.event_url(previous) if previous else None,
            next_url=links.event_url(following) if following else None,
            stream_url=links.events_url(stream_type=event.stream_type, stream_key=event.stream_key),
            correlation_url=links.events_url(correlation_id=event.correlation_id),
        )
        return super().render_change_form(request, context, *args, **kwargs)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # It never changes: what there is to know of its history is the event.
        return self.change_view(request, object_id, extra_context=extra_context)

    @admin.display(description=_("recorded at"))
    def recorded_exactly(self, event: StoredEvent) -> str:
        """When it was recorded."""
        return utc(event.recorded_at, exact=True)


def _cause(events: StoredEventQuerySet, links: Links, event: StoredEvent) -> str:
    if event.causation_id is None:
        return NOTHING
    cause = parent_of(events, event)
    url = links.event_url(cause.position) if cause else None
    if cause is None or url is None:
        return str(event.causation_id)
    return format_html('<a href="{}">{}</a>', url, cause)
