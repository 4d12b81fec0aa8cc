"""Filters of django-filter that take what fits a column and nothing else; imported only where that is installed."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import models
from django.db.models.fields.related import ManyToManyRel, ManyToOneRel, OneToOneRel
from django.utils.choices import flatten_choices
from django.utils.translation import gettext as _
from django_filters import filters
from django_filters.rest_framework import FilterSet
from django_filters.utils import get_model_field
from rest_framework import serializers

from eventsourcing_app.api.cursors import value_from
from eventsourcing_app.api.described import Described
from eventsourcing_app.api.fields import UTCField

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eventsourcing_app.api.described import JSONSchema


class KeyField(forms.CharField):
    """The key of another row, of which it does not ask whether there is one."""

    def __init__(self, *, target: models.Field[Any, Any], **kwargs: Any) -> None:
        super().__init__(strip=False, **kwargs)
        self.target = target

    def to_python(self, value: Any) -> Any:
        if value in self.empty_values:
            return None
        try:
            return value_from(self.target, value)
        except ValueError as error:
            raise ValidationError(_("It is no key."), code="invalid") from error


class MomentField(forms.Field):
    """A moment with its offset from UTC."""

    def to_python(self, value: Any) -> datetime | None:
        if value in self.empty_values:
            return None
        try:
            moment = UTCField().run_validation(value)
        except serializers.ValidationError as error:
            raise ValidationError([str(each) for each in error.detail]) from error
        assert isinstance(moment, datetime)
        return moment


class KeyFilter(filters.Filter):  # type: ignore[misc]  # without types
    """Compares the key alone: to look the other row up would tell whoever asks which rows there are."""

    field_class = KeyField


class MomentFilter(filters.Filter):  # type: ignore[misc]  # without types
    """Compares moments."""

    field_class = MomentField


_SCHEMAS: tuple[tuple[type[filters.Filter], JSONSchema], ...] = (
    (filters.BooleanFilter, {"type": "boolean"}),
    (filters.NumberFilter, {"type": "number"}),
    (filters.UUIDFilter, {"type": "string", "format": "uuid"}),
    (filters.DateFilter, {"type": "string", "format": "date"}),
    (MomentFilter, {"type": "string", "format": "date-time"}),
)


def _exact(_field: object) -> dict[str, Any]:
    return {"strip": False}


_KEY = {"filter_class": KeyFilter, "extra": lambda field: {"target": field.target_field}}
_TEXT = {"filter_class": filters.CharFilter, "extra": _exact}


class StateFilterSet(FilterSet):  # type: ignore[misc]  # without types
    """The filters that ``filterset_fields`` makes."""

    FILTER_DEFAULTS = {
        # What stands on the other side of a relation has visibilities of its own.
        **{
            kind: default
            for kind, default in FilterSet.FILTER_DEFAULTS.items()
            if kind not in (models.ManyToManyField, ManyToManyRel, ManyToOneRel, OneToOneRel)
        },
        models.ForeignKey: _KEY,
        models.OneToOneField: _KEY,
        models.DateTimeField: {"filter_class": MomentFilter},
        models.CharField: _TEXT,
        models.TextField: _TEXT,
    }


def filterset_for(
    view: str, model: type[models.Model], fields: Sequence[str] | Mapping[str, Sequence[str]]
) -> type[StateFilterSet]:
    """Make the filters of a model. Raises ``ImproperlyConfigured`` for a name or lookup that there is not."""
    if isinstance(fields, str):
        raise ImproperlyConfigured(f"{view}.filterset_fields is text: write a list of names.")
    meta = type("Meta", (), {"model": model, "fields": fields})
    try:
        return type(f"{model.__name__}FilterSet", (StateFilterSet,), {"Meta": meta})
    except (TypeError, AssertionError, LookupError) as error:
        raise ImproperlyConfigured(f"{view}.filterset_fields: {error}") from error


def check_filterset(view: str, filterset: type[FilterSet]) -> None:
    """Raise ``ImproperlyConfigured`` for filters that would go round the rules of these lists."""
    for name, each in filterset.base_filters.items():
        if isinstance(each, filters.OrderingFilter):
            raise ImproperlyConfigured(f"{view}: the filter {name!r} orders. Name the columns in `ordering_fields`.")
        if isinstance(each, (filters.AllValuesFilter, filters.AllValuesMultipleFilter)):
            raise ImproperlyConfigured(f"{view}: the filter {name!r} shows the values of all rows, to every user.")
        if isinstance(each, filters.ModelChoiceFilter | filters.ModelMultipleChoiceFilter) and not callable(
            each.queryset
        ):
            raise ImproperlyConfigured(
                f"{view}: the filter {name!r} tells every user which rows there are. Give it a `queryset` that is a "
                "function of the request, or name the relation in `filterset_fields`, which compares keys only."
            )


def parameters_of(filterset: type[FilterSet]) -> dict[str, str]:
    """Return the query parameters that it reads, each with the name of its filter."""
    found = {}
    for name, each in filterset.base_filters.items():
        # The field of one that chooses among rows cannot be made without a request; it has no suffixes.
        of_rows = isinstance(each, filters.ModelChoiceFilter | filters.ModelMultipleChoiceFilter)
        widget = None if of_rows else each.field.widget
        for suffix in getattr(widget, "suffixes", [None]):
            found[widget.suffixed(name, suffix) if widget is not None and suffix else name] = name
    return found


def described(filterset: type[FilterSet]) -> dict[str, Described]:
    """Return what the schema says of its parameters."""
    return {
        parameter: Described(
            description=_said_of(filterset.base_filters[name]),
            schema=_schema_of(filterset.base_filters[name]),
        )
        for parameter, name in parameters_of(filterset).items()
    }


def _said_of(each: filters.Filter) -> str:
    if each.lookup_expr == "exact":
        return f"Keeps those with this {each.field_name}."
    return f"Keeps those whose {each.field_name} fits: {each.lookup_expr}."


def _schema_of(each: filters.Filter) -> dict[str, Any]:
    if isinstance(each, filters.BaseCSVFilter | filters.RangeFilter):
        return {"type": "string"}
    if type(each) is filters.ChoiceFilter:
        choices: list[tuple[Any, Any]] = list(flatten_choices(each.field.choices))
        known = [str(value) for value, _label in choices if value not in ("", None)]
        return {"type": "string", "enum": known}
    return next((dict(schema) for kind, schema in _SCHEMAS if isinstance(each, kind)), {"type": "string"})


def column_of(model: type[models.Model], path: str) -> object:
    """Return the column that a filter compares with; ``None`` if it is none of the model's or its relations'."""
    return get_model_field(model, path)
