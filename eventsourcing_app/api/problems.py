"""Errors as ``application/problem+json`` (RFC 9457): what was refused and why, for people and for programs.

Besides the members of the RFC each has a stable ``code``, the request's ``correlation_id`` and, where parts of the
request are wrong, ``errors``: each with ``detail``, ``code`` and the ``pointer`` (RFC 6901, into the body) or the query
``parameter`` that it is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.http import Http404
from django.utils.encoding import force_str
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import set_rollback

from eventsourcing_app.aggregates.once import MAX_KEY
from eventsourcing_app.context import current
from eventsourcing_app.exceptions import (
    CommandRejected,
    ConcurrencyError,
    EventRefused,
    IdempotencyError,
    KeyInFlight,
    KeyRefused,
    KeyReused,
    NoSuchSubscription,
    NotAdopted,
    OperationRefused,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

MEDIA_TYPE = "application/problem+json"


class InvalidParameter(exceptions.APIException):
    """A query parameter that is unknown, or has a value that it cannot have."""

    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "invalid"

    def __init__(self, parameter: str, detail: str, code: str = "invalid") -> None:
        super().__init__(detail, code)
        self.parameter = parameter


class StateRefused(exceptions.APIException):
    """The command was fine, but the database does not accept the state that it leads to."""

    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY
    default_code = "state_refused"


class DatabaseUnavailable(exceptions.APIException):
    """The database does not answer. Why, and where it is, is told to the log of the server only."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = gettext_lazy("The database does not answer.")
    default_code = "database_unavailable"
    wait = 5
    """Seconds after which it is worth while to ask again."""


class ProblemResponse(Response):
    """A problem, in whatever form the client accepts; as JSON it says that it is a problem."""

    @property
    def rendered_content(self) -> Any:
        content = super().rendered_content
        renderer = getattr(self, "accepted_renderer", None)
        if getattr(renderer, "media_type", "") == "application/json":
            self["Content-Type"] = MEDIA_TYPE
        return content


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """Answer every error that a client can cause; ``None`` for the others, which are bugs. An ``EXCEPTION_HANDLER``."""
    if (answer := _answer(error)) is None:
        return None
    code, facts, headers, members = answer
    set_rollback()
    request = context.get("request")
    body = {
        "type": "about:blank",
        "title": HTTPStatus(code).phrase,
        "status": code,
        **members,
        "instance": getattr(request, "path", ""),
        "correlation_id": current().correlation_id,
        **facts,
    }
    return ProblemResponse(body, status=code, headers=headers)


_Answer = tuple[int, dict[str, Any], dict[str, str], dict[str, Any]]


def _answer(error: Exception) -> _Answer | None:
    """Status, further facts, headers, and the members ``detail`` and ``code``."""
    if isinstance(error, CommandRejected):
        return _plain(422, error.code or "rejected", error.reason)
    if isinstance(error, ConcurrencyError):
        facts = {"expected": error.expected, "actual": error.actual}
        detail = _("Somebody else changed it at the same time. Read it again and decide again.")
        return _plain(409, "conflict", detail, facts)
    if isinstance(error, EventRefused):
        problem = {"path": error.path, "detail": error.why, "code": "event_refused"}
        return _plain(400, "event_refused", _("The event cannot be stored."), {"errors": [problem]})
    if isinstance(error, IdempotencyError):
        return _of_key(error)
    if isinstance(error, NotAdopted):
        detail = _("It has no history yet, and accepts no command until it has one.")
        return _plain(503, "not_adopted", detail, headers={"Retry-After": "60"})
    if isinstance(error, OperationRefused) and not isinstance(error, NoSuchSubscription):
        return _plain(409, "operation_refused", error)
    if isinstance(error, (Http404, ObjectDoesNotExist, NoSuchSubscription)):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    return _of_rest_framework(error) if isinstance(error, exceptions.APIException) else None


def _of_key(error: IdempotencyError) -> _Answer | None:
    if isinstance(error, KeyRefused):
        detail = _("An Idempotency-Key has 1 to %d printable characters.") % MAX_KEY
        return _plain(400, "idempotency_key_invalid", detail)
    if isinstance(error, KeyReused):
        return _plain(422, "idempotency_key_reused", _("This Idempotency-Key has answered another request."))
    if isinstance(error, KeyInFlight):
        detail = _("The first request with this Idempotency-Key is still running.")
        return _plain(409, "idempotency_key_in_flight", detail, headers={"Retry-After": "1"})
    return None


def _plain(
    code: int, name: str, detail: object, facts: dict[str, Any] | None = None, headers: dict[str, str] | None = None
) -> _Answer:
    return code, facts or {}, headers or {}, {"detail": force_str(detail), "code": name}


def _of_rest_framework(error: exceptions.APIException) -> _Answer:
    headers = {}
    if auth_header := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = auth_header
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = f"{wait:.0f}"
    if isinstance(error, exceptions.ValidationError):
        detail = _("The request is not valid.")
        return _plain(error.status_code, "invalid", detail, {"errors": list(_errors(error.detail, ""))}, headers)
    codes = error.get_codes()
    name = codes if isinstance(codes, str) else error.default_code
    facts = dict(getattr(error, "facts", {}))
    if isinstance(error, InvalidParameter):
        facts["errors"] = [{"parameter": error.parameter, "detail": str(error.detail), "code": name}]
    return _plain(error.status_code, name, error.detail, facts, headers)


def _errors(detail: Any, pointer: str) -> Iterator[dict[str, str]]:
    """Flatten the nested errors of a serializer."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            yield from _errors(inner, pointer if name == "non_field_errors" else f"{pointer}/{_escaped(name)}")
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            nested = isinstance(inner, (Mapping, list))
            yield from _errors(inner, f"{pointer}/{index}" if nested else pointer)
    else:
        yield {"pointer": pointer, "detail": str(detail), "code": getattr(detail, "code", None) or "invalid"}


def _escaped(name: object) -> str:
    return str(name).replace("~", "~0").replace("/", "~1")
