"""Checks of the admin: what would fail when it is used, or do nothing at all, is said before.

A page with forms could not save an event-sourced model; a mixin behind a ``ModelAdmin`` is never asked for anything.
"""

from __future__ import annotations

from itertools import dropwhile
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
    yield from _behind_an_admin(type(registered))
    for shown in (registered, *registered.inlines):
        if issubclass(shown.model, EventSourcedModel) and _writes(shown):
            yield _with_forms(registered, shown)


def _behind_an_admin(page: type) -> Iterator[checks.CheckMessage]:
    model_admin = import_string("django.contrib.admin.ModelAdmin")
    behind = dropwhile(lambda each: each is not model_admin, page.__mro__)
    mixin = next((each for each in behind if getattr(each, "stands_first", False)), None)
    if mixin is not None:
        yield checks.Error(
            f"{page.__qualname__} inherits {mixin.__qualname__} behind a ModelAdmin, where it does nothing.",
            hint=f"Put it before every other base: class {page.__name__}({mixin.__name__}, …).",
            obj=page,
            id="eventsourcing_app.E065",
        )


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
