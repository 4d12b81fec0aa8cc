"""The form of server-sent events (WHATWG HTML, section 9.2): ``text/event-stream``, in UTF-8.

No message has a name (``event:``): a browser hands those with a name only to whoever listens for exactly that one, so
an event of a new type would be lost without a word. The type is part of the data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rest_framework.renderers import BaseRenderer, JSONRenderer

if TYPE_CHECKING:
    from collections.abc import Mapping

MEDIA_TYPE: Final = "text/event-stream"
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Nothing between server and client may keep the stream, or hold it back until it is long enough."""


class EventStreamRenderer(BaseRenderer):
    """Lets a client ask for the stream by ``Accept: text/event-stream``; whatever is rendered is JSON, a problem."""

    media_type = MEDIA_TYPE
    format = "event-stream"
    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        return _JSON.render(data)


_JSON = JSONRenderer()


def message(position: int, data: Mapping[str, object]) -> bytes:
    """Return one event; its position is what the client names in ``Last-Event-ID`` when it comes back."""
    return b"id: %d\ndata: %s\n\n" % (position, _JSON.render(data))


def mark(position: int) -> bytes:
    """Return a sign of life that moves the client's ``Last-Event-ID``: without data, nothing is dispatched."""
    return b": reached\nid: %d\n\n" % position


def opening(position: int, *, retry: float) -> bytes:
    """Return what a stream begins with: where it starts, and how many seconds to wait before coming back."""
    return b"retry: %d\n%s" % (retry * 1000, mark(position))
