"""The declared types of events over HTTP, each with the JSON Schema of its data."""

from __future__ import annotations

from dataclasses import asdict, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
from django.http import Http404
from rest_framework import serializers, status
from rest_framework.response import Response

from eventsourcing_app.access.event_types import event_type, event_types
from eventsourcing_app.api.base import ApiViewSet
from eventsourcing_app.api.conditional import is_known
from eventsourcing_app.api.permissions import StoredEventPermission

if TYPE_CHECKING:
    from rest_framework.request import Request

    from eventsourcing_app.api.described import Operation

_encoder = msgspec.json.Encoder(order="sorted")


class EventTypeSerializer(serializers.Serializer[Any]):
    """A declared type of events."""

    name = serializers.CharField(read_only=True)
    aliases = serializers.ListField(child=serializers.CharField(), read_only=True)
    schema_version = serializers.IntegerField(read_only=True)
    title = serializers.CharField(read_only=True)
    description = serializers.CharField(read_only=True)
    ends = serializers.BooleanField(read_only=True)
    stream_types = serializers.ListField(child=serializers.CharField(), read_only=True)
    schema = serializers.DictField(read_only=True, allow_null=True)


class EventTypesSerializer(serializers.Serializer[Any]):
    """All declared types of events, in one page."""

    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = EventTypeSerializer(many=True)


class EventTypeViewSet(ApiViewSet):
    """The declared types of events: names, what they mean, where they occur, and the JSON Schema of their data.

    ``GET /`` and ``GET /{name}/``, by the wire name or an older one. Their ``ETag`` is that of the content:
    ``If-None-Match`` answers 304 until the code declares something else. Needs ``eventsourcing_app.view_storedevent``.
    """

    serializer_class = EventTypeSerializer
    permission_classes = (StoredEventPermission,)
    pagination_class = None
    reads_are_bounded = False  # nothing is read
    lookup_field = "name"
    http_method_names = ("get", "head", "options")

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """All types, by wire name, in one page: as many as the code declares."""
        shown = self.get_serializer([asdict(each) for each in event_types()], many=True).data
        return _unless_known(request, {"next": None, "previous": None, "results": shown})

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """One type."""
        found = event_type(str(self.kwargs["name"]))
        if found is None:
            raise Http404
        return _unless_known(request, dict(self.get_serializer(asdict(found)).data))

    def operation(self) -> Operation:
        described = super().operation()
        described = replace(
            described,
            problems=described.problems | {304},
            headers=(*described.headers, "If-None-Match"),
            answer_headers=(*described.answer_headers, "ETag"),
        )
        if self.action == "retrieve":
            return replace(described, summary="Show a type of events")
        return replace(
            described,
            answer=EventTypesSerializer,
            is_paged=False,
            summary="List the types of events",
            links={"retrieve": "$response.body#/results/0/name"},
        )


def _unless_known(request: Request, content: dict[str, Any]) -> Response:
    etag = f'"{sha256(_encoder.encode(content)).hexdigest()[:32]}"'
    if is_known(request, etag):
        return Response(status=status.HTTP_304_NOT_MODIFIED, headers={"ETag": etag})
    return Response(content, headers={"ETag": etag})
