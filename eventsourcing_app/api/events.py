"""The log over HTTP: read-only, in order, filtered by names of a fixed list; in pages, whole, and event by event."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from django.http import Http404
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from rest_framework import status
from rest_framework.exceptions import PermissionDenied
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from eventsourcing_app.access.download import POSITION_HEADER, download_of
from eventsourcing_app.access.events import FILTERS, filtered, of_any_stream_type, position_from, recorded
from eventsourcing_app.access.export import Export
from eventsourcing_app.access.masking import without_masked
from eventsourcing_app.access.visibility import may_export_events, visible_events
from eventsourcing_app.api.base import ReadViewSet
from eventsourcing_app.api.conditional import is_known
from eventsourcing_app.api.described import Described, Operation
from eventsourcing_app.api.exports import EXPORTS, form_of, in_json, is_export
from eventsourcing_app.api.pagination import PositionPagination
from eventsourcing_app.api.past import MOMENT, moment_of
from eventsourcing_app.api.permissions import StoredEventPermission
from eventsourcing_app.api.problems import InvalidParameter
from eventsourcing_app.api.serializers import EventPageSerializer, StoredEventSerializer
from eventsourcing_app.log.records import StoredEvent, StoredEventQuerySet

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.http import HttpResponseBase
    from rest_framework.request import Request
    from rest_framework.serializers import BaseSerializer

PERIOD = ("since", "until")
"""The parameters of a period of time: what was recorded at or after ``since``, and before ``until``."""


def filtered_by_request(events: StoredEventQuerySet, request: Request) -> StoredEventQuerySet:
    """Keep the events that a request asks for by ``FILTERS``. Raises ``InvalidParameter``."""
    for name in FILTERS:
        if values := request.query_params.getlist(name):
            try:
                events = filtered(events, name, values)
            except ValueError as error:
                raise InvalidParameter(name, str(error)) from error
    return events


class StoredEventViewSet(ReadViewSet):
    """The log, in order: ``?type= &stream_type= &stream_key= &actor= &correlation_id= &causation_id= &since= &until=
    &order= &after_position= &limit=``.

    Filters are for equality, but for the times; ``type`` may be repeated. Needs
    ``eventsourcing_app.view_storedevent``, to see what events say ``eventsourcing_app.view_payload``, and to export the
    whole list (``Accept: application/x-ndjson`` or ``text/csv``) ``eventsourcing_app.export_storedevent``.
    """

    queryset = StoredEvent.objects.all()
    serializer_class = StoredEventSerializer
    permission_classes = (StoredEventPermission,)
    pagination_class = PositionPagination
    query_parameters = (*FILTERS, *PERIOD)
    repeatable_parameters = ("type",)
    lookup_field = "position"
    http_method_names = ("get", "head", "options")

    parameter_descriptions = {
        "type": Described(description="Wire name of the events; an older name of it does, too.", example="bank.paid"),
        "stream_type": Described(description="Name of the streams."),
        "stream_key": Described(description="Key of the aggregate, or of what was published."),
        "actor": Described(description="Who did it.", example="user:1"),
        "correlation_id": Described(description="What the request was stored with."),
        "causation_id": Described(
            description="The event that caused them.", schema={"type": "string", "format": "uuid"}
        ),
        "since": Described(description="Recorded at or after this moment.", schema=MOMENT),
        "until": Described(description="Recorded before this moment.", schema=MOMENT),
    }

    def get_queryset(self) -> StoredEventQuerySet:
        """Return the events that this user may see."""
        return visible_events(self.request.user)

    def filter_queryset(self, queryset: Any) -> Any:
        events = without_masked(queryset, self.request.user)
        if self.action != "list":
            return events
        events = filtered_by_request(events, self.request)
        if "stream_key" in self.request.query_params and "stream_type" not in self.request.query_params:
            events = of_any_stream_type(events)
        given = {name: self.request.query_params[name] for name in PERIOD if name in self.request.query_params}
        return recorded(events, **{name: moment_of(name, text) for name, text in given.items()})

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        """The events, in pages; or all of them, as a file."""
        if not is_export(request):
            return super().list(request, *args, **kwargs)
        if not may_export_events(request.user):
            raise PermissionDenied(_("To export events you need the permission to do so."))
        pages: PositionPagination = self.paginator  # type: ignore[assignment]  # see pagination_class
        export = Export(
            self.filter_queryset(self.get_queryset()),
            form_of(request),
            user=request.user,
            after=pages.after(request.query_params),
            newest_first=pages.is_newest_first(request.query_params),
        )
        return download_of(export, request._request)

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """One event, with what is around it."""
        shown = self.get_serializer(self.get_object()).data
        tag = sha256(JSONRenderer().render(shown) + request.accepted_media_type.encode()).hexdigest()
        headers = {"ETag": f'"{tag[:32]}"', "Cache-Control": "private, no-cache"}
        if is_known(request, headers["ETag"]):
            return Response(status=status.HTTP_304_NOT_MODIFIED, headers=headers)
        return Response(shown, headers=headers)

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return EventPageSerializer if self.action == "retrieve" else super().get_serializer_class()

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "visible": self.get_queryset()}

    def get_renderers(self) -> Any:
        # With a method that there is not, no form of the answer is at fault.
        exports = [renderer() for renderer in EXPORTS] if self.action in ("list", None) else []
        return [*super().get_renderers(), *exports]

    def _parameters_of_pages(self) -> Collection[str]:
        known = super()._parameters_of_pages()
        # An export has no pages: it is refused to ask for one, rather than to give all of them or one only.
        return {"after_position", "order"} if is_export(self.request) else known

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        answer: HttpResponseBase = super().finalize_response(request, in_json(request, response), *args, **kwargs)
        patch_vary_headers(answer, ("Accept", "Authorization", "Cookie"))
        return answer

    def operation(self) -> Operation:
        described = super().operation()
        if self.action == "retrieve":
            return replace(
                described,
                problems=described.problems | {304},
                headers=(*described.headers, "If-None-Match"),
                answer_headers=(*described.answer_headers, "ETag", "Cache-Control"),
            )
        return replace(
            described,
            media={each.media_type: {"type": "string"} for each in EXPORTS},
            problems=described.problems | {404},  # a form of the answer that there is not
            answer_headers=(*described.answer_headers, "Cache-Control", "Content-Disposition", POSITION_HEADER),
            links={"retrieve": "$response.body#/results/0/position"},
        )

    def get_object(self) -> Any:
        position = position_from(str(self.kwargs["position"]))
        if position is None:
            raise Http404
        self.kwargs["position"] = position
        return super().get_object()
