"""What a list of states can be asked for: filters and a search, of names on an allow-list and of values that fit.

No name from outside ever reaches the ORM: what a view does not name is an unknown parameter.
"""

from __future__ import annotations

from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import FieldError, ImproperlyConfigured
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext as _
from rest_framework.filters import BaseFilterBackend, SearchFilter

from eventsourcing_app.api.cursors import fits
from eventsourcing_app.api.described import Described
from eventsourcing_app.api.problems import InvalidParameter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rest_framework.request import Request
    from rest_framework.views import APIView

SEARCH: Final = "search"
"""The query parameter."""
MAX_SEARCH: Final = 200
"""Longest search, in characters."""
MAX_TERMS: Final = 10
DESCRIBED_SEARCH: Final = Described(
    description=f"Up to {MAX_TERMS} terms, each of which must be in one of the columns.",
    schema={"type": "string", "minLength": 1, "maxLength": MAX_SEARCH},
)

_DIGITS: Final = 20  # more than any column of integers has

# An extra: everything else works without it.
_filtersets: Any = import_module("eventsourcing_app.api.filtersets") if find_spec("django_filters") else None


def filterset_of(view: str, model: type[models.Model], fields: Any, given: Any) -> Any:
    """Return the filters that a view names by ``filterset_fields`` or ``filterset_class``; ``None`` if it names none.

    Raises ``ImproperlyConfigured`` if django-filter is missing, or if a filter would go round the rules.
    """
    if not fields and given is None:
        return None
    if _filtersets is None:
        raise ImproperlyConfigured(
            f"{view} has filters, which need django-filter: pip install 'django-eventsourcing-app[api]'."
        )
    filterset = _filtersets.filterset_for(view, model, fields) if given is None else given
    _filtersets.check_filterset(view, filterset)
    return filterset


def filter_parameters(filterset: Any) -> dict[str, str]:
    """Return the query parameters that filters read, each with the name of its filter."""
    found: dict[str, str] = {} if filterset is None else _filtersets.parameters_of(filterset)
    return found


def described_filters(filterset: Any) -> dict[str, Described]:
    """Return what the schema says of the parameters of filters."""
    described: dict[str, Described] = {} if filterset is None else _filtersets.described(filterset)
    return described


def check_search(view: str, model: type[models.Model], names: Sequence[str]) -> None:
    """Raise ``ImproperlyConfigured`` if a model cannot be searched by these names."""
    if isinstance(names, str):
        raise ImproperlyConfigured(f"{view}.search_fields is text: write a list of names.")
    rows: Any = model._default_manager.all()
    for name in names:
        if name.startswith("$"):
            raise ImproperlyConfigured(
                f"{view}.search_fields: {name!r} would run regular expressions of users, which can take forever."
            )
        try:
            rows.filter(Q((StateSearch().construct_search(name, rows), "")))
        except (FieldError, IndexError) as error:
            raise ImproperlyConfigured(f"{view}.search_fields: {name!r}: {error}") from error


class StateFilter(BaseFilterBackend):
    """Runs the filters of ``filterset_fields`` or ``filterset_class``; each value fits its column, or is refused."""

    is_ours = True

    def filter_queryset(self, request: Request, queryset: Any, view: APIView) -> Any:
        made: Any = getattr(view, "filterset", None)
        if made is None or getattr(view, "action", "") != "list":
            return queryset
        given = {name: parameter for parameter, name in filter_parameters(made).items() if parameter in request.GET}
        if not given and issubclass(made, _filtersets.StateFilterSet):
            return queryset
        filterset = made(data=request.query_params, queryset=queryset, request=request)
        for name, messages in filterset.errors.as_data().items():
            detail = " ".join(text for message in messages for text in message.messages)
            raise InvalidParameter(given.get(name, name), detail)
        for name, parameter in given.items():
            if not _fit(filterset, name, filterset.form.cleaned_data[name]):
                raise InvalidParameter(parameter, _("It has a value that it cannot have."))
        return filterset.qs

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """Return none: they are those that the view describes itself."""
        return []


class StateSearch(SearchFilter):
    """Runs ``?search=`` over ``search_fields``: each of its terms must be in one of them."""

    is_ours = True
    search_param = SEARCH

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """Return none: it is one that the view describes itself."""
        return []

    def filter_queryset(self, request: Request, queryset: Any, view: APIView) -> Any:
        if getattr(view, "action", "") != "list" or SEARCH not in request.query_params:
            return queryset
        return super().filter_queryset(request, queryset, view)

    def get_search_terms(self, request: Request) -> list[str]:
        if len(request.query_params[SEARCH]) > MAX_SEARCH:
            raise InvalidParameter(SEARCH, _("It may have up to %d characters.") % MAX_SEARCH)
        terms = [term for term in super().get_search_terms(request) if term]
        if not 1 <= len(terms) <= MAX_TERMS:
            raise InvalidParameter(SEARCH, _("It has 1 to %d terms.") % MAX_TERMS)
        return terms


def _fit(filterset: Any, name: str, value: Any) -> bool:
    """Whether a value that was given is one: django-filter takes no notice of some that it cannot read."""
    if value is None or value in ("", [], (), {}):
        return False
    each = filterset.filters[name]
    field = None if each.method else _filtersets.column_of(filterset.queryset.model, each.field_name)
    return all(_fits(field, part) for part in _parts(value))


def _fits(field: object, value: object) -> bool:
    if not isinstance(value, Decimal):
        return True
    if isinstance(field, models.IntegerField):
        return value.is_finite() and value.adjusted() < _DIGITS and value == value.to_integral_value()
    return fits(field, value)


def _parts(value: Any) -> Iterator[object]:
    if isinstance(value, slice):
        yield from (value.start, value.stop)
    elif isinstance(value, (list, tuple)):
        yield from value
    else:
        yield value
