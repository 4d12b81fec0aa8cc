"""The audit trail, travel in time and the chart, for any admin of any model that has an aggregate behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django import forms
from django.contrib.admin.utils import quote, unquote
from django.core import checks
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import models
from django.http import Http404
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from eventsourcing_app.access.events import is_text
from eventsourcing_app.access.pages import page_of
from eventsourcing_app.access.past import history_of, may_view_past
from eventsourcing_app.access.visibility import may_view_events
from eventsourcing_app.admin import chart, trail, travel
from eventsourcing_app.admin.addresses import Addresses
from eventsourcing_app.admin.audited import Audited, fields_told_by, shown_fields, without_row
from eventsourcing_app.admin.extending import CHANGE_FORM, ExtendingMixin
from eventsourcing_app.admin.links import Links
from eventsourcing_app.admin.pages import Crumb, page
from eventsourcing_app.admin.read_only import may_view_any_row, require_reading, shows_every_row
from eventsourcing_app.admin.timeline import events_of, timeline
from eventsourcing_app.aggregates.model import EventSourcedModel

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from django.contrib.admin import ModelAdmin
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

M = TypeVar("M", bound=models.Model)

_OF_THE_ADMIN = ("_changelist_filters", "_popup")
_PART = "part"
_STYLES = forms.Media(css={"all": ["eventsourcing_app/admin.css", "eventsourcing_app/aggregate.css"]})
_SLIDER = forms.Media(js=[forms.Script("eventsourcing_app/travel.js", type="module")])  # type: ignore[list-item]


class AuditTrailMixin(ExtendingMixin[M]):
    """Gives a ``ModelAdmin`` the audit trail of an aggregate, travel in time, and a chart of its numbers over time.

    Put it before any other base: ``class CardAdmin(AuditTrailMixin, ModelAdmin)``. Of an event-sourced model it tells
    the history of the object itself, at ``history/``; for any other model say in ``audited()`` whose history is meant:
    it stands at ``trail/``, beside the history that Django keeps of the object.

    Users need the permission to view the object, and ``eventsourcing_app.view_storedevent``; to see what events say
    and changed, past states and charts ``eventsourcing_app.view_payload`` as well. Told is of fields only that the page
    of the aggregate shows to this user: see ``audited_fields()``. The pages are templates with blocks:
    ``admin/eventsourcing_app/aggregate_change_form.html``, ``…/audit_trail.html`` and ``…/past.html``.
    """

    change_form_template = CHANGE_FORM
    trail_template = "admin/eventsourcing_app/audit_trail.html"
    past_template = "admin/eventsourcing_app/past.html"
    events_per_page = 50
    """Events on one page of the audit trail."""
    events_on_change_page = 10
    """The newest events, which the page of the object shows; 0 shows neither them nor a chart."""

    # Hooks

    def audited(self, request: HttpRequest, obj: M) -> EventSourcedModel | None:
        """Return the aggregate whose history is meant; ``None`` if there is none: then there is no button, either."""
        return obj if isinstance(obj, EventSourcedModel) else None

    def audited_fields(
        self, request: HttpRequest, model: type[EventSourcedModel], obj: EventSourcedModel | None
    ) -> Sequence[str]:
        """Return the names of the fields of an aggregate that its history may tell of, in their order.

        They are those that the page of the aggregate shows in this site, by ``get_fieldsets()`` and ``get_exclude()``
        for this request; all of them if it has no page. ``obj`` is its state of now, or that in which it ended;
        ``None`` if no code can tell. What the admin of the aggregate answers here holds on every page that tells what
        changed: that of an event, and that of a command which was not run, as well.
        """
        shown_by = self._admin_of(model)
        if shown_by is None:
            return [column.name for column in model._meta.concrete_fields]
        if shown_by is not self:
            return fields_told_by(shown_by, request, model, obj)
        return [] if obj is None else shown_fields(self, request, obj)

    def may_view_without_row(self, request: HttpRequest, model: type[EventSourcedModel], stream_key: str) -> bool:
        """Whether the user may see the history of an aggregate whose row has gone.

        Not where ``get_queryset()`` is overridden, or a permission to view that may decide by the object: nobody knows
        whether they would have shown that row. Override this, too, to say so. The pages of its events ask the same.
        """
        return shows_every_row(self) and may_view_any_row(self, request)

    # What Django's admin asks for

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """Say if nobody says whose history is meant."""
        found = super().check(**kwargs)
        shown = type(self)
        if shown.audited is AuditTrailMixin.audited and not issubclass(self.model, EventSourcedModel):
            message = f"{shown.__qualname__} has no audit trail: {self.model.__name__} is not event-sourced."
            hint = "Return in audited() the aggregate whose history is meant, or leave AuditTrailMixin out."
            found.append(checks.Warning(message, hint=hint, obj=shown, id="eventsourcing_app.W066"))
        return found

    @property
    def media(self) -> forms.Media:
        return super().media + _STYLES

    def get_urls(self) -> list[URLPattern]:
        named, wrap = f"{self.opts.app_label}_{self.opts.model_name}", self.admin_site.admin_view
        own = [path("<path:object_id>/past/", wrap(self.past_view), name=f"{named}_past")]
        if not self._is_of_aggregates:
            own.append(path("<path:object_id>/trail/", wrap(self.trail_view), name=f"{named}_trail"))
        return [*own, *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        obj = kwargs.get("obj")
        context.update(may_view_events=False, trail_is_history=self._is_of_aggregates)
        aggregate = None if obj is None else self.audited(request, obj)
        if obj is not None and aggregate is not None:
            context.update(self._on_change_page(request, obj, Audited.of(aggregate)))
        return super().render_change_form(request, context, *args, **kwargs)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The audit trail of an event-sourced object; of any other, the history that Django keeps."""
        if self._is_of_aggregates:
            return self.trail_view(request, object_id, extra_context)
        return super().history_view(request, object_id, extra_context)

    def trail_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The audit trail: what happened to it, newest first; ``?before=`` and ``?after=`` a version turn the pages."""
        found = self._found(request, object_id)
        if found is None:
            return self._missing(request, object_id)
        obj, audited = found
        if audited is None and self._is_of_aggregates:  # whatever Django has kept of it
            return super().history_view(request, object_id, extra_context)
        if audited is None:
            raise Http404
        _require_known(request, trail.PARAMETERS)
        links, addresses = Links(self.admin_site, request), Addresses(self, object_id)
        context = {
            **addresses.context(has_row=obj is not None),
            "object": audited.row,
            "audited": audited,
            "module_name": str(capfirst(self.opts.verbose_name_plural)),
            **trail.trail_page(
                request,
                audited,
                links,
                addresses,
                limit=self.events_per_page,
                fields_of=lambda: self.audited_fields(request, audited.model, audited.state()),
            ),
            **(extra_context or {}),
        }
        title = _("Audit trail: %s") % audited.label
        return page(request, self, self.trail_template, context, title=title, crumbs=self._crumbs(obj, addresses))

    def past_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """A past state: at ``?version=``, or at ``?when=``, compared with that of now, or with ``?compare=`` a version.

        With ``?part=1`` only the part of the page that tells of it.
        """
        found = self._found(request, object_id)
        if found is None:
            return self._missing(request, object_id)
        obj, audited = found
        if audited is None:
            raise Http404
        _require_known(request, {*travel.PARAMETERS, chart.PARAMETER, _PART})
        addresses = Addresses(self, object_id)
        newest = audited.visible(request.user).defer("data", "metadata", "hash").last()
        latest = 0 if newest is None else newest.version or 0
        asked = travel.question(request.GET, latest)
        told = bool(latest) and may_view_past(request.user, audited.model, audited.stream_key)
        has_history = bool(latest) or history_of(audited.model, audited.stream_key).exists()
        fields = self.audited_fields(request, audited.model, audited.state()) if told else ()
        context: dict[str, Any] = {
            **addresses.context(has_row=obj is not None),
            "audited": audited,
            "latest": latest,
            "at": asked.version or latest,
            "asked": asked,
            "given": {name: request.GET.get(name, "") for name in travel.PARAMETERS},
            "told": told,
            "has_history": has_history,
        }
        status = 400 if asked.problems else 200
        if told and not asked.problems:
            context |= travel.told_of(
                request, audited, asked, latest, fields, Links(self.admin_site, request), addresses
            )
        request.current_app = self.admin_site.name
        if _PART in request.GET:
            return TemplateResponse(request, "admin/eventsourcing_app/includes/past.html", context, status=status)
        if told:
            marked = context["view"].recorded_at if "view" in context else None
            chosen = request.GET.get(chart.PARAMETER)
            context |= {"chart": chart.chart(audited, fields, chosen=chosen, until=latest, marked=marked)}
        context |= {"media": self.media + _SLIDER, "opts": self.opts}
        title = _("Time travel: %s") % audited.label
        crumbs = self._crumbs(obj, addresses)
        return page(request, self, self.past_template, context, title=title, crumbs=crumbs, status=status)

    # Parts of the pages

    def _on_change_page(self, request: HttpRequest, obj: M, audited: Audited) -> dict[str, Any]:
        if not self._may_view(request, obj, audited):
            return {"audited": audited}
        addresses = Addresses(self, quote(obj.pk))
        context = {**addresses.context(has_row=True), "audited": audited, "may_view_events": True}
        if not self.events_on_change_page:
            return context
        links = Links(self.admin_site, request)
        rows = page_of(events_of(audited, request), "version", limit=self.events_on_change_page, newest_first=True).rows
        latest = (rows[0].version or 0) if rows else 0
        told = bool(latest) and may_view_past(request.user, audited.model, audited.stream_key)
        fields = self.audited_fields(request, audited.model, audited.row) if told else None
        entries = timeline(request, audited, rows, fields=fields, links=links, addresses=addresses)
        chosen = request.GET.get(chart.PARAMETER)
        return {
            **context,
            "timeline": entries,
            "latest": latest,
            "at": latest,
            "told": told,
            "chart": None if fields is None else chart.chart(audited, fields, chosen=chosen, until=latest),
            "kept_filters": request.GET.get("_changelist_filters", ""),
        }

    # Whose history

    @property
    def _is_of_aggregates(self) -> bool:
        """Whether the model is event-sourced: then Django keeps no history of its objects, and the trail is theirs."""
        return issubclass(self.model, EventSourcedModel)

    def _found(self, request: HttpRequest, object_id: str) -> tuple[M | None, Audited | None] | None:
        """Return the object, and the aggregate whose history is told, to a user who may see both; ``None`` if neither.

        Raises ``PermissionDenied``.
        """
        require_reading(request)
        key = unquote(object_id)
        obj = self.get_object(request, key) if is_text(key) else None
        if obj is not None:
            aggregate = self.audited(request, obj)
            if aggregate is None:
                return obj, None
            if not self._may_view(request, obj, Audited.of(aggregate)):
                raise PermissionDenied
            return obj, Audited.of(aggregate)
        if not (may_view_events(request.user) and self.has_view_or_change_permission(request)):
            raise PermissionDenied
        if not is_text(key) or not issubclass(self.model, EventSourcedModel):
            return None
        gone = without_row(self.model, key, request.user)
        if gone is None or not self.may_view_without_row(request, gone.model, gone.stream_key):
            return None
        return None, gone

    def _may_view(self, request: HttpRequest, obj: M, audited: Audited) -> bool:
        if not (may_view_events(request.user) and self.has_view_or_change_permission(request, obj)):
            return False
        if isinstance(obj, audited.model):
            return True
        shown_by = self._admin_of(audited.model)
        if shown_by is not None:
            row, may = audited.row, bool(shown_by.has_view_or_change_permission(request, audited.row))
            return may and row is not None and shown_by.get_queryset(request).filter(pk=row.pk).exists()
        options = audited.model._meta
        return request.user.has_perm(f"{options.app_label}.view_{options.model_name}")

    def _admin_of(self, model: type[EventSourcedModel]) -> ModelAdmin[Any] | None:
        """Return what shows a model in this site: of a proxy without a page, what shows that for which it stands."""
        if issubclass(model, self.model):
            return self
        admins: Mapping[type[models.Model], ModelAdmin[Any]] = self.admin_site._registry
        return next((admins[each] for each in model.__mro__ if each in admins), None)

    def _missing(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined,no-any-return]

    def _crumbs(self, obj: M | None, addresses: Addresses) -> list[Crumb]:
        return [] if obj is None else [Crumb(addresses.of("change"), str(obj))]


def _require_known(request: HttpRequest, names: Collection[str]) -> None:
    for name in request.GET:
        if name not in names and name not in _OF_THE_ADMIN:
            raise BadRequest(_("This page knows no parameter of that name."))
