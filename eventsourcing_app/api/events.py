"""The log over HTTP: read-only, in order, filtered by names of a fixed list."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.http import Http404
from rest_framework import mixins

from eventsourcing_app.access.events import FILTERS, filtered, position_from
from eventsourcing_app.access.visibility import visible_events
from eventsourcing_app.api.base import ApiViewSet
from eventsourcing_app.api.described import Described, Operation
from eventsourcing_app.api.pagination import PositionPagination
from eventsourcing_app.api.permissions import StoredEventPermission
from eventsourcing_app.api.problems import InvalidParameter
from eventsourcing_app.api.serializers import StoredEventSerializer
from eventsourcing_app.log.records import StoredEvent

if TYPE_CHECKING:
    from django.db.models import QuerySet


class StoredEventViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, ApiViewSet):
    """The log, in order: ``?type= &stream_type= &stream_key= &actor= &correlation_id= &after_position= &limit=``.

    Filters are for equality; ``type`` may be repeated. Needs ``eventsourcing_app.view_storedevent``.
    """

    queryset = StoredEvent.objects.all()
    serializer_class = StoredEventSerializer
    permission_classes = (StoredEventPermission,)
    pagination_class = PositionPagination
    query_parameters = FILTERS
    repeatable_parameters = ("type",)
    lookup_field = "position"
    http_method_names = ("get", "head", "options")

    parameter_descriptions = {
        "type": Described(description="Wire name of the events; an older name of it does, too.", example="bank.paid"),
        "stream_type": Described(description="Name of the streams."),
        "stream_key": Described(description="Key of the aggregate, or of what was published."),
        "actor": Described(description="Who did it.", example="user:1"),
        "correlation_id": Described(description="What the request was stored with."),
    }

    def get_queryset(self) -> QuerySet[Any]:
        """Return the events that this user may see."""
        return visible_events(self.request.user)

    def filter_queryset(self, queryset: Any) -> QuerySet[Any]:
        for name in FILTERS if self.action == "list" else ():
            if values := self.request.query_params.getlist(name):
                try:
                    queryset = filtered(queryset, name, values)
                except ValueError as error:
                    raise InvalidParameter(name, str(error)) from error
        narrowed: QuerySet[Any] = queryset
        return narrowed

    def operation(self) -> Operation:
        described = super().operation()
        key = "$response.body#/results/0/position"
        return replace(described, links={"retrieve": key}) if self.action == "list" else described

    def get_object(self) -> Any:
        position = position_from(str(self.kwargs["position"]))
        if position is None:
            raise Http404
        self.kwargs["position"] = position
        return super().get_object()
