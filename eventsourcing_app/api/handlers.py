"""Errors that no view answers: problems for clients of the API, Django's own pages for everybody else.

Name them in the root URLconf, and the last one in the settings::

    handler400 = "eventsourcing_app.api.handlers.bad_request"
    handler403 = "eventsourcing_app.api.handlers.permission_denied"
    handler404 = "eventsourcing_app.api.handlers.page_not_found"
    handler500 = "eventsourcing_app.api.handlers.server_error"

    CSRF_FAILURE_VIEW = "eventsourcing_app.api.handlers.csrf_failure"

A client of the API asks for a path below ``API_PREFIXES``, or accepts JSON and no page. Under ``DEBUG`` Django does not
ask these handlers, and shows its technical pages.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.http import JsonResponse
from django.utils.translation import gettext as _
from django.views import csrf, defaults

from eventsourcing_app.api.problems import BUG, MEDIA_TYPE, of_django, problem_body
from eventsourcing_app.conf import conf

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

logger = logging.getLogger(__name__)


def wants_problem(request: HttpRequest) -> bool:
    """Whether the request comes from a client of the API."""
    if request.path_info.startswith(tuple(conf.API_PREFIXES)):
        return True
    accepted = request.headers.get("Accept", "")
    return ("application/json" in accepted or MEDIA_TYPE in accepted) and "text/html" not in accepted


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400, or 413 for a body that is too large."""
    if wants_problem(request):
        return _problem(request, 400, "bad_request", _("It is malformed."), exception)
    return defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403."""
    if wants_problem(request):
        return _problem(request, 403, "permission_denied", _("You may not do that."), exception)
    return defaults.permission_denied(request, exception)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404."""
    if wants_problem(request):
        return _problem(request, 404, "not_found", _("There is nothing here."), exception)
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """500: no details, for Django has logged them; here the log gets the correlation id that the client was told."""
    if not wants_problem(request):
        return defaults.server_error(request)
    response = _problem(request, 500, *BUG)
    logger.error("%a was answered with 500; correlation id %s", request.path, getattr(request, "correlation_id", ""))
    return response


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403, for a form or a session without its CSRF token."""
    if wants_problem(request):
        return _problem(request, 403, "csrf_failed", _("The CSRF token is missing or wrong."))
    return csrf.csrf_failure(request, reason)


def _problem(
    request: HttpRequest, status: int, code: str, detail: object, exception: Exception | None = None
) -> HttpResponse:
    if (answer := of_django(exception)) is not None:
        status, _facts, _headers, members = answer
        code, detail = members["code"], members["detail"]
    response = JsonResponse(problem_body(request, status, code, detail), status=status, content_type=MEDIA_TYPE)
    response.headers["Content-Length"] = str(len(response.content))  # CommonMiddleware may not have come to it
    return response
