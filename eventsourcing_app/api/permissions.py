"""Who may ask for what: Django's own permissions, so that groups and the admin grant them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.permissions import SAFE_METHODS, BasePermission

from eventsourcing_app.access.subscriptions import may_operate
from eventsourcing_app.access.visibility import may_view_events

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.views import APIView


class CommandPermission(BasePermission):
    """Asks the view's ``required_permissions()``: all of them are needed."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        required: Any = view.required_permissions()  # type: ignore[attr-defined]  # see EventSourcedViewSet
        return bool(request.user and request.user.is_authenticated and request.user.has_perms(required))


class FlowPermission(BasePermission):
    """Asks for the view's ``permission``: Django's, or a function of the request that decides."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        needed: Any = view.permission  # type: ignore[attr-defined]  # see FlowViewSet
        if not request.user or not request.user.is_authenticated:
            return False
        return bool(needed(request) if callable(needed) else request.user.has_perm(needed))


class StoredEventPermission(BasePermission):
    """Needs ``eventsourcing_app.view_storedevent``."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return bool(request.user and request.user.is_authenticated and may_view_events(request.user))


class OperatorPermission(BasePermission):
    """Asks the view's ``may_view(user)``; to act needs ``eventsourcing_app.operate_subscription`` besides."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        user = request.user
        if not (user and user.is_authenticated and view.may_view(user)):  # type: ignore[attr-defined]
            return False
        return request.method in SAFE_METHODS or may_operate(user)
