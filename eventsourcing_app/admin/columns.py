"""Columns of lists that depend on who looks: ``list_display`` names them like any others."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias, TypeVar

from django.contrib import admin
from django.db import models
from django.http import HttpRequest

from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.admin.links import Links
from eventsourcing_app.admin.read_only import ReadOnlyAdmin
from eventsourcing_app.admin.values import masked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.utils.functional import _StrOrPromise

M = TypeVar("M", bound=models.Model)
F = TypeVar("F", bound="Callable[..., Any]")
ListDisplay: TypeAlias = "tuple[str | Callable[[Any], str | bool], ...]"
"""So that a subclass may choose any number of columns."""


class Reader(NamedTuple):
    """For whom a list is made."""

    request: HttpRequest
    links: Links
    """Where values lead, as far as this user may follow."""
    sees_payload: bool
    """Whether what events say may be shown."""


def column(description: _StrOrPromise) -> Callable[[F], F]:
    """Make a method of an admin a column of its list, called with a row and with its ``Reader``.

    Where a field of the model has the same name, ``list_display`` means the column.
    """

    def mark(method: F) -> F:
        marked: Any = method
        marked.short_description, marked.is_for_reader = description, True
        return method

    return mark


class ColumnsAdmin(ReadOnlyAdmin[M]):
    """Shows columns that are declared by ``@column``."""

    masked_fields: ClassVar[Sequence[str]] = ()
    """Fields that say what a payload may say: a list that names one shows it only to who may see payloads."""

    def get_list_display(self, request: HttpRequest) -> Any:
        reader = Reader(request, Links(self.admin_site, request), may_view_payload(request.user))
        return [self._made_for(reader, name) for name in super().get_list_display(request)]

    def get_list_display_links(self, request: HttpRequest, list_display: Any) -> Any:
        made = {getattr(each, "__name__", each): each for each in list_display}
        links = super().get_list_display_links(request, list_display)
        return links and [made.get(name, name) for name in links]

    def _made_for(self, reader: Reader, name: Any) -> Any:
        found = (vars(each).get(name) for each in type(self).__mro__ if isinstance(name, str))
        declared = next((each for each in found if getattr(each, "is_for_reader", False)), None)
        if declared is None:
            is_masked = name in self.masked_fields and not reader.sees_payload and not hasattr(type(self), name)
            return self._masked(name) if is_masked else name
        method = getattr(self, name)  # an override need not be declared again: it must not uncover a field

        @wraps(declared)  # with its name, by which styles know the column
        def made(row: M) -> Any:
            return method(row, reader)

        return made

    def _masked(self, name: str) -> Callable[[M], str]:
        field: Any = self.opts.get_field(name)

        @admin.display(description=field.verbose_name)
        def shown(row: M) -> str:
            return masked()

        shown.__name__ = name
        return shown
