"""Asking another viewset, on behalf of a request that came elsewhere: its permissions, its querysets, its hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rest_framework.viewsets import GenericViewSet

    from eventsourcing_app.api.base import ApiViewSet

V = TypeVar("V", bound="GenericViewSet[Any]")


def viewset_for(viewset: type[V], asking: ApiViewSet, method: str) -> V:
    """Return a viewset as it would be for the request of ``asking``, had that come for its ``method``."""
    view = viewset()
    view.request, view.args, view.kwargs, view.format_kwarg = asking.request, (), {}, None
    view.action = method
    view.action_map = {(asking.request.method or "").lower(): method}
    return view
