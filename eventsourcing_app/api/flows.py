"""Flows over HTTP: one request, several aggregates, all of it or nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.http import Http404
from django.utils.translation import gettext as _
from rest_framework import status
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.response import Response

from eventsourcing_app.access.visibility import narrowed
from eventsourcing_app.api.answers import value_serializer
from eventsourcing_app.api.asking import viewset_for
from eventsourcing_app.api.base import ApiViewSet
from eventsourcing_app.api.commands import serializer_for_flow, titled
from eventsourcing_app.api.idempotency import HEADER, REPLAYED, Reply, Replying, key_of
from eventsourcing_app.api.permissions import FlowPermission
from eventsourcing_app.api.refusals import refusals_answered
from eventsourcing_app.api.serializers import StoredEventSerializer
from eventsourcing_app.conf import conf
from eventsourcing_app.context import context
from eventsourcing_app.log.records import StoredEvent, StoredEventQuerySet
from eventsourcing_app.log.watch import Written, watching

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from rest_framework.request import Request
    from rest_framework.serializers import BaseSerializer

    from eventsourcing_app.aggregates.flow import Flow
    from eventsourcing_app.aggregates.receipts import FlowReceipt
    from eventsourcing_app.api.aggregates import EventSourcedViewSet
    from eventsourcing_app.api.described import Operation

MAX_EVENTS = 100
"""How many of the events that a flow wrote its answer shows."""


class FlowViewSet(ApiViewSet):
    """A flow as an address that requests are posted to::

        class TransferViewSet(FlowViewSet, flow=transfer):
            permission = "bank.transfer_money"
            aggregates = {"source": AccountViewSet, "target": AccountViewSet}

    The body holds the flow's arguments, checked against its signature; the answer holds the ``value`` that it returned,
    the ``events`` that it wrote (the first 100), their ``count``, and the ``position`` of the last one. With an
    ``Idempotency-Key`` a request can be repeated safely. What the flow refuses is answered as for a command. Raises
    ``ImproperlyConfigured`` if no request, or no answer, can be made of its signature.
    """

    permission: ClassVar[str | Callable[[Request], bool]]
    """The permission that is needed, or a function that decides."""
    arguments: ClassVar[Collection[str] | None] = None
    """Names of the arguments that a request may give; all by default."""
    aggregates: ClassVar[Mapping[str, type[EventSourcedViewSet]]] = {}
    """By the name of an argument that is the key of an aggregate, the viewset that must show it to the user."""
    success_status: ClassVar[int] = status.HTTP_201_CREATED
    idempotency_key_required: ClassVar[bool] = False
    """Whether a request needs an ``Idempotency-Key`` (400 without it)."""
    permission_classes = (FlowPermission,)
    pagination_class = None
    http_method_names = ("post", "head", "options")

    _flow: ClassVar[Flow[..., Any]]

    def __init_subclass__(cls, flow: Flow[..., Any] | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if flow is None:
            return
        if not hasattr(cls, "permission"):
            raise ImproperlyConfigured(f"{cls.__name__} does not say who may run {flow.name!r}: set `permission`.")
        flow.answers  # noqa: B018  # raises for what no answer can be made of
        names = {parameter.name: parameter for parameter in flow.parameters}
        offered = names if cls.arguments is None else cls.arguments
        for attribute, given in (("arguments", offered), ("aggregates", cls.aggregates)):
            if unknown := sorted(set(given) - set(names)):
                raise ImproperlyConfigured(f"{cls.__name__}.{attribute}: {flow.name!r} has no {', '.join(unknown)}.")
        if missing := sorted(each.name for each in names.values() if each.required and each.name not in offered):
            raise ImproperlyConfigured(f"{cls.__name__}.arguments: {flow.name!r} needs {', '.join(missing)}, too.")
        cls._flow = flow
        if cls.serializer_class is None:
            cls.serializer_class = serializer_for_flow(flow, [names[name] for name in offered])

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Run the flow."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        arguments = self.arguments_for(dict(serializer.validated_data))
        self._require_visible(arguments)
        key = key_of(request, required=self.idempotency_key_required)
        written: list[Written] = []
        replying: Replying[FlowReceipt[Any]] = Replying(partial(self._told, written), request.user)
        with context(), refusals_answered(written), watching(written.append):
            receipt = self._flow.run(key, (), arguments, keeping=replying.keeping)
        reply = replying.reply_to(receipt)
        return Response(reply.body, status=reply.status, headers=REPLAYED if receipt.replayed else {})

    def arguments_for(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments to run the flow with, from those that were given and checked."""
        return given

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        assert self.serializer_class is not None, "made with the class"
        return self.serializer_class

    def operation(self) -> Operation:
        described = super().operation()
        return replace(
            described,
            answer=value_serializer(titled(self._flow.name), self._flow.answers.annotation),
            status=self.success_status,
            problems=described.problems | {404, 409, 422, 503},
            headers=(*described.headers, HEADER),
            answer_headers=(*described.answer_headers, *REPLAYED),
        )

    def _require_visible(self, arguments: Mapping[str, Any]) -> None:
        for name, viewset in self.aggregates.items():
            if arguments.get(name) is None:
                continue
            view = viewset_for(viewset, self, "retrieve")
            try:
                view.check_permissions(self.request)
                view.visible_object(arguments[name])
            except Http404 as error:
                refused = ErrorDetail(_("There is no such object."), code="not_found")
                raise ValidationError({name: [refused]}) from error

    def _told(self, written: Sequence[Written], receipt: FlowReceipt[Any]) -> Reply:
        # What a lost race took back is among what was written, but not in the log.
        event_ids = [event_id for each in written for event_id in each.event_ids]
        log = StoredEventQuerySet(StoredEvent, using=conf.DATABASE)
        events = log.filter(event_id__in=event_ids).order_by("position")
        count = events.count()
        visible = narrowed(events, self.request.user)[:MAX_EVENTS]
        shown = StoredEventSerializer(visible, many=True, context=self.get_serializer_context())
        body = {
            "value": json.loads(self._flow.answers.text(receipt.value)),
            "events": shown.data,
            "count": count,
            "position": receipt.position,
        }
        return Reply(self.success_status, body)
