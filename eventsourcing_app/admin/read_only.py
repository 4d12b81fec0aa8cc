"""Admin pages that only show: every writing door answers 403, to superusers as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib import admin
from django.contrib.admin.options import IS_POPUP_VAR
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import models
from django.utils.text import capfirst

from eventsourcing_app.access.events import is_text
from eventsourcing_app.conf import conf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.http import HttpRequest, HttpResponse

    _ModelAdmin = admin.ModelAdmin
else:
    # Generic for type checkers only.
    class _ModelAdmin(admin.ModelAdmin):
        def __class_getitem__(cls, _model: object) -> type:
            return cls


M = TypeVar("M", bound=models.Model)
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class ReadOnlyAdmin(_ModelAdmin[M]):
    """Lists and shows a model's rows, for users with its view permission; nobody can add, change or delete any."""

    actions: Sequence[str] | None = None
    show_facets = admin.ShowFacets.NEVER
    """Facets count the whole table, once for each choice of each filter."""
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[M]:
        return super().get_queryset(request).using(conf.DATABASE)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> M | None:
        try:
            return super().get_object(request, object_id, from_field) if is_text(object_id) else None
        except OverflowError:  # SQLite takes no such number, and of a foreign key Django does not know that
            return None

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        require_reading(request)
        require_text(request)
        # "Select … to view" is what to do, not what it is; a popup is there to select from.
        title = {} if IS_POPUP_VAR in request.GET else {"title": capfirst(self.opts.verbose_name_plural)}
        return super().changelist_view(request, {**title, **(extra_context or {})})

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        require_reading(request)
        return super().changeform_view(request, object_id, form_url, extra_context)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        raise PermissionDenied

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        require_reading(request)
        return super().history_view(request, object_id, extra_context)


def shows_every_row(model_admin: admin.ModelAdmin[Any]) -> bool:
    """Whether a page has every row of its model for everybody: nobody has said otherwise in ``get_queryset()``."""
    return type(model_admin).get_queryset in (admin.ModelAdmin.get_queryset, ReadOnlyAdmin.get_queryset)


def may_view_any_row(model_admin: admin.ModelAdmin[Any], request: HttpRequest) -> bool:
    """Whether the user may view every row that the list has, whatever is in it.

    An overridden ``has_view_permission()`` or ``has_change_permission()`` may decide by the row, so it is not believed
    if it is asked about none.
    """
    kind = type(model_admin)
    if kind.has_view_or_change_permission is not admin.ModelAdmin.has_view_or_change_permission:
        return False
    return (
        kind.has_view_permission is admin.ModelAdmin.has_view_permission and model_admin.has_view_permission(request)
    ) or (
        kind.has_change_permission in (admin.ModelAdmin.has_change_permission, ReadOnlyAdmin.has_change_permission)
        and model_admin.has_change_permission(request)
    )


def require_reading(request: HttpRequest) -> None:
    """Answer 403 to every method that could be meant to write."""
    if request.method not in _READING:
        raise PermissionDenied


def require_text(request: HttpRequest) -> None:
    """Answer 400 to parameters with which no database can compare."""
    for name, values in request.GET.lists():
        if not all(map(is_text, (name, *values))):
            raise BadRequest("A parameter of the address contains a character that no text has.")
