"""The log as server-sent events: whoever follows it gets every settled event once, in order."""

from __future__ import annotations

from dataclasses import replace
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, cast

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import connections, transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.utils.decorators import classonlymethod
from django.utils.translation import gettext as _
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from eventsourcing_app.access.events import FILTERS, LARGEST_POSITION, position_from
from eventsourcing_app.access.masking import without_masked
from eventsourcing_app.access.visibility import visible_events
from eventsourcing_app.api.base import ApiViewSet
from eventsourcing_app.api.described import Described, JSONSchema
from eventsourcing_app.api.events import StoredEventViewSet, filtered_by_request
from eventsourcing_app.api.permissions import StoredEventPermission
from eventsourcing_app.api.problems import InvalidParameter
from eventsourcing_app.api.serializers import StoredEventSerializer
from eventsourcing_app.api.streaming.body import Body, waited_for
from eventsourcing_app.api.streaming.follower import Follower
from eventsourcing_app.api.streaming.form import HEADERS, MEDIA_TYPE, EventStreamRenderer
from eventsourcing_app.api.streaming.places import places
from eventsourcing_app.api.streaming.threads import in_thread
from eventsourcing_app.log.records import StoredEvent
from eventsourcing_app.log.settled import last_position, settled_position

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase
    from rest_framework.request import Request

    from eventsourcing_app.api.described import Operation
    from eventsourcing_app.log.records import StoredEventQuerySet

AFTER = "after_position"
LAST_EVENT_ID = "Last-Event-ID"
MESSAGE: JSONSchema = {
    "type": "object",
    "description": "A message of the stream.",
    "required": ["id", "data"],
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$", "description": "The position of the event."},
        "data": {"type": "string", "description": "The event in JSON, as the list shows it."},
    },
    "example": {"id": "1042", "data": '{"position":1042,"type":"bank.money_deposited"}'},
}
"""What the schema says of each message: OpenAPI before 3.2 has no other place for it."""


class InvalidLastEventID(APIException):
    """``Last-Event-ID`` names no position of this log."""

    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "invalid"

    def __init__(self, detail: str, code: str = "invalid") -> None:
        super().__init__(detail, code)
        self.facts = {"errors": [{"header": LAST_EVENT_ID, "detail": detail, "code": code}]}


class StoredEventStream(ApiViewSet):
    """The log as it grows, as server-sent events: ``path("events/stream/", StoredEventStream.as_view())``.

    Takes the filters of the log. Starts after the position in ``Last-Event-ID`` or ``?after_position=``, otherwise
    with what comes from now on. Under ASGI the response goes on until ``STREAM_SECONDS`` are over; under WSGI, where it
    would keep a worker busy, it ends with the first events, or after ``STREAM_WAIT_SECONDS``. Either way the client
    comes back with the position that it has reached. Needs ``eventsourcing_app.view_storedevent``, asked for again with
    each heartbeat.
    """

    queryset = StoredEvent.objects.all()
    serializer_class = StoredEventSerializer
    permission_classes = (StoredEventPermission,)
    renderer_classes = (EventStreamRenderer, JSONRenderer)
    pagination_class = None
    reads_are_bounded = False  # it goes on for minutes; each look at the log is a short statement
    query_parameters = (*FILTERS, AFTER)
    repeatable_parameters = StoredEventViewSet.repeatable_parameters
    parameter_descriptions = {
        **StoredEventViewSet.parameter_descriptions,
        AFTER: Described(
            description="Start after this position; left out: with what comes from now on.",
            schema={"type": "integer", "format": "int64", "minimum": 0, "maximum": LARGEST_POSITION},
            example=0,
        ),
    }
    # No HEAD: it would be a stream of which nothing is ever sent.
    http_method_names = ("get", "options")

    @classonlymethod
    def as_view(  # type: ignore[override]  # it makes a coroutine function
        cls,  # noqa: N805
        actions: dict[str, Any] | None = None,
        **initkwargs: Any,
    ) -> Callable[..., Coroutine[Any, Any, HttpResponseBase]]:
        """Make the view. It needs no ``actions``."""
        return _in_its_thread(super().as_view(actions or {"get": "stream"}, **{"basename": "event", **initkwargs}))

    def stream(self, request: Request) -> HttpResponseBase:
        """Send what is settled after the position that the client has come to, and go on with it."""
        after = self._start(request)
        follower = Follower(self)
        place = places.take(request.user.pk)
        if isinstance(request._request, ASGIRequest):
            body = Body(follower, after, place)
            return StreamingHttpResponse(body, content_type=MEDIA_TYPE, headers=HEADERS)
        try:
            return HttpResponse(waited_for(follower, after), content_type=MEDIA_TYPE, headers=HEADERS)
        finally:
            place.leave()

    def get_queryset(self) -> StoredEventQuerySet:
        """Return the events that this user may see."""
        return visible_events(self.request.user)

    def filter_queryset(self, queryset: Any) -> Any:
        return filtered_by_request(without_masked(queryset, self.request.user), self.request)

    def parameters_of(self, action: str) -> Collection[str]:
        """Return the query parameters that it understands."""
        return self.query_parameters

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(response, Response):  # whatever is no stream is a problem, or OPTIONS
            request.accepted_renderer, request.accepted_media_type = JSONRenderer(), JSONRenderer.media_type
        return super().finalize_response(request, response, *args, **kwargs)

    def operation(self) -> Operation:
        described = super().operation()
        return replace(
            described,
            answer=None,
            media={MEDIA_TYPE: MESSAGE},
            summary="Follow the log",
            problems=described.problems | {404, 429, 503},  # 404: a form of the answer that there is not
            headers=(*described.headers, LAST_EVENT_ID),
            answer_headers=(*described.answer_headers, "Cache-Control"),
        )

    def _start(self, request: Request) -> int:
        """Return the position that the client has come to. The header wins: whoever comes back sends both."""
        header, parameter = request.headers.get(LAST_EVENT_ID, ""), request.query_params.get(AFTER)
        refused: Callable[..., APIException] = InvalidLastEventID if header else _of_parameter
        if not header and parameter is None:
            return settled_position()
        if parameter is not None and position_from(parameter) is None:  # refused even where the header wins
            raise _of_parameter(_("It is no position."))
        position = position_from(header or parameter or "")
        if position is None:
            raise refused(_("It is no position."))
        # Of another log, or of one that was restored: what is missing in between would never be sent.
        if position > last_position():
            raise refused(_("The log has not come to this position."), "position_ahead")
        return position


def _of_parameter(detail: str, code: str = "invalid") -> InvalidParameter:
    return InvalidParameter(AFTER, detail, code)


def _in_its_thread(view: Callable[..., HttpResponseBase]) -> Callable[..., Coroutine[Any, Any, HttpResponseBase]]:
    """Run a view in the threads of the streams under ASGI, and as any view under WSGI."""

    async def run(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if isinstance(request, ASGIRequest):
            return await in_thread(lambda: _rendered(view(request, *args, **kwargs)))
        return await sync_to_async(view, thread_sensitive=True)(request, *args, **kwargs)

    update_wrapper(run, view)
    for alias in connections:  # it waits, and must not do so in a transaction
        run = cast("Any", transaction.non_atomic_requests(using=alias))(run)
    return run


def _rendered(response: HttpResponseBase) -> HttpResponseBase:
    return response.render() if isinstance(response, Response) else response
