"""Pages of the admin besides those of Django: their frame, with the way back to where they belong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import capfirst

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.contrib.admin import ModelAdmin
    from django.http import HttpRequest


class Crumb(NamedTuple):
    """A place on the way to a page."""

    url: str
    label: str


def page(
    request: HttpRequest,
    model_admin: ModelAdmin[Any],
    template: str,
    context: Mapping[str, Any],
    *,
    title: str,
    crumbs: Sequence[Crumb] = (),
    status: int = 200,
) -> TemplateResponse:
    """Answer with a page below the list of a model. ``template`` extends ``admin/eventsourcing_app/page.html``.

    ``crumbs`` are the places between that list, which is left out where it may not be seen, and the page.
    """
    options, site = model_admin.opts, model_admin.admin_site
    app = reverse("admin:app_list", args=[options.app_label], current_app=site.name)
    changelist = reverse(f"admin:{options.app_label}_{options.model_name}_changelist", current_app=site.name)
    above = [Crumb(app, str(options.app_config.verbose_name))]
    if model_admin.has_view_or_change_permission(request):
        above.append(Crumb(changelist, str(capfirst(options.verbose_name_plural))))
    above += crumbs
    request.current_app = site.name
    whole = {
        **site.each_context(request),
        "title": title,
        "subtitle": None,
        "crumbs": above,
        "opts": options,
        "media": model_admin.media,
        **context,
    }
    return TemplateResponse(request, template, whole, status=status)
