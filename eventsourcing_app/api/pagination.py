"""Pages of the API by key, without COUNT and OFFSET: the last key of a page is where the next one starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext as _
from rest_framework.pagination import BasePagination
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param

from eventsourcing_app.access.events import LARGEST_POSITION, is_text, position_from
from eventsourcing_app.access.pages import Page, page_of
from eventsourcing_app.api.problems import InvalidParameter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rest_framework.request import Request
    from rest_framework.views import APIView


class KeysetPagination(BasePagination):
    """Rising by the primary key: ``?after=``, ``?before=``, ``?limit=``; ``next`` and ``previous`` are whole addresses.

    A subclass that pages by another unique column sets ``key``, and the names of the parameters.
    """

    key = "pk"
    after_parameter = "after"
    before_parameter = "before"
    limit_parameter = "limit"
    default_limit = 100
    largest_limit = 500

    @property
    def parameters(self) -> frozenset[str]:
        """The query parameters that it understands."""
        return frozenset({self.after_parameter, self.before_parameter, self.limit_parameter})

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        after = self._key(queryset, request.query_params, self.after_parameter)
        before = self._key(queryset, request.query_params, self.before_parameter)
        if after is not None and before is not None:
            detail = _("Give '%(after)s' or '%(before)s', not both.")
            names = {"after": self.after_parameter, "before": self.before_parameter}
            raise InvalidParameter(self.before_parameter, detail % names)
        limit = self._limit(request.query_params)
        self._url = request.build_absolute_uri()
        self._page: Page[Any] = page_of(queryset, self.key, limit=limit, after=after, before=before)
        return list(self._page.rows)

    def get_paginated_response(self, data: Sequence[Any]) -> Response:
        page = self._page
        following = self._link(self.after_parameter, page.rows[-1]) if page.rows and page.has_next else None
        previous = self._link(self.before_parameter, page.rows[0]) if page.rows and page.has_previous else None
        return Response({"next": following, "previous": previous, "results": data})

    def to_html(self) -> str:
        return ""

    def get_results(self, data: Mapping[str, Any]) -> Any:
        return data["results"]

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        schema = self._key_schema(getattr(view, "queryset", None))
        limit = {"type": "integer", "minimum": 1, "maximum": self.largest_limit, "default": self.default_limit}
        described = {
            self.after_parameter: (_("Begin after this key."), schema),
            self.before_parameter: (_("End before this key."), schema),
            self.limit_parameter: (_("How many rows at most."), limit),
        }
        return [
            {"name": name, "in": "query", "required": False, "description": str(description), "schema": dict(schema)}
            for name, (description, schema) in described.items()
        ]

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        address = {"type": "string", "format": "uri", "nullable": True}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": address, "previous": dict(address), "results": schema},
        }

    def _key_schema(self, queryset: models.QuerySet[Any] | None) -> dict[str, Any]:
        field = None if queryset is None or self.key != "pk" else queryset.model._meta.pk
        if self.key != "pk" or isinstance(field, models.IntegerField):
            return {"type": "integer", "format": "int64", "minimum": 0, "maximum": LARGEST_POSITION}
        return {"type": "string", "format": "uuid"} if isinstance(field, models.UUIDField) else {"type": "string"}

    def _link(self, parameter: str, row: models.Model) -> str:
        url = self._url
        for name in (self.after_parameter, self.before_parameter):
            url = remove_query_param(url, name)
        return replace_query_param(url, parameter, str(getattr(row, self.key)))

    def _limit(self, parameters: Mapping[str, str]) -> int:
        text = parameters.get(self.limit_parameter)
        if text is None:
            return self.default_limit
        limit = position_from(text)
        if limit is None or not 1 <= limit <= self.largest_limit:
            detail = _("It must be a number from 1 to %d.") % self.largest_limit
            raise InvalidParameter(self.limit_parameter, detail)
        return limit

    def _key(self, queryset: models.QuerySet[Any], parameters: Mapping[str, str], name: str) -> Any:
        text = parameters.get(name)
        if text is None:
            return None
        options = queryset.model._meta
        field: models.Field[Any, Any] = options.pk if self.key == "pk" else options.get_field(self.key)
        try:
            if isinstance(field, models.IntegerField):
                return _number(text)
            if not is_text(text):
                raise ValueError("no text")
            return field.to_python(text)
        except (ValueError, ValidationError) as error:
            raise InvalidParameter(name, _("It is no key of this list.")) from error


class PositionPagination(KeysetPagination):
    """Events by their position in the log."""

    key = "position"
    after_parameter = "after_position"
    before_parameter = "before_position"


class VersionPagination(KeysetPagination):
    """Events of one aggregate by their version."""

    key = "version"
    after_parameter = "after_version"
    before_parameter = "before_version"


def _number(text: str) -> int:
    number = position_from(text)
    if number is None:
        raise ValueError("no number")
    return number
