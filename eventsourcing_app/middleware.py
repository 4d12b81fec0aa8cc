"""Opens the context of each request, so that every event tells who asked for it; it never fails a request itself.

Add ``"eventsourcing_app.middleware.EventContextMiddleware"`` to ``MIDDLEWARE``, best at the top: the user is looked up
only when an event is appended, so it need not come after the authentication.
"""

from __future__ import annotations

import re
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction

from eventsourcing_app.conf import conf
from eventsourcing_app.context import context
from eventsourcing_app.denied import refused_key, refused_value
from eventsourcing_app.exceptions import MetadataRefused
from eventsourcing_app.identifiers import uuid7

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

_SAFE_ID = re.compile(r"[A-Za-z0-9._:@/-]{1,128}")
# W3C Trace Context §3.2.2: version ff and ids of zeros are invalid, letters are lower case; versions after 00 may go on
# after the flags, and what they add is to be ignored.
_TRACEPARENT = re.compile(
    r"(?!ff|00-.{53})([0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?=-|\Z)"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_USER_AGENT_LENGTH = 256


class EventContextMiddleware:
    """Runs each request inside ``context(…)``, in sync and async stacks alike.

    - The actor is ``user:<pk>`` of ``request.user`` at the moment of an append, so users that DRF authenticates in the
      view count; ``""`` for anonymous requests. Looking the user up may query the database: in async code, append (or
      call ``resolve_actor``) inside ``sync_to_async``, as for any use of the ORM.
    - The correlation id comes from ``X-Correlation-ID`` if it is harmless, otherwise a fresh one is made. It is echoed
      in the response and is ``request.correlation_id``.
    - Metadata: ``request_id`` (``X-Request-ID`` if harmless, else fresh), ``traceparent`` if valid; ``ip_address`` and
      ``user_agent`` only if ``RECORD_IP_ADDRESS`` and ``RECORD_USER_AGENT`` say so. What ``DENIED_METADATA`` names or
      what looks like a credential is left out.

    The context covers the view and the middleware below, **not the body of a streaming response**: that is produced
    after the context has ended. Append in the view, or open a ``context(…)`` inside the generator.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        correlation_id = _safe_id(request, "X-Correlation-ID")
        request.correlation_id = correlation_id  # type: ignore[attr-defined]  # ours, for views and logging
        asked = context(actor=partial(actor_of, request), correlation_id=correlation_id, **_metadata(request))
        answer = asked(self.get_response)(request)
        if self.is_async:
            return _echo_later(cast("Awaitable[HttpResponseBase]", answer), correlation_id)
        return _echo(cast("HttpResponseBase", answer), correlation_id)


def actor_of(request: HttpRequest) -> str:
    """``user:<pk>`` of the request's user as of now, ``""`` if it is anonymous or nothing authenticates."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return ""
    if user.pk is None:
        raise MetadataRefused(
            "actor",
            "the request's user counts as authenticated but has no primary key. Save it, or pass another actor.",
        )
    return f"user:{user.pk}"


async def _echo_later(answer: Awaitable[HttpResponseBase], correlation_id: str) -> HttpResponseBase:
    return _echo(await answer, correlation_id)


def _echo(response: HttpResponseBase, correlation_id: str) -> HttpResponseBase:
    response.headers["X-Correlation-ID"] = correlation_id
    return response


def _metadata(request: HttpRequest) -> dict[str, Any]:
    found = {"request_id": _safe_id(request, "X-Request-ID")}
    if trace := _TRACEPARENT.match(request.headers.get("traceparent", "")):
        found["traceparent"] = trace[1]
    if conf.RECORD_IP_ADDRESS and (address := _ip_address(request)):
        found["ip_address"] = address
    if conf.RECORD_USER_AGENT:
        found["user_agent"] = _CONTROL.sub("", request.headers.get("User-Agent", ""))[:_USER_AGENT_LENGTH]
    return {key: value for key, value in found.items() if value and not refused_key(key) and not refused_value(value)}


def _safe_id(request: HttpRequest, header: str) -> str:
    given = request.headers.get(header, "")
    return given if _SAFE_ID.fullmatch(given) and not refused_value(given) else str(uuid7())


def _ip_address(request: HttpRequest) -> str:
    # Only what the server saw itself. X-Forwarded-For is whatever the client wrote, unless a proxy of ours is known to
    # replace it; where one does, let the server or a middleware above put the client into REMOTE_ADDR.
    try:
        return str(ip_address(_CONTROL.sub("", request.META.get("REMOTE_ADDR") or "")))
    except ValueError:
        return ""  # a Unix socket has no address
