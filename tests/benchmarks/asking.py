"""Whole requests without a network: through middleware, routing, view and renderer to the bytes of the answer."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from django.core.handlers.wsgi import WSGIHandler

if TYPE_CHECKING:
    from collections.abc import Mapping


class Asker:
    """Sends requests, and requires the status that is expected. ``headers`` are in the form of WSGI."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._application = WSGIHandler()
        self._headers = dict(headers)
        self._statuses: list[str] = []

    def __call__(self, method: str, path: str, query: str, body: bytes = b"", expected: str = "200") -> bytes:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "wsgi.input": io.BytesIO(body),
            "wsgi.url_scheme": "http",
            **self._headers,
        }
        response: Any = self._application(environ, self._start)
        content = b"".join(response)
        response.close()
        status = self._statuses.pop()
        assert status.startswith(expected), (status, path, query, content[-2000:])
        return content

    def _start(self, status: str, _headers: Any, _error: Any = None, /) -> Any:
        self._statuses.append(status)
