"""An export as an answer over HTTP, streamed under WSGI and ASGI: the same for the admin and the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from django.http import HttpRequest

    from eventsourcing_app.access.export import Export

POSITION_HEADER: Final = "Log-Position"
"""The header that says up to which position an export goes."""


def download_of(export: Export, request: HttpRequest) -> StreamingHttpResponse:
    """Return the answer that streams an export; only its headers to any method but ``GET``."""
    chunks: Iterator[bytes] = export.chunks() if request.method == "GET" else iter(())
    # Under ASGI, Django would first read all of anything else into memory.
    content = _asynchronous(chunks) if isinstance(request, ASGIRequest) else chunks
    headers = {
        "Content-Disposition": f'attachment; filename="{export.file_name}"',
        "Cache-Control": "private, no-store",
        "X-Content-Type-Options": "nosniff",
        POSITION_HEADER: str(export.until),
    }
    return StreamingHttpResponse(content, content_type=export.content_type, headers=headers)


async def _asynchronous(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    # In the thread of the request, which has its connections.
    following = sync_to_async(lambda: next(chunks, None), thread_sensitive=True)
    while (chunk := await following()) is not None:
        yield chunk
