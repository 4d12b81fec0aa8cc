"""``HealthView``: whether log and subscriptions are well, for probes; it answers whatever state the database is in."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from django.db import Error
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from eventsourcing_app.access.subscriptions import may_view_subscriptions
from eventsourcing_app.api.described import CORRELATION, DescribedView, Operation
from eventsourcing_app.api.fields import WordField
from eventsourcing_app.api.problems import DatabaseUnavailable, exception_handler, unknown_parameter
from eventsourcing_app.subscriptions.health import recent_health

if TYPE_CHECKING:
    from collections.abc import Callable

    from rest_framework.request import Request


class FaultSerializer(serializers.Serializer[Any]):
    """Why it is not well."""

    code = WordField(("log_unsafe", "append_open", "lag", "halted", "dead_events"))
    detail = serializers.CharField()


class HealthSerializer(serializers.Serializer[Any]):
    """How log and subscriptions are. Whoever may not see subscriptions gets ``status`` alone."""

    status = WordField(("ok", "failing"))
    reasons = FaultSerializer(many=True, required=False)
    last_position = serializers.IntegerField(required=False, allow_null=True)
    settled_position = serializers.IntegerField(required=False, allow_null=True)
    open_seconds = serializers.FloatField(required=False, allow_null=True)
    slowest = serializers.CharField(required=False, allow_null=True)
    lag_events = serializers.IntegerField(required=False)
    lag_seconds = serializers.FloatField(required=False)
    parked = serializers.IntegerField(required=False)
    dead = serializers.IntegerField(required=False)
    halted = serializers.ListField(child=serializers.CharField(), required=False)


class HealthView(DescribedView, APIView):
    """Whether all is well: 200 with ``{"status": "ok"}``, or 503 with ``{"status": "failing"}``.

    Anybody may ask, as often as it likes: a process asks the database once a second at most. Who has
    ``eventsourcing_app.view_subscription`` is told positions, lag, parked and dead events, halted subscriptions and the
    reasons as well. If the database does not answer, that is a 503, too, as a problem.
    """

    serializer_class = HealthSerializer
    permission_classes = ()
    throttle_classes = ()
    # The page for browsers asks who the user is, which may need the database.
    renderer_classes = (JSONRenderer,)
    http_method_names = ("get", "head", "options")
    basename = "health"

    def operation(self) -> Operation:
        return Operation(
            answer=HealthSerializer,
            summary="Health",
            answers={503: HealthSerializer},
            problems=frozenset({400, 401, 406, 500}),
            headers=(CORRELATION,),
            answer_headers=(CORRELATION, "Cache-Control"),
        )

    def operation_name(self, action: str) -> str:
        return self.basename

    def get_exception_handler(self) -> Callable[..., Response | None]:
        return exception_handler

    def perform_authentication(self, request: Request) -> None:
        """Leave it to ``get``: it may need the database, which may be down."""

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        final = super().finalize_response(request, response, *args, **kwargs)
        final["Cache-Control"] = "no-store"
        return final

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Whether all is well, and to operators why not."""
        for name in request.query_params:
            if name != self.settings.URL_FORMAT_OVERRIDE:
                raise unknown_parameter(name)
        health = recent_health.get()
        if health is None:
            raise DatabaseUnavailable
        reasons = health.reasons()
        shown: dict[str, Any] = {"status": "failing" if reasons else "ok"}
        if _is_operator(request):
            shown = HealthSerializer({**asdict(health), **shown, "reasons": reasons}).data
        return Response(shown, status=503 if reasons else 200)


def _is_operator(request: Request) -> bool:
    try:
        return bool(request.user and may_view_subscriptions(request.user))
    except Error as error:  # it has gone since
        raise DatabaseUnavailable from error
