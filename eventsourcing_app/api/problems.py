"""Errors as ``application/problem+json`` (RFC 9457): what was refused and why, for people and for programs.

Besides the members of the RFC each has a stable ``code``, the request's ``correlation_id`` and, where parts of the
request are wrong, ``errors``: each with ``detail``, ``code`` and the ``pointer`` (RFC 6901, into the body) or the query
``parameter`` that it is about.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import (
    BadRequest,
    DisallowedHost,
    ObjectDoesNotExist,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.http import Http404, HttpRequest
from django.http.multipartparser import MultiPartParserError
from django.utils.encoding import force_str
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework import exceptions, status
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import set_rollback

from eventsourcing_app.access.timeouts import ReadTimedOut
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
MAX_TEXT: Final = 1000
"""Longest text in a problem: it may repeat what a client sent, but not all of it."""
MAX_ERRORS: Final = 100
"""How many ``errors`` a problem lists; ``errors_left_out`` counts the others."""


class InvalidParameter(exceptions.APIException):
    """A query parameter that is unknown, or has a value that it cannot have."""

    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "invalid"

    def __init__(self, parameter: str, detail: str, code: str = "invalid") -> None:
        super().__init__(detail, code)
        self.parameter = parameter


def unknown_parameter(name: str) -> InvalidParameter:
    """Return the error for a query parameter that there is not."""
    return InvalidParameter(name, _("There is no parameter %s here.") % ascii(name)[:80], "unknown")


class StateRefused(exceptions.APIException):
    """The command was fine, but the database does not accept the state that it leads to."""

    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY
    default_code = "state_refused"


class Busy(exceptions.APIException):
    """Others were in the way; nothing was done, and the same request may succeed."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = gettext_lazy("Others were at work on the same. Nothing was done: send it again.")
    default_code = "busy"
    wait = 1


class DoneWithError(exceptions.APIException):
    """Everything is stored, but what the commit has set off has failed, and there is nothing else to tell of it."""

    status_code = status.HTTP_500_INTERNAL_SERVER_ERROR
    default_detail = gettext_lazy("It is done and stored, but what followed has failed. Do not send it again.")
    default_code = "done_with_error"


class DatabaseUnavailable(exceptions.APIException):
    """The database does not answer. Why, and where it is, is told to the log of the server only."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = gettext_lazy("The database does not answer.")
    default_code = "database_unavailable"
    wait = 5
    """Seconds after which it is worth while to ask again."""


class ProblemResponse(Response):
    """A problem: a page for browsers where the view has one, and JSON for everybody else, whatever was asked for."""

    @property
    def rendered_content(self) -> Any:
        renderer = getattr(self, "accepted_renderer", None)
        if getattr(renderer, "media_type", "") == "text/html":
            return super().rendered_content
        self["Content-Type"] = MEDIA_TYPE
        return JSONRenderer().render(self.data)


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """Answer every error that a client can cause; ``None`` for the others, which are bugs. An ``EXCEPTION_HANDLER``."""
    if (answer := _answer(error)) is None:
        return None
    if isinstance(error, SuspiciousOperation):  # to where Django would log it
        logging.getLogger(f"django.security.{type(error).__name__}").error(error)
    code, facts, headers, members = answer
    set_rollback()
    body = problem_body(context.get("request"), code, members["code"], members["detail"], facts)
    return ProblemResponse(body, status=code, headers=headers)


def bug_response(request: Request) -> ProblemResponse:
    """Answer an error that is ours: that there was one, and the correlation id under which it was logged."""
    set_rollback()
    return ProblemResponse(problem_body(request, 500, *BUG), status=500)


def problem_body(
    request: Request | HttpRequest | None,
    status: int,
    code: str,
    detail: object,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the members of a problem; texts in it are cut to ``MAX_TEXT``, and ``errors`` to ``MAX_ERRORS``."""
    correlation_id = current().correlation_id or getattr(request, "correlation_id", "")
    facts = dict(facts or {})
    errors = facts.get("errors", ())
    if len(errors) > MAX_ERRORS:
        facts.update(errors=errors[:MAX_ERRORS], errors_left_out=len(errors) - MAX_ERRORS)
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": force_str(detail),
        "code": code,
        "instance": getattr(request, "path", ""),
        "correlation_id": correlation_id,
        **facts,
    }
    shown: dict[str, Any] = _shown(body)
    return shown


def _shown(value: Any) -> Any:
    if isinstance(value, str):  # half a character could not be written
        text = value[: MAX_TEXT + 1].encode("utf-8", "backslashreplace").decode()
        return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
    if isinstance(value, dict):
        return {key: _shown(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shown(inner) for inner in value]
    return value


BUG: Final = ("internal_error", gettext_lazy("Something went wrong here. Tell us the correlation id."))

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
    if isinstance(error, exceptions.APIException):
        return _of_rest_framework(error)
    return _of_state(error) or of_django(error)


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


def _of_state(error: Exception) -> _Answer | None:
    if isinstance(error, NotAdopted):
        detail = _("It has no history yet, and accepts no command until it has one.")
        return _plain(503, "not_adopted", detail, headers={"Retry-After": "60"})
    if isinstance(error, ReadTimedOut):
        detail = _("It took too long to read. Ask for less, or later.")
        return _plain(503, "read_timeout", detail, headers={"Retry-After": str(ceil(error.seconds))})
    if isinstance(error, NoSuchSubscription):
        return _plain(404, "not_found", exceptions.NotFound.default_detail)
    return _plain(409, "operation_refused", error) if isinstance(error, OperationRefused) else None


def of_django(error: Exception | None) -> _Answer | None:
    """Status, further facts, headers, ``detail`` and ``code`` of an error that Django raises about a request."""
    for kinds, code, name, detail in _OF_DJANGO:
        if isinstance(error, kinds):
            return _plain(code, name, detail)
    return None


_OF_DJANGO: tuple[tuple[tuple[type[Exception], ...], int, str, object], ...] = (
    ((Http404, ObjectDoesNotExist), 404, "not_found", exceptions.NotFound.default_detail),
    ((PermissionDenied,), 403, "permission_denied", exceptions.PermissionDenied.default_detail),
    ((RequestDataTooBig,), 413, "body_too_large", gettext_lazy("The body is too large.")),
    ((TooManyFieldsSent, TooManyFilesSent), 400, "too_many_fields", gettext_lazy("The body has too many fields.")),
    ((DisallowedHost,), 400, "host_not_allowed", gettext_lazy("This host is not served here.")),
    ((SuspiciousOperation, BadRequest, MultiPartParserError), 400, "bad_request", gettext_lazy("It is malformed.")),
)


def _plain(
    code: int, name: str, detail: object, facts: dict[str, Any] | None = None, headers: dict[str, str] | None = None
) -> _Answer:
    return code, facts or {}, headers or {}, {"detail": force_str(detail), "code": name}


def _of_rest_framework(error: exceptions.APIException) -> _Answer:
    headers = {}
    if auth_header := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = auth_header
    wait = getattr(error, "wait", None)
    if wait is not None or isinstance(error, exceptions.Throttled):
        headers["Retry-After"] = str(ceil(wait or 1))
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
