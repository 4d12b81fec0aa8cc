"""The API over Django REST framework: base your viewsets on ``EventSourcedViewSet``, and route ``StoredEventViewSet``.

``JSONParser``, ``KeysetPagination`` and ``exception_handler`` can be named in ``REST_FRAMEWORK`` as well, for the views
of the rest of a project; the viewsets here use them anyhow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventsourcing_app.api.aggregates import EventSourcedViewSet
    from eventsourcing_app.api.base import ApiViewSet
    from eventsourcing_app.api.batch import BatchViewSet
    from eventsourcing_app.api.event_types import EventTypeViewSet
    from eventsourcing_app.api.events import StoredEventViewSet
    from eventsourcing_app.api.flows import FlowViewSet
    from eventsourcing_app.api.health import HealthView
    from eventsourcing_app.api.openapi import ApiSchema
    from eventsourcing_app.api.pagination import KeysetPagination
    from eventsourcing_app.api.parked import ParkedEventViewSet
    from eventsourcing_app.api.parsers import JSONParser
    from eventsourcing_app.api.permissions import CommandPermission, OperatorPermission, StoredEventPermission
    from eventsourcing_app.api.problems import exception_handler
    from eventsourcing_app.api.stream import StoredEventStream
    from eventsourcing_app.api.subscriptions import SubscriptionViewSet
    from eventsourcing_app.api.waiting import WaitsForProjections

__all__ = [
    "ApiSchema",
    "ApiViewSet",
    "BatchViewSet",
    "CommandPermission",
    "EventSourcedViewSet",
    "EventTypeViewSet",
    "FlowViewSet",
    "HealthView",
    "JSONParser",
    "KeysetPagination",
    "OperatorPermission",
    "ParkedEventViewSet",
    "StoredEventPermission",
    "StoredEventStream",
    "StoredEventViewSet",
    "SubscriptionViewSet",
    "WaitsForProjections",
    "exception_handler",
]

_HOMES = {
    "ApiSchema": "openapi",
    "ApiViewSet": "base",
    "BatchViewSet": "batch",
    "CommandPermission": "permissions",
    "EventSourcedViewSet": "aggregates",
    "EventTypeViewSet": "event_types",
    "FlowViewSet": "flows",
    "HealthView": "health",
    "JSONParser": "parsers",
    "KeysetPagination": "pagination",
    "OperatorPermission": "permissions",
    "ParkedEventViewSet": "parked",
    "StoredEventPermission": "permissions",
    "StoredEventStream": "stream",
    "StoredEventViewSet": "events",
    "SubscriptionViewSet": "subscriptions",
    "WaitsForProjections": "waiting",
    "exception_handler": "problems",
}


def __getattr__(name: str) -> Any:
    # What REST_FRAMEWORK names is imported while rest_framework.views itself is: views must not come with it.
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
