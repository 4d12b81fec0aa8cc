"""Event-sourced models in the admin: the state as it is, read-only, and the history that led to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib import admin
from django.utils.html import format_html
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from eventsourcing_app.admin.audit import AuditTrailMixin
from eventsourcing_app.admin.audited import shown_fields
from eventsourcing_app.admin.commands import CommandsMixin
from eventsourcing_app.admin.read_only import ReadOnlyAdmin, may_view_any_row
from eventsourcing_app.admin.state_fields import tell_form_as_history, tell_list_in_utc
from eventsourcing_app.admin.times import relative, utc
from eventsourcing_app.admin.values import NOTHING
from eventsourcing_app.aggregates.model import EventSourcedModel
from eventsourcing_app.aggregates.recording import OF_THE_EVENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.contrib.admin.views.main import ChangeList
    from django.http import HttpRequest, HttpResponse

A = TypeVar("A", bound=EventSourcedModel)

_OF_THE_BASE = ("version", "changed_when", "has_ended")


class EventSourcedAdmin(AuditTrailMixin[A], CommandsMixin[A], ReadOnlyAdmin[A]):
    """Base of the admin of event-sourced models: the state, read-only, its commands, its audit trail and its past.

    Moments are in UTC on all of its pages, whatever the time zone of the project.
    Users need the model's view permission; for its history see ``AuditTrailMixin``, for commands ``CommandsMixin``.
    """

    list_display: tuple[str | Callable[[A], str | bool], ...] = ("__str__", "version", "changed")

    def get_fields(self, request: HttpRequest, obj: A | None = None) -> Any:
        if self.fields:
            return self.fields
        hidden = set(self.get_exclude(request, obj) or ())
        return [name for name in (*_state_fields(self.model), *_OF_THE_BASE) if name not in hidden]

    def get_fieldsets(self, request: HttpRequest, obj: A | None = None) -> Any:
        if self.fieldsets or self.fields:
            return super().get_fieldsets(request, obj)
        names = self.get_fields(request, obj)
        return (
            (None, {"fields": [name for name in names if name not in _OF_THE_BASE]}),
            (pgettext_lazy("of an aggregate", "History"), {"fields": [name for name in names if name in _OF_THE_BASE]}),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: A | None = None) -> Any:
        own = (*_state_fields(self.model), *OF_THE_EVENT, *_OF_THE_BASE, "changed")
        return [*super().get_readonly_fields(request, obj), *own]

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        changelist = super().get_changelist_instance(request)
        tell_list_in_utc(self, changelist)
        return changelist

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if (obj := kwargs.get("obj")) is not None:
            tell_form_as_history(context["adminform"], obj, shown_fields(self, request, obj))
        return super().render_change_form(request, context, *args, **kwargs)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        # Django answers questions about any field of a model: enough of them find out what the pages hide.
        if request is not None and lookup.partition("__")[0] in self._hidden_fields(request):
            return False
        return bool(super().lookup_allowed(lookup, value, request))  # type: ignore[arg-type]  # of older stubs

    def _hidden_fields(self, request: HttpRequest) -> set[str]:
        """Return the fields, by name and column, that neither the list nor every page shows to this user."""
        filters = (each[0] if isinstance(each, (list, tuple)) else each for each in self.get_list_filter(request))
        on_pages = shown_fields(self, request, None) if self._pages_are_alike(request) else ()
        offered = {*filters, *self.get_list_display(request), *on_pages, *OF_THE_EVENT}
        named = {name.partition("__")[0] for name in (*offered, self.date_hierarchy) if isinstance(name, str)}
        fields = [field for field in self.model._meta.concrete_fields if not field.primary_key]
        return {name for field in fields if field.name not in named for name in (field.name, field.attname)}

    def _pages_are_alike(self, request: HttpRequest) -> bool:
        """Whether the pages of all objects show the same fields to this user: nothing decides by the object."""
        kind, ours, django = type(self), EventSourcedAdmin, admin.ModelAdmin
        return (
            kind.get_exclude is django.get_exclude
            and kind.get_fields is ours.get_fields
            and kind.get_fieldsets is ours.get_fieldsets
            and may_view_any_row(self, request)
        )

    @admin.display(description=_("changed at"), ordering="changed_at")
    def changed(self, aggregate: A) -> str:
        """When its last event was recorded."""
        return NOTHING if aggregate.changed_at is None else utc(aggregate.changed_at)

    @admin.display(description=_("changed at"))
    def changed_when(self, aggregate: A) -> str:
        """When its last event was recorded, and how long ago that is."""
        if aggregate.changed_at is None:
            return NOTHING
        return format_html("{} ({})", utc(aggregate.changed_at), relative(aggregate.changed_at))

    @admin.display(description=_("ended"))
    def has_ended(self, aggregate: A) -> str:
        """Whether its stream is closed. No green or red: either may be right."""
        return gettext("Yes") if aggregate.ended else gettext("No")


def _state_fields(model: type[EventSourcedModel]) -> Sequence[str]:
    return [field.name for field in model._meta.concrete_fields if field.name not in OF_THE_EVENT]
