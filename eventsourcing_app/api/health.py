"""``HealthView``: whether log and subscriptions are well, for probes; it answers whatever state the database is in."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from django.db import Error
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from eventsourcing_app.access.subscriptions import may_view_subscriptions
from eventsourcing_app.api.problems import DatabaseUnavailable, InvalidParameter, exception_handler
from eventsourcing_app.subscriptions.health import recent_health

if TYPE_CHECKING:
    from collections.abc import Callable

    from rest_framework.request import Request


class ReasonSerializer(serializers.Serializer[Any]):
    """Why it is not well."""

    code = serializers.CharField(read_only=True)
    detail = serializers.CharField(read_only=True)


class HealthSerializer(serializers.Serializer[Any]):
    """How log and subscriptions are. Whoever may not see subscriptions gets ``status`` alone."""

    status = serializers.ChoiceField(choices=("ok", "failing"), read_only=True)
    reasons = ReasonSerializer(many=True, read_only=True)
    last_position = serializers.IntegerField(read_only=True, allow_null=True)
    settled_position = serializers.IntegerField(read_only=True, allow_null=True)
    open_seconds = serializers.FloatField(read_only=True, allow_null=True)
    slowest = serializers.CharField(read_only=True, allow_null=True)
    lag_events = serializers.IntegerField(read_only=True)
    lag_seconds = serializers.FloatField(read_only=True)
    parked = serializers.IntegerField(read_only=True)
    dead = serializers.IntegerField(read_only=True)
    halted = serializers.ListField(child=serializers.CharField(), read_only=True)


class HealthView(APIView):
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
                raise InvalidParameter(name, _("There is no parameter %s here.") % ascii(name)[:80], "unknown")
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
