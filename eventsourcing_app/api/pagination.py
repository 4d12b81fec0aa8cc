"""Pages of the API by key, without COUNT and OFFSET: the last key of a page is where the next one starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils.translation import gettext as _
from rest_framework.pagination import BasePagination
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param

from eventsourcing_app.access.events import LARGEST_POSITION, position_from
from eventsourcing_app.access.pages import Page, ordered_page_of, page_of
from eventsourcing_app.api.cursors import cursor_of, key_from, place_from
from eventsourcing_app.api.ordering import order_from
from eventsourcing_app.api.problems import InvalidParameter
from eventsourcing_app.log.records import StoredEvent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rest_framework.request import Request
    from rest_framework.views import APIView

    from eventsourcing_app.api.ordering import Order


class KeysetPagination(BasePagination):
    """Rising by the primary key: ``?after=``, ``?before=``, ``?limit=``; ``next`` and ``previous`` are whole addresses.

    In the order of ``?order=``, where the view has ``ordering_fields``, ``after`` and ``before`` are opaque.
    A subclass that pages by another unique column sets ``key``, and the names of the parameters.
    """

    key = "pk"
    after_parameter = "after"
    before_parameter = "before"
    limit_parameter = "limit"
    default_limit = 100
    largest_limit = 500

    _order: Order | None = None

    @property
    def parameters(self) -> frozenset[str]:
        """The query parameters that it understands."""
        return self.known_parameters()

    @classmethod
    def known_parameters(cls) -> frozenset[str]:
        """The same, of the class."""
        return frozenset({cls.after_parameter, cls.before_parameter, cls.limit_parameter})

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        allowed = getattr(view, "ordering_fields", ()) if getattr(view, "action", "") == "list" else ()
        self._order = order_from(queryset.model, request.query_params, allowed)
        after = self._place(queryset, request.query_params, self.after_parameter)
        before = self._place(queryset, request.query_params, self.before_parameter)
        if after is not None and before is not None:
            detail = _("Give '%(after)s' or '%(before)s', not both.")
            names = {"after": self.after_parameter, "before": self.before_parameter}
            raise InvalidParameter(self.before_parameter, detail % names)
        limit = self._limit(request.query_params)
        self._url = request.build_absolute_uri()
        self._newest_first = self.is_newest_first(request.query_params)
        self._page: Page[Any]
        if self._order is None:
            self._page = page_of(
                queryset, self.key, limit=limit, after=after, before=before, newest_first=self._newest_first
            )
        else:
            self._page = ordered_page_of(queryset, self._order.columns, limit=limit, after=after, before=before)
        return list(self._page.rows)

    def get_paginated_response(self, data: Sequence[Any]) -> Response:
        page = self._page
        onward, back = self.after_parameter, self.before_parameter
        if self._newest_first:
            onward, back = back, onward
        following = self._link(onward, page.rows[-1]) if page.rows and page.has_next else None
        previous = self._link(back, page.rows[0]) if page.rows and page.has_previous else None
        return Response({"next": following, "previous": previous, "results": data})

    def is_newest_first(self, parameters: Mapping[str, str]) -> bool:
        """Whether the pages fall by the key instead of rising."""
        return False

    def to_html(self) -> str:
        return ""

    def get_results(self, data: Mapping[str, Any]) -> Any:
        return data["results"]

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        # In the order of other columns they are opaque.
        is_ordered = getattr(view, "action", "") == "list" and getattr(view, "ordering_fields", ())
        schema = {"type": "string"} if is_ordered else self._key_schema(getattr(view, "queryset", None))
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
        order = self._order
        place = getattr(row, self.key) if order is None else cursor_of(order.text, order.fields, row)
        return replace_query_param(url, parameter, str(place))

    def _limit(self, parameters: Mapping[str, str]) -> int:
        text = parameters.get(self.limit_parameter)
        if text is None:
            return self.default_limit
        limit = position_from(text)
        if limit is None or not 1 <= limit <= self.largest_limit:
            detail = _("It must be a number from 1 to %d.") % self.largest_limit
            raise InvalidParameter(self.limit_parameter, detail)
        return limit

    def _place(self, queryset: models.QuerySet[Any], parameters: Mapping[str, str], name: str) -> Any:
        text = parameters.get(name)
        if text is None:
            return None
        try:
            if self._order is not None:
                return place_from(self._order.text, self._order.fields, text)
            options = queryset.model._meta
            return key_from(options.pk if self.key == "pk" else options.get_field(self.key), text)
        except ValueError as error:
            raise InvalidParameter(name, _("It is no key of this list, or one of another order.")) from error


class PositionPagination(KeysetPagination):
    """Events by their position in the log; ``?order=-position``: the newest first."""

    key = "position"
    after_parameter = "after_position"
    before_parameter = "before_position"
    order_parameter = "order"

    @classmethod
    def known_parameters(cls) -> frozenset[str]:
        return super().known_parameters() | {cls.order_parameter}

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        order = {"type": "string", "enum": [self.key, f"-{self.key}"], "default": self.key}
        return [
            *super().get_schema_operation_parameters(view),
            {
                "name": self.order_parameter,
                "in": "query",
                "required": False,
                "description": str(_("Rising, or the newest first.")),
                "schema": order,
            },
        ]

    def is_newest_first(self, parameters: Mapping[str, str]) -> bool:
        """Whether ``order`` says so. Raises ``InvalidParameter`` for anything that is no order."""
        order = parameters.get(self.order_parameter, self.key)
        if order not in (self.key, f"-{self.key}"):
            detail = _("It must be '%(rising)s' or '%(falling)s'.") % {"rising": self.key, "falling": f"-{self.key}"}
            raise InvalidParameter(self.order_parameter, detail)
        return order != self.key

    def after(self, parameters: Mapping[str, str]) -> int:
        """Return the position to begin after; 0 if none is given. Raises ``InvalidParameter``."""
        return self._place(StoredEvent.objects.none(), parameters, self.after_parameter) or 0


class VersionPagination(KeysetPagination):
    """Events of one aggregate by their version."""

    key = "version"
    after_parameter = "after_version"
    before_parameter = "before_version"
