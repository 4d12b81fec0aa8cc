"""Parked events over HTTP, for operators: what subscriptions failed on, and what waits behind it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.http import Http404
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.response import Response

from eventsourcing_app.access.events import position_from
from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.access.subscriptions import PARKED_FILTERS, filtered_parked, may_view_parked, visible_parked
from eventsourcing_app.api.base import ApiViewSet
from eventsourcing_app.api.described import Described
from eventsourcing_app.api.operators import ParkedEventDetailSerializer, ParkedEventSerializer, ReasonSerializer
from eventsourcing_app.api.pagination import KeysetPagination
from eventsourcing_app.api.permissions import OperatorPermission
from eventsourcing_app.api.problems import InvalidParameter
from eventsourcing_app.conf import conf
from eventsourcing_app.subscriptions import operate
from eventsourcing_app.subscriptions.records import ParkedEvent

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from rest_framework.request import Request

    from eventsourcing_app.access.visibility import Viewer
    from eventsourcing_app.api.described import Operation


class ParkedEventViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, ApiViewSet):
    """Parked events: ``?subscription= &state= &after= &before= &limit=``.

    - ``GET /`` and ``GET /{id}/``: which event, of which subscription, how often it was tried, and what it failed of.
    - ``POST /{id}/retry/`` with a ``reason``: it is tried again at once; the answer is the parked event as it is then.
    - ``POST /{id}/skip/`` with a ``reason``: the subscription gives it up; 204, for it is parked no more.

    Needs ``eventsourcing_app.view_parkedevent``, and to act ``eventsourcing_app.operate_subscription`` besides. Errors
    may quote payloads and are left out without ``eventsourcing_app.view_payload``.
    """

    queryset = ParkedEvent.objects.all()
    serializer_class = ParkedEventSerializer
    permission_classes = (OperatorPermission,)
    pagination_class = KeysetPagination
    query_parameters = PARKED_FILTERS
    lookup_field = "pk"
    http_method_names = ("get", "post", "head", "options")
    parameter_descriptions = {
        "subscription": Described(description="Name of the subscription.", example="bank.alerts"),
        "state": Described(
            description="Why it is parked.", schema={"type": "string", "enum": ParkedEvent.State.values}, example="dead"
        ),
    }

    def may_view(self, user: Viewer) -> bool:
        """Whether the user may see what is here."""
        return may_view_parked(user)

    def get_queryset(self) -> QuerySet[Any]:
        """Return the parked events that this user may see."""
        return visible_parked(self.request.user)

    def filter_queryset(self, queryset: Any) -> QuerySet[Any]:
        for name in PARKED_FILTERS if self.action == "list" else ():
            if name in self.request.query_params:
                try:
                    queryset = filtered_parked(queryset, name, self.request.query_params[name])
                except ValueError as error:
                    raise InvalidParameter(name, str(error)) from error
        narrowed: QuerySet[Any] = queryset
        return narrowed

    def get_serializer_class(self) -> Any:
        return ParkedEventDetailSerializer if self.action == "retrieve" else super().get_serializer_class()

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "may_view_payload": may_view_payload(self.request.user)}

    def get_object(self) -> Any:
        identity = position_from(str(self.kwargs["pk"]))
        if identity is None:
            raise Http404
        self.kwargs["pk"] = identity
        return super().get_object()

    @action(detail=True, methods=["post"], serializer_class=ReasonSerializer)
    def retry(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Try it again at once, with all its attempts."""
        parked, reason = self.get_object(), self._reason()
        # In one transaction: until it ends, no worker can handle the event and take it out before it is shown.
        with transaction.atomic(using=conf.DATABASE):
            operate.retry(parked.segment.subscription_id, parked.position, reason=reason)
            shown = ParkedEventDetailSerializer(self.get_object(), context=self.get_serializer_context()).data
        return Response(shown)

    @action(detail=True, methods=["post"], serializer_class=ReasonSerializer)
    def skip(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Give it up for its subscription. The next of its stream may go on."""
        parked, reason = self.get_object(), self._reason()
        operate.skip(parked.segment.subscription_id, parked.position, reason=reason)
        return Response(status=status.HTTP_204_NO_CONTENT)

    def operation(self) -> Operation:
        described = super().operation()
        links = dict.fromkeys(("retrieve", "retry", "skip"), "$response.body#/id")
        if self.action == "list":
            return replace(described, links={"retrieve": "$response.body#/results/0/id"})
        if self.action == "retrieve":
            return replace(described, links=links)
        acted = replace(
            described, problems=described.problems | {409}, example={"reason": "The mail server is back."}, links=links
        )
        if self.action == "skip":
            return replace(acted, answer=None, status=status.HTTP_204_NO_CONTENT, links={})
        return replace(acted, answer=ParkedEventDetailSerializer)

    def _reason(self) -> str:
        given = ReasonSerializer(data=self.request.data, context=self.get_serializer_context())
        given.is_valid(raise_exception=True)
        reason: str = given.validated_data["reason"]
        return reason
