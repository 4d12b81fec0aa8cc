"""What the templates of the mixins extend: those with which the admin would show its pages without them.

So a mixin takes nothing away, neither what a base class of others adds to a page nor what the project does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.contrib import admin
from django.db import models
from django.template.loader import select_template

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    _ModelAdmin = admin.ModelAdmin
else:
    # Generic for type checkers only; at run time it is whatever the mixin stands before.
    class _ModelAdmin:
        def __class_getitem__(cls, _model: object) -> type:
            return cls


M = TypeVar("M", bound=models.Model)

CHANGE_FORM: Final = "admin/eventsourcing_app/aggregate_change_form.html"
CHANGE_LIST: Final = "admin/eventsourcing_app/aggregate_change_list.html"


class ExtendingMixin(_ModelAdmin[M]):
    """Tells the templates of form and list which templates to extend, as ``form_base`` and ``list_base``."""

    stands_first = True
    """Behind a ``ModelAdmin`` it would not be heard, which a check looks for (``E065``)."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {"list_base": self._extended("change_list", CHANGE_LIST), **(extra_context or {})}
        return super().changelist_view(request, context)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        base = self._extended("change_form", CHANGE_FORM)
        context.update(form_base=base, keeps_tools=base != "admin/change_form.html")
        return super().render_change_form(request, context, *args, **kwargs)

    def _extended(self, page: str, ours: str) -> str:
        """Return what ``ours`` extends: what the class behind the mixins names, or what Django finds."""
        attribute = f"{page}_template"
        owners = [each for each in type(self).__mro__ if vars(each).get(attribute) == ours]
        behind = (getattr(super(owner, self), attribute, None) for owner in owners)  # more than one mixin may have it
        named = next((template for template in behind if template and template != ours), None)
        if named:
            return str(named)
        app, own = self.opts.app_label, getattr(self, attribute)
        places = (f"admin/{app}/{self.opts.model_name}/{page}.html", f"admin/{app}/{page}.html", f"admin/{page}.html")
        # One that the admin names itself extends ours, wherever it stands.
        found: Any = select_template([place for place in places if place != own])
        return str(found.template.name)
