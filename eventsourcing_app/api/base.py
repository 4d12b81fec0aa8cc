"""What all viewsets here share: strict JSON in, problems out, and no query parameter that is not understood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.utils.translation import gettext as _
from rest_framework import viewsets

from eventsourcing_app.api.described import CORRELATION, Described, Operation
from eventsourcing_app.api.parsers import JSONParser
from eventsourcing_app.api.problems import InvalidParameter, exception_handler

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from rest_framework.request import Request
    from rest_framework.response import Response

    _GenericViewSet = viewsets.GenericViewSet[Any]
else:
    _GenericViewSet = viewsets.GenericViewSet


class ApiViewSet(_GenericViewSet):
    """What all viewsets here share: strict JSON in, problems out, and no query parameter that is not understood."""

    parser_classes = (JSONParser,)
    lookup_value_regex = "[^/]+"
    query_parameters: ClassVar[Collection[str]] = ()
    """Query parameters of the lists, besides those of the pages."""
    repeatable_parameters: ClassVar[Collection[str]] = ()
    """Those of them that may come several times."""
    parameter_descriptions: ClassVar[Mapping[str, Described]] = {}
    """What the schema says of a query parameter; one that is not here is text."""

    def get_exception_handler(self) -> Callable[..., Response | None]:
        return exception_handler

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if self.action is not None:  # otherwise the method is not allowed, whatever the parameters
            self._check_parameters(request)

    def _check_parameters(self, request: Request) -> None:
        known = set(self._parameters_of_pages())
        known |= set(self.parameters_of(self.action or ""))
        if self.settings.URL_FORMAT_OVERRIDE:
            known.add(self.settings.URL_FORMAT_OVERRIDE)
        for name, values in request.query_params.lists():
            if name not in known:
                detail = _("There is no parameter %s here.") % ascii(name)[:80]
                raise InvalidParameter(name, detail, "unknown")
            if len(values) > 1 and name not in self.repeatable_parameters:
                raise InvalidParameter(name, _("It may be given once only."), "repeated")

    def parameters_of(self, action: str) -> Collection[str]:
        """Return the query parameters that an action understands, besides those of pages."""
        return self.query_parameters if action == "list" else ()

    def operation(self) -> Operation:
        """Return what the schema says of the current action."""
        problems = {400, 401, 403, 406}
        if self.detail:
            problems.add(404)
        if self.request.method == "POST":
            problems |= {413, 415}
        if self.get_throttles():
            problems.add(429)
        return Operation(
            answer=self.get_serializer_class() if self._has_serializer() else None,
            is_paged=self.action == "list",
            problems=frozenset(problems),
            headers=(CORRELATION,),
            answer_headers=(CORRELATION,),
        )

    def _has_serializer(self) -> bool:
        own = type(self).get_serializer_class is not viewsets.GenericViewSet.get_serializer_class
        return own or self.serializer_class is not None

    def operation_name(self, action: str) -> str:
        """Return the stable name of an action in the schema, its ``operationId``: ``account_deposit``."""
        return f"{self.basename}_{action}"

    def _parameters_of_pages(self) -> Collection[str]:
        if self.request.method == "POST":
            return ()
        if not getattr(self, "detail", False) or self.action == "events":
            return getattr(self.paginator, "parameters", ())
        return ()
