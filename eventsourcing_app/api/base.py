"""What all viewsets here share: strict JSON in, problems out, and no query parameter that is not understood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

from django.conf import settings
from django.core.signals import got_request_exception
from django.utils.log import log_response
from django.utils.translation import gettext as _
from rest_framework import exceptions, mixins, viewsets
from rest_framework.permissions import SAFE_METHODS
from rest_framework.utils.mediatypes import media_type_matches

from eventsourcing_app.access.events import is_text
from eventsourcing_app.access.timeouts import bounded_read
from eventsourcing_app.api.described import CORRELATION, DescribedView, Operation
from eventsourcing_app.api.parsers import JSONParser, check_declared
from eventsourcing_app.api.problems import InvalidParameter, bug_response, exception_handler, unknown_parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from rest_framework.request import Request
    from rest_framework.response import Response

    _GenericViewSet = viewsets.GenericViewSet[Any]
else:
    _GenericViewSet = viewsets.GenericViewSet

MAX_PARAMETER: Final = 4096
"""Longest value of a query parameter, in characters."""
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class ApiViewSet(DescribedView, _GenericViewSet):
    """What all viewsets here share: strict JSON in, problems out, and no query parameter that is not understood."""

    parser_classes = (JSONParser,)
    lookup_value_regex = "[^/]+"
    reads_are_bounded: ClassVar[bool] = True
    """Whether statements of ``GET`` are bounded by ``READ_TIMEOUT_SECONDS``."""

    def get_exception_handler(self) -> Callable[..., Response | None]:
        return exception_handler

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        # Before anybody reads it: the check of a session's CSRF token would parse any form.
        if request.method in _WITH_BODY:
            self._check_body(request)
        super().initial(request, *args, **kwargs)
        method = (request.method or "").lower()
        if self.action is None:  # the method is not allowed, whatever the parameters
            return
        self._check_parameters(request)
        if self.reads_are_bounded and request.method in SAFE_METHODS and hasattr(self, method):
            setattr(self, method, bounded_read()(getattr(self, method)))

    def handle_exception(self, exc: Exception) -> Response:
        """Answer every error: those that a client can cause as what they are, and bugs with 500 and no details.

        Bugs are logged and signalled as Django does it. It shows its own page to browsers under ``DEBUG``.
        """
        try:
            return super().handle_exception(exc)
        except Exception as bug:
            shown = getattr(getattr(self.request, "accepted_renderer", None), "media_type", "")
            if settings.DEBUG_PROPAGATE_EXCEPTIONS or (settings.DEBUG and shown == "text/html"):
                raise
            got_request_exception.send(sender=None, request=self.request._request)
            response = bug_response(self.request)
            message = "%s: %s (correlation id %s)"
            told = (response.status_text, self.request.path, response.data["correlation_id"])
            log_response(message, *told, response=response, request=self.request._request, exception=bug)
            return response

    def raise_uncaught_exception(self, exc: Exception) -> NoReturn:
        raise exc

    def _check_body(self, request: Request) -> None:
        check_declared(request.META)
        content_type = request.content_type or ""
        has_body = request.META.get("CONTENT_LENGTH") not in (None, "", "0", 0)
        is_read = request.method == "POST" or hasattr(self, (request.method or "").lower())
        if has_body and is_read and not any(media_type_matches(each, content_type) for each in self._media_types()):
            raise exceptions.UnsupportedMediaType(content_type)

    def _media_types(self) -> list[str]:
        return [parser.media_type for parser in self.parser_classes if parser.media_type is not None]

    def _check_parameters(self, request: Request) -> None:
        known = set(self._parameters_of_pages())
        known |= set(self.parameters_of(self.action or ""))
        if self._is_from_a_page():
            known |= {*self.parameters_of("list"), *getattr(self.paginator, "parameters", ())}
        if self.settings.URL_FORMAT_OVERRIDE:
            known.add(self.settings.URL_FORMAT_OVERRIDE)
        for name, values in request.query_params.lists():
            if name not in known:
                raise unknown_parameter(name)
            if len(values) > 1 and name not in self.repeatable_parameters:
                raise InvalidParameter(name, _("It may be given once only."), "repeated")
            if any(len(value) > MAX_PARAMETER or not is_text(value) for value in values):
                detail = _("It is text of up to %d characters, without NUL.") % MAX_PARAMETER
                raise InvalidParameter(name, detail)

    def _is_from_a_page(self) -> bool:
        # The form on a browsable page is sent to the address of that page, with all that its list was asked for.
        shown = getattr(self.request, "accepted_renderer", None)
        return self.request.method == "POST" and not self.detail and getattr(shown, "format", "") == "api"

    def operation(self) -> Operation:
        """Return what the schema says of the current action."""
        problems = {400, 401, 403, 406, 500}
        if self.detail:
            problems.add(404)
        if self.request.method == "POST":
            problems |= {411, 413, 415}
        if self.get_throttles():
            problems.add(429)
        if self.reads_are_bounded and self.request.method in SAFE_METHODS:
            problems.add(503)
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

    def _parameters_of_pages(self) -> Collection[str]:
        if self.request.method == "POST":
            return ()
        if getattr(self, "detail", False) and self.action != "events":
            return ()
        # Ours are asked for what they understand by parameters_of(); those of others say it as DRF wants it.
        others = [each for each in self.filter_backends if not getattr(each, "is_ours", False)]
        backends = [backend() for backend in others if self.action == "list"]
        told = [getattr(each, "get_schema_operation_parameters", None) for each in (self.paginator, *backends)]
        found = {parameter["name"] for tell in told if tell is not None for parameter in tell(self)}
        return found | set(getattr(self.paginator, "parameters", ()))


class ReadViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, ApiViewSet):
    """A list and its members, read-only: what a read model needs."""

    http_method_names: Sequence[str] = ("get", "head", "options")
