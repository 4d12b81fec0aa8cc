"""What an operator does to single events of a subscription: nothing to those that there are not for that operator.

An act on a whole subscription (``operate.pause``, ``reset``, ``retry`` of all) concerns all events of it, whoever acts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import F

from eventsourcing_app.access.subscriptions import may_view_parked
from eventsourcing_app.access.visibility import narrowed_positions
from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import OperationRefused
from eventsourcing_app.subscriptions import operate
from eventsourcing_app.subscriptions.records import Segment

if TYPE_CHECKING:
    from eventsourcing_app.access.visibility import Viewer


def retry(user: Viewer, name: str, position: int | None = None, *, reason: str) -> int:
    """Do ``operate.retry`` for a user. Raises ``OperationRefused`` for a position as if nothing had failed there."""
    if position is not None and not _may_know_of_failure(user, name, position):
        raise OperationRefused(operate.nothing_to_try(name, position))
    return operate.retry(name, position, reason=reason)


def skip(user: Viewer, name: str, position: int, *, reason: str) -> None:
    """Do ``operate.skip`` for a user. Raises ``OperationRefused`` for a position as if nothing had failed there."""
    if not _may_know_of_failure(user, name, position):
        raise OperationRefused(operate.nothing_to_skip(name, position))
    operate.skip(name, position, reason=reason)


def _may_know_of_failure(user: Viewer, name: str, position: int) -> bool:
    """Whether the user may see that this event failed: as a parked one, or because the subscription stopped at it."""
    if position not in narrowed_positions(user, {position}):
        return False
    if may_view_parked(user):
        return True
    segments = Segment.objects.using(conf.DATABASE).filter(subscription=name, failed_position=position)
    return segments.filter(checkpoint__lt=F("failed_position")).exists()
