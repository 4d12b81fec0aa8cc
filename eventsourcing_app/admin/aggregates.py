"""Event-sourced models in the admin: the state as it is, and the audit trail that led to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import BadRequest, PermissionDenied
from django.template.response import TemplateResponse
from django.utils.text import capfirst
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from eventsourcing_app.access.events import position_from
from eventsourcing_app.access.masking import may_view_payload, without_masked
from eventsourcing_app.access.pages import page_of
from eventsourcing_app.access.visibility import may_view_events, visible_trail
from eventsourcing_app.admin.commands import CommandsMixin
from eventsourcing_app.admin.links import Links
from eventsourcing_app.admin.read_only import ReadOnlyAdmin, require_reading
from eventsourcing_app.admin.times import utc
from eventsourcing_app.admin.values import NOTHING, masked, summary
from eventsourcing_app.aggregates.model import EventSourcedModel
from eventsourcing_app.aggregates.recording import OF_THE_EVENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.http import HttpRequest, HttpResponse

    from eventsourcing_app.log.records import StoredEvent

A = TypeVar("A", bound=EventSourcedModel)

_OF_THE_BASE = ("version", "changed", "has_ended")


class EventSourcedAdmin(CommandsMixin[A], ReadOnlyAdmin[A]):
    """Base of the admin of event-sourced models: state, version, and the audit trail behind the button "Audit trail".

    Users need the model's view permission, for the trail ``eventsourcing_app.view_storedevent`` as well, and to see in
    it what events say ``eventsourcing_app.view_payload``. The pages are templates with blocks:
    ``admin/eventsourcing_app/aggregate_change_form.html`` and ``…/audit_trail.html``.
    """

    list_display: tuple[str | Callable[[A], str | bool], ...] = ("__str__", "version", "changed")
    change_form_template = "admin/eventsourcing_app/aggregate_change_form.html"
    object_history_template = "admin/eventsourcing_app/audit_trail.html"
    events_per_page = 100
    """Events on one page of the audit trail."""

    class Media:
        css = {"all": ["eventsourcing_app/admin.css"]}

    def get_fields(self, request: HttpRequest, obj: A | None = None) -> Any:
        if self.fields:
            return self.fields
        return [*_state_fields(self.model), *_OF_THE_BASE]

    def get_fieldsets(self, request: HttpRequest, obj: A | None = None) -> Any:
        if self.fieldsets or self.fields:
            return super().get_fieldsets(request, obj)
        return (
            (None, {"fields": _state_fields(self.model)}),
            (_("History"), {"fields": _OF_THE_BASE}),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: A | None = None) -> Any:
        return [*super().get_readonly_fields(request, obj), *_state_fields(self.model), *_OF_THE_BASE]

    @admin.display(description=_("changed at"), ordering="changed_at")
    def changed(self, aggregate: A) -> str:
        """When its last event was recorded."""
        return NOTHING if aggregate.changed_at is None else utc(aggregate.changed_at)

    @admin.display(description=_("ended"))
    def has_ended(self, aggregate: A) -> str:
        """Whether its stream is closed. No green or red: either may be right."""
        return _now("Yes") if aggregate.ended else _now("No")

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context["may_view_events"] = may_view_events(request.user)
        return super().render_change_form(request, context, *args, **kwargs)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The audit trail: what happened to it, newest first; ``?before=`` and ``?after=`` a version turn the pages."""
        require_reading(request)
        if not may_view_events(request.user):
            raise PermissionDenied
        aggregate = self.get_object(request, unquote(object_id))
        if aggregate is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined,no-any-return]
        if not self.has_view_or_change_permission(request, aggregate):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": _now("Audit trail: %s") % aggregate,
            "subtitle": None,
            "module_name": str(capfirst(self.opts.verbose_name_plural)),
            "object": aggregate,
            "opts": self.opts,
            "media": self.media,
            "preserved_filters": self.get_preserved_filters(request),
            **self._trail(request, aggregate),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, self.object_history_template, context)

    def _trail(self, request: HttpRequest, aggregate: A) -> dict[str, Any]:
        after, before = _version(request, "after"), _version(request, "before")
        if after is not None and before is not None:
            raise BadRequest("Give 'after' or 'before', not both.")
        trail = visible_trail(request.user, aggregate).defer("metadata", "hash")
        events, shown = without_masked(trail, request.user), may_view_payload(request.user)
        page = page_of(events, "version", limit=self.events_per_page, after=after, before=before, newest_first=True)
        links = Links(self.admin_site, request)
        return {
            "trail": [_line(links, event, shown=shown) for event in page.rows],
            "newer": page.rows[0].version if page.rows and page.has_previous else None,
            "older": page.rows[-1].version if page.rows and page.has_next else None,
        }


def _state_fields(model: type[EventSourcedModel]) -> Sequence[str]:
    return [field.name for field in model._meta.concrete_fields if field.name not in OF_THE_EVENT]


def _line(links: Links, event: StoredEvent, *, shown: bool) -> dict[str, Any]:
    return {
        "event": event,
        "url": links.event_url(event.position),
        "recorded": utc(event.recorded_at),
        "actor": links.events(event.actor, actor=event.actor),
        "summary": summary(event.data) if shown else masked(),
    }


def _version(request: HttpRequest, name: str) -> int | None:
    text = request.GET.get(name)
    if text is None:
        return None
    version = position_from(text)
    if version is None:
        raise BadRequest(f"'{name}' must be a version.")
    return version
