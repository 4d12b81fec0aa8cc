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
    from eventsourcing_app.api.events import StoredEventViewSet
    from eventsourcing_app.api.flows import FlowViewSet
    from eventsourcing_app.api.pagination import KeysetPagination
    from eventsourcing_app.api.parsers import JSONParser
    from eventsourcing_app.api.permissions import CommandPermission, StoredEventPermission
    from eventsourcing_app.api.problems import exception_handler
    from eventsourcing_app.api.stream import StoredEventStream
    from eventsourcing_app.api.waiting import WaitsForProjections

__all__ = [
    "ApiViewSet",
    "BatchViewSet",
    "CommandPermission",
    "EventSourcedViewSet",
    "FlowViewSet",
    "JSONParser",
    "KeysetPagination",
    "StoredEventPermission",
    "StoredEventStream",
    "StoredEventViewSet",
    "WaitsForProjections",
    "exception_handler",
]

_HOMES = {
    "ApiViewSet": "base",
    "BatchViewSet": "batch",
    "CommandPermission": "permissions",
    "EventSourcedViewSet": "aggregates",
    "FlowViewSet": "flows",
    "JSONParser": "parsers",
    "KeysetPagination": "pagination",
    "StoredEventPermission": "permissions",
    "StoredEventStream": "stream",
    "StoredEventViewSet": "events",
    "WaitsForProjections": "waiting",
    "exception_handler": "problems",
}


def __getattr__(name: str) -> Any:
    # What REST_FRAMEWORK names is imported while rest_framework.views itself is: views must not come with it.
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
