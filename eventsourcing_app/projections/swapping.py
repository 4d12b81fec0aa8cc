"""The swap: one transaction in which the live projection stands still and the rebuilt one takes its place.

What has not arrived there, or failed on the way, raises: the transaction is rolled back and nothing has changed.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from django.db import IntegrityError, transaction

from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import RebuildFailed
from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.log.settled import settled_position
from eventsourcing_app.projections import shadows
from eventsourcing_app.projections.arrival import (
    failed_in,
    require_arrived,
    require_checkpoint,
    require_none_failed,
)
from eventsourcing_app.projections.replay import ReplayRefused, refusal, replaying
from eventsourcing_app.subscriptions.acts import ProjectionRebuilt, record_act
from eventsourcing_app.subscriptions.definitions import segments_of, stored
from eventsourcing_app.subscriptions.drain import drain
from eventsourcing_app.subscriptions.operate import FREED
from eventsourcing_app.subscriptions.parking import parked_of, summarize
from eventsourcing_app.subscriptions.records import Segment, Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eventsourcing_app.projections.rebuilding import Target, Wishes
    from eventsourcing_app.subscriptions.registry import Definition

LETS_GO = datetime(2000, 1, 1, tzinfo=UTC)
"""A lease that is over, whatever the clock says."""
_LOCK_TIMEOUT = "2s"
"""So long readers may have to wait behind a swap that waits for another reader."""


class Stopped(Exception):
    """It was told to stop before it was through; undoes the transaction."""


class Swapped(NamedTuple):
    """What the swap found."""

    checkpoint: int
    parked: list[str]
    """The events that failed."""
    differing: int | None = None
    differences: tuple[shadows.Difference, ...] = ()


def swap_in(target: Target, wishes: Wishes) -> Swapped:
    """Handle what is left and put the shadows in place; to ``only_compare`` changes nothing.

    Raises ``OperationalError`` if the tables were locked for too long, ``Stopped`` if it was told to stop, and
    ``RebuildFailed`` if it cannot be put in place: then nothing has changed.
    """
    with _whole(target):
        _, segments = _stopped(target.live)
        # Not beyond what is settled now, and never less than what the live one has: nobody sees an older state.
        until = max(settled_position(), *(each.checkpoint for each in segments))
        with replaying(target.live.name, target.tables):
            _handle(target.definition, until, wishes.stop)
        parked = failed_in(target.definition.name)
        if not wishes.with_parked:
            require_none_failed(target.live.name, parked)
        differing, differences = None, list[shadows.Difference]()
        if wishes.compare or wishes.only_compare:
            differing, differences = _compared(target, until, wishes.stop)
        if not wishes.only_compare:
            _prepare_exchange()
            shadows.swap(target.tables)
            _take_over(target)
            record_act(
                ProjectionRebuilt(subscription=target.live.name, reason=wishes.reason, checkpoint=until, in_place=False)
            )
    return Swapped(until, parked, differing, tuple(differences))


def fill_again(target: Target, wishes: Wishes) -> int:
    """Empty the tables and handle all events again, in one transaction; return the checkpoint.

    Raises ``Stopped`` if it was told to stop, ``RebuildFailed`` if it does not come to its end: nothing is changed.
    """
    connection = log_connection()
    quote = connection.ops.quote_name
    with _whole(target):
        row, segments = _stopped(target.live)
        until = max(settled_position(), *(each.checkpoint for each in segments))
        with connection.cursor() as cursor:
            for table in reversed(target.tables):
                cursor.execute(f"DELETE FROM {quote(table)}")
        for segment in segments:
            parked_of(segment.pk).delete()
            segments_of(target.live.name).filter(pk=segment.pk).update(checkpoint=row.started_after, **FREED)
            summarize(segment.pk)
        with replaying(target.live.name, target.tables, in_place=True):
            _handle_live(target, row, until, wishes.stop)
        failed = failed_in(target.live.name)
        if failed:
            raise RebuildFailed(
                f"{len(failed)} events failed while {target.live.name} was filled again, so nothing was changed: "
                f"{failed[0]}"
            )
        _activate(target.live)
        record_act(
            ProjectionRebuilt(subscription=target.live.name, reason=wishes.reason, checkpoint=until, in_place=True)
        )
    return until


@contextmanager
def _whole(target: Target) -> Iterator[None]:
    """Let the block be one transaction, with its deferred constraints: all of it or nothing."""
    try:
        with transaction.atomic(using=conf.DATABASE):
            yield
    except ReplayRefused as error:
        raise refusal(error) from error
    except IntegrityError as error:
        raise RebuildFailed(
            f"What {target.live.name} would be breaks a constraint, so nothing was put in place: {error}"
        ) from error


def _stopped(definition: Definition) -> tuple[Subscription, list[Segment]]:
    """Lock a subscription until the end of the transaction, as operators do: first its row, then its segments.

    Whoever had claimed one of them has lost it.
    """
    row = stored().select_for_update(no_key=True).get(name=definition.name)
    require_checkpoint(row.name)
    segments = list(segments_of(definition.name).select_for_update(no_key=True).order_by("pk"))
    segments_of(definition.name).update(token=None, claimed_until=None, lost=False)
    return row, segments


def _handle(definition: Definition, until: int, stop: Callable[[], bool]) -> None:
    """Handle what is left, within this transaction, up to a position."""
    if not drain(definitions=[definition], inside_transaction=True, until=until, stop=stop).finished:
        raise Stopped
    require_arrived(definition.name, until)


def _handle_live(target: Target, row: Subscription, until: int, stop: Callable[[], bool]) -> None:
    """Handle what is left in the tables that serve, whatever keeps the live one from it: its status, pace, or wait."""
    live = stored().filter(name=row.name)
    live.update(status=Subscription.Status.ACTIVE, rate="", burst=None)
    segments_of(row.name).update(retry_at=None)
    definition = replace(target.live, rate="", burst=None, on_failure="park", max_attempts=1)
    _handle(definition, until, stop)
    live.update(status=row.status, rate=row.rate, burst=row.burst)


def _compared(target: Target, until: int, stop: Callable[[], bool]) -> tuple[int, list[shadows.Difference]]:
    """Compare the two, both as of a position; what the live one handled for it is undone."""
    row = stored().get(name=target.live.name)
    with transaction.atomic(using=conf.DATABASE):
        _handle_live(target, row, until, stop)
        found = shadows.differences(target.projection.models)
        transaction.set_rollback(True, using=conf.DATABASE)
    return found


def _take_over(target: Target) -> None:
    """Give the live subscription the checkpoints and the parked events of the rebuild, which is forgotten."""
    live = {each.number: each.pk for each in segments_of(target.live.name)}
    for segment in segments_of(target.definition.name).order_by("number"):
        parked_of(live[segment.number]).delete()
        parked_of(segment.pk).update(segment_id=live[segment.number])
        segments_of(target.live.name).filter(pk=live[segment.number]).update(checkpoint=segment.checkpoint, **FREED)
        summarize(live[segment.number])
    stored().filter(name=target.definition.name).delete()
    if not failed_in(target.live.name):
        _activate(target.live)


def _activate(definition: Definition) -> None:
    """Let a projection go on that was halted: what halted it is gone."""
    halted = stored().filter(name=definition.name, status=Subscription.Status.HALTED)
    halted.update(status=Subscription.Status.ACTIVE, status_reason="")


def _prepare_exchange() -> None:
    connection = log_connection()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # Else a table into which something was written could not be exchanged: its foreign keys wait for a check.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
