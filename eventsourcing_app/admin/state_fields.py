"""Fields of a state on pages of Django's admin, told as its history tells them.

Django groups no digits, and names no zone of its times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import FieldDoesNotExist
from django.db import models

from eventsourcing_app.admin.times import of_a_value
from eventsourcing_app.admin.values import currency_of, value_of_field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from django.contrib.admin import ModelAdmin
    from django.contrib.admin.helpers import AdminForm


def tell_list_in_utc(model_admin: ModelAdmin[Any], changelist: Any) -> None:
    """Let a ``ChangeList`` tell of moments in UTC. Its columns keep their names, links and order."""
    empty = model_admin.get_empty_value_display()

    def tell(field: models.Field[Any, Any], obj: models.Model) -> str:
        moment = getattr(obj, field.name)
        return empty if moment is None else of_a_value(moment)

    told = _told(model_admin.model, changelist.list_display, (models.DateTimeField,), tell)
    changelist.list_display = _replaced(changelist.list_display, told)
    if changelist.list_display_links:
        changelist.list_display_links = _replaced(changelist.list_display_links, told)
    if changelist.sortable_by:
        changelist.sortable_by = _replaced(changelist.sortable_by, told)


def tell_form_as_history(form: AdminForm, obj: models.Model, shown: Sequence[str]) -> None:
    """Let the read-only fields of an ``AdminForm`` tell of amounts and moments as the history below does."""
    currency = currency_of(vars(obj), shown)

    def tell(field: models.Field[Any, Any], obj: models.Model) -> str:
        return value_of_field(type(obj), field.name, getattr(obj, field.attname), currency=currency)

    told = _told(type(obj), form.readonly_fields, (models.DecimalField, models.DateTimeField), tell)
    form.fieldsets = [
        (title, {**options, "fields": _replaced(options["fields"], told)}) for title, options in form.fieldsets
    ]
    readonly: list[Any] = [*form.readonly_fields, *told.values()]
    form.readonly_fields = readonly


def _told(
    model: type[models.Model],
    names: Iterable[Any],
    kinds: tuple[type[models.Field[Any, Any]], ...],
    tell: Callable[[Any, Any], str],
) -> dict[str, Callable[[models.Model], str]]:
    """Return what is shown in the place of those fields among ``names`` that are of these kinds."""
    found = {}
    for name in names:
        try:
            field = model._meta.get_field(name) if isinstance(name, str) else None
        except FieldDoesNotExist:
            continue
        if isinstance(field, kinds):
            found[name] = _shown(field, tell)
    return found


def _shown(field: models.Field[Any, Any], tell: Callable[[Any, Any], str]) -> Callable[[models.Model], str]:
    @admin.display(description=field.verbose_name, ordering=field.name)
    def shown(obj: models.Model) -> str:
        return tell(field, obj)

    shown.__name__ = field.name  # by which Django names columns, finds help texts, and styles know them
    return shown


def _replaced(names: Any, told: Mapping[str, Any]) -> list[Any]:
    """Several fields on one line of a page are a tuple."""
    return [_replaced(each, told) if isinstance(each, (list, tuple)) else told.get(each, each) for each in names]
