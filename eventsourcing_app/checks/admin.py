"""Checks of the admin: a page with forms could not save an event-sourced model, and would fail when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core import checks
from django.utils.module_loading import import_string

from eventsourcing_app.aggregates.model import EventSourcedModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DOORS = ("has_add_permission", "has_change_permission", "has_delete_permission")


def check_admin(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Check how event-sourced models are registered in every admin site."""
    if not apps.is_installed("django.contrib.admin"):
        return []
    sites: Iterable[Any] = import_string("django.contrib.admin.sites.all_sites")
    return [message for site in sites for registered in site._registry.values() for message in _problems(registered)]


def _problems(registered: Any) -> Iterator[checks.CheckMessage]:
    for shown in (registered, *registered.inlines):
        if issubclass(shown.model, EventSourcedModel) and _writes(shown):
            yield _with_forms(registered, shown)


def _writes(shown: Any) -> bool:
    page = shown if isinstance(shown, type) else type(shown)
    # Django's own methods ask only for the permission, which a superuser always has.
    return any(getattr(page, door).__module__.startswith("django.contrib.admin.") for door in _DOORS)


def _with_forms(registered: Any, shown: Any) -> checks.CheckMessage:
    page = shown if isinstance(shown, type) else type(shown)
    return checks.Warning(
        f"{page.__qualname__} offers to add, change or delete {shown.model._meta.label} by a form, which fails: an "
        "event-sourced model changes by commands only.",
        hint="Inherit from eventsourcing_app.admin.EventSourcedAdmin, or put ReadOnlyAdmin before your own base; of an "
        "inline, let has_add_permission(), has_change_permission() and has_delete_permission() return False.",
        obj=type(registered),
        id="eventsourcing_app.W060",
    )
