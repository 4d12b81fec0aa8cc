"""The whole filtered log as a file: ``Accept: application/x-ndjson`` or ``text/csv``. ``access`` says what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.response import Response

from eventsourcing_app.access.export import CONTENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rest_framework.request import Request

    from eventsourcing_app.access.export import Form


class ExportRenderer(BaseRenderer):
    """Lets a client ask for an export, which is streamed past it. It renders only what is said instead of one."""

    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> Any:
        return JSONRenderer().render(data, "application/json", dict(renderer_context or {}))


class NDJSONRenderer(ExportRenderer):
    """JSON, one event a line (https://github.com/ndjson/ndjson-spec)."""

    media_type = "application/x-ndjson"
    format = "ndjson"


class CSVRenderer(ExportRenderer):
    """Comma-separated values (RFC 4180), in UTF-8."""

    media_type = "text/csv"
    format = "csv"


EXPORTS = (NDJSONRenderer, CSVRenderer)
assert {each.format for each in EXPORTS} == set(CONTENT_TYPES)


def is_export(request: Request) -> bool:
    """Whether the client asks for an export."""
    return isinstance(getattr(request, "accepted_renderer", None), ExportRenderer)


def form_of(request: Request) -> Form:
    """Return the form of export that is asked for."""
    return "csv" if request.accepted_renderer.format == "csv" else "ndjson"


def in_json(request: Request, response: Any) -> Any:
    """Let what is said instead of an export, a problem, be said in JSON."""
    if isinstance(response, Response) and is_export(request):
        request.accepted_renderer, request.accepted_media_type = JSONRenderer(), "application/json"
    return response
