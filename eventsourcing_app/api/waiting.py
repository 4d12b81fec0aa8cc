"""Reading one's own writes over HTTP: a read of a projection waits until that has reached a position."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from django.utils.translation import gettext as _
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.permissions import SAFE_METHODS

from eventsourcing_app.access.events import LARGEST_POSITION, position_from
from eventsourcing_app.api.described import Described
from eventsourcing_app.api.problems import InvalidParameter
from eventsourcing_app.exceptions import NotCaughtUp
from eventsourcing_app.log.settled import last_position
from eventsourcing_app.subscriptions.runtime import wait_for

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from rest_framework.request import Request
    from rest_framework.views import APIView as _View

    from eventsourcing_app.api.described import Operation
else:
    _View = object

WAIT_FOR = "wait_for"
_DESCRIBED = Described(
    description="Wait until what is read here has come to this position, which a command has answered.",
    schema={"type": "integer", "format": "int64", "minimum": 0, "maximum": LARGEST_POSITION},
    example=1,
)


class NotCaughtUpYet(APIException):
    """A projection has not reached the position in time."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "not_caught_up"
    wait = 1

    def __init__(self, error: NotCaughtUp) -> None:
        super().__init__(_("What you wait for has not been reached in time. Ask again."))
        self.facts = {"position": error.position, "waiting": list(error.waiting)}


class WaitsForProjections(_View):
    """Put before a view that reads projections: ``?wait_for=N`` waits until they have reached the position ``N``.

    ``N`` is the ``position`` that a command has answered. If they have not reached it after ``wait_limit`` seconds, the
    answer is 409 with ``Retry-After``, ``position`` and ``waiting``, which says who is behind.
    """

    projections: ClassVar[Collection[str] | None] = None
    """Names of the projections that the view reads; all of them by default."""
    wait_limit: ClassVar[float] = 2.0
    """How long to wait, in seconds. A thread of the server waits, so keep it short."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method in SAFE_METHODS and (text := request.query_params.get(WAIT_FOR)) is not None:
            self._wait(text)

    def parameters_of(self, action: str) -> Collection[str]:
        """Return the query parameters that an action understands, for a view that refuses others."""
        known: Collection[str] = super().parameters_of(action)  # type: ignore[misc]  # see ApiViewSet
        return {*known, WAIT_FOR}

    def described_parameters(self, action: str) -> Mapping[str, Described]:
        """Return what the schema says of the query parameters of an action."""
        known: Mapping[str, Described] = super().described_parameters(action)  # type: ignore[misc]  # see ApiViewSet
        return {**known, WAIT_FOR: _DESCRIBED}

    def operation(self) -> Operation:
        """Return what the schema says of the current action."""
        described: Operation = super().operation()  # type: ignore[misc]  # see ApiViewSet
        return replace(described, problems=described.problems | {409})

    def _wait(self, text: str) -> None:
        position = position_from(text)
        if position is None:
            raise InvalidParameter(WAIT_FOR, _("It is no position."))
        if position > last_position():
            raise InvalidParameter(WAIT_FOR, _("The log has not come to this position."), "position_ahead")
        try:
            wait_for(position, subscription=self.projections, timeout=self.wait_limit)
        except NotCaughtUp as error:
            raise NotCaughtUpYet(error) from error
