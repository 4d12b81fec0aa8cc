"""``{% eventsourcing_overview as overview %}``: what the overview shows to the user of the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import template
from django.contrib.admin import site as default_site
from django.contrib.admin.sites import all_sites

from eventsourcing_app.admin.overview import Overview, overview_of

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.http import HttpRequest

register = template.Library()


@register.simple_tag(takes_context=True)
def eventsourcing_overview(context: dict[str, Any]) -> Overview:
    """Return the facts of the overview, for the user of ``request``, with links into its admin site."""
    request: HttpRequest = context["request"]
    return overview_of(_site_of(request), request)


def _site_of(request: HttpRequest) -> AdminSite:
    # The views of an admin site say only by its name to which one a page belongs.
    name = getattr(request, "current_app", None)
    return next((site for site in (default_site, *all_sites) if site.name == name), default_site)
