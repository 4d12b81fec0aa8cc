"""Fields that hold moments, in lists of Django's admin: in UTC, as all other moments of an aggregate are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import FieldDoesNotExist
from django.db import models

from eventsourcing_app.admin.times import of_a_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.contrib.admin import ModelAdmin


def tell_in_utc(model_admin: ModelAdmin[Any], changelist: Any) -> None:
    """Let a ``ChangeList`` tell of moments in UTC. Its columns keep their names, links and order."""
    told = _told(model_admin, changelist.list_display)
    changelist.list_display = _replaced(changelist.list_display, told)
    if changelist.list_display_links:
        changelist.list_display_links = _replaced(changelist.list_display_links, told)
    if changelist.sortable_by:
        changelist.sortable_by = _replaced(changelist.sortable_by, told)


def _told(model_admin: ModelAdmin[Any], names: Iterable[Any]) -> dict[Any, Callable[[models.Model], str]]:
    """Return what is shown in the place of those fields among ``names`` that hold moments."""
    found = {}
    for name in names:
        try:
            field = model_admin.opts.get_field(name) if isinstance(name, str) else None
        except FieldDoesNotExist:
            continue
        if isinstance(field, models.DateTimeField):
            found[name] = _shown(model_admin, field)
    return found


def _shown(model_admin: ModelAdmin[Any], field: models.DateTimeField[Any, Any]) -> Callable[[models.Model], str]:
    @admin.display(description=field.verbose_name, ordering=field.name)
    def shown(obj: models.Model) -> str:
        moment = getattr(obj, field.name)
        return model_admin.get_empty_value_display() if moment is None else of_a_value(moment)

    shown.__name__ = field.name  # by which Django names columns and styles
    return shown


def _replaced(names: Iterable[Any], told: dict[Any, Any]) -> list[Any]:
    return [told.get(each, each) for each in names]
