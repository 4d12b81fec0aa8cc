"""Subscriptions over HTTP, for operators: how far each has come, what it failed on, and what is done about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from django.http import Http404
from rest_framework.decorators import action
from rest_framework.response import Response

from eventsourcing_app.access import operating
from eventsourcing_app.access.events import is_text
from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.access.subscriptions import may_view_subscriptions, visible_subscriptions
from eventsourcing_app.api.base import ApiViewSet
from eventsourcing_app.api.operators import (
    CatchingUpSerializer,
    RateSerializer,
    ReasonSerializer,
    ResetSerializer,
    RetriedSerializer,
    RetrySerializer,
    SkipSerializer,
    SubscriptionDetailSerializer,
    SubscriptionSerializer,
)
from eventsourcing_app.api.pagination import KeysetPagination
from eventsourcing_app.api.permissions import OperatorPermission
from eventsourcing_app.subscriptions import operate
from eventsourcing_app.subscriptions.overview import overviews
from eventsourcing_app.subscriptions.records import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import QuerySet
    from rest_framework.request import Request

    from eventsourcing_app.access.visibility import Viewer
    from eventsourcing_app.api.described import Operation


class SubscriptionPagination(KeysetPagination):
    """Subscriptions by name, in smaller pages: each brings its segments along."""

    largest_limit = 100


_ACTS: Mapping[str, Mapping[str, object]] = {
    "pause": {},
    "resume": {},
    "retry": {},
    "skip": {"position": 1},
    "reset": {"to": "beginning"},
    "catch_up": {},
    "rate": {"rate": "50/s"},
}
"""What operators can do, and what an example of it says besides the reason."""
_ANSWERS: Mapping[str, type[SubscriptionSerializer]] = {"retry": RetriedSerializer, "catch_up": CatchingUpSerializer}
"""What is answered, if not the subscription alone."""


class SubscriptionViewSet(ApiViewSet):
    """The subscriptions that the database knows, and what operators do to them.

    - ``GET /`` and ``GET /{name}/``: what it is, how far it is behind, its segments, and what it failed on.
    - ``POST /{name}/pause|resume|retry|skip|reset|catch-up|rate/`` with a ``reason``, which is kept in the log together
      with who acted: the answer is the subscription as it is then.

    Needs ``eventsourcing_app.view_subscription``, and to act ``eventsourcing_app.operate_subscription`` besides. Errors
    may quote payloads and are left out without ``eventsourcing_app.view_payload``.
    """

    queryset = Subscription.objects.all()
    serializer_class = SubscriptionSerializer
    permission_classes = (OperatorPermission,)
    pagination_class = SubscriptionPagination
    lookup_field = "name"
    http_method_names = ("get", "post", "head", "options")

    def may_view(self, user: Viewer) -> bool:
        """Whether the user may see what is here."""
        return may_view_subscriptions(user)

    def get_queryset(self) -> QuerySet[Any]:
        """Return the subscriptions that this user may see."""
        return visible_subscriptions(self.request.user)

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "may_view_payload": may_view_payload(self.request.user)}

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """All subscriptions, by name, in pages."""
        page: Any = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(self.get_serializer(overviews(page), many=True).data)

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """One subscription, with the whole errors of its segments."""
        return Response(self._shown())

    @action(detail=True, methods=["post"], serializer_class=ReasonSerializer)
    def pause(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Let it handle nothing more after what is under way, until it is resumed."""
        return self._answer(operate.pause)

    @action(detail=True, methods=["post"], serializer_class=ReasonSerializer)
    def resume(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Let it go on that was paused or halted."""
        return self._answer(operate.resume)

    @action(detail=True, methods=["post"], serializer_class=RetrySerializer)
    def retry(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Try parked events again at once, with all their attempts: the one at ``position``, or all that failed."""
        return self._answer(partial(operating.retry, request.user), told_as="retried")

    @action(detail=True, methods=["post"], serializer_class=SkipSerializer)
    def skip(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Give up the event at ``position`` for this subscription."""
        return self._answer(partial(operating.skip, request.user))

    @action(detail=True, methods=["post"], serializer_class=ResetSerializer)
    def reset(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Move it ``to`` the beginning, now, or a position: what comes after it is handled, perhaps again."""
        return self._answer(operate.reset)

    @action(detail=True, methods=["post"], serializer_class=ReasonSerializer, url_path="catch-up")
    def catch_up(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Have it served first, without the waits after failures."""
        return self._answer(operate.catch_up, told_as="position")

    @action(detail=True, methods=["post"], serializer_class=RateSerializer)
    def rate(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Set how many events it may handle in a time: ``50/s``, or empty for as many as come."""
        return self._answer(operate.set_rate)

    def operation(self) -> Operation:
        described = super().operation()
        links = dict.fromkeys(("retrieve", *_ACTS), "$response.body#/name")
        if self.action == "list":
            return replace(described, links={"retrieve": "$response.body#/results/0/name"})
        if self.action == "retrieve":
            return replace(described, answer=SubscriptionDetailSerializer, links=links)
        return replace(
            described,
            answer=_ANSWERS.get(self.action, SubscriptionDetailSerializer),
            problems=described.problems | {409},
            example={"reason": "The mail server is down.", **_ACTS[self.action]},
            links=links,
        )

    def _answer(self, act: Callable[..., object], *, told_as: str = "") -> Response:
        given = self.get_serializer(data=self.request.data)
        given.is_valid(raise_exception=True)
        told = act(self._name(), **given.validated_data)
        return Response({**self._shown(), **({told_as: told} if told_as else {})})

    def _shown(self) -> dict[str, Any]:
        shown = overviews(list(self.get_queryset().filter(name=self._name())))
        if not shown:
            raise Http404
        serializer = SubscriptionDetailSerializer(shown[0], context=self.get_serializer_context())
        return dict(serializer.data)

    def _name(self) -> str:
        name = str(self.kwargs["name"])
        if not is_text(name):
            raise Http404
        return name
