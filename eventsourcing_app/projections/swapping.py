"""The swap: one transaction in which the live projection stands still and the rebuilt one takes its place."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import transaction

from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import RebuildFailed
from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.log.settled import settled_position
from eventsourcing_app.projections import shadows
from eventsourcing_app.projections.replay import ReplayRefused, refusal, replaying
from eventsourcing_app.subscriptions.acts import ProjectionRebuilt, record_act
from eventsourcing_app.subscriptions.definitions import stored
from eventsourcing_app.subscriptions.drain import drain
from eventsourcing_app.subscriptions.operate import FREED
from eventsourcing_app.subscriptions.parking import parked_of, summarize
from eventsourcing_app.subscriptions.records import ParkedEvent, Segment, Subscription

if TYPE_CHECKING:
    from eventsourcing_app.projections.rebuilding import Target
    from eventsourcing_app.subscriptions.registry import Definition

LETS_GO = datetime(2000, 1, 1, tzinfo=UTC)
"""A lease that is over, whatever the clock says."""
_LOCK_TIMEOUT = "2s"
"""So long readers may have to wait behind a swap that waits for another reader."""


class Swapped(NamedTuple):
    """What the swap found."""

    checkpoint: int
    differing: int | None = None
    differences: tuple[shadows.Difference, ...] = ()


def swap_in(target: Target, *, compare: bool, keep: bool, reason: str) -> Swapped:
    """Handle what is left and put the shadows in place; with ``keep``, only compare and change nothing.

    Raises ``OperationalError`` if the tables were locked for too long.
    """
    with transaction.atomic(using=conf.DATABASE):
        live = _stopped(target.live)
        # Not beyond what is settled now, and never less than what the live one has: nobody sees an older state.
        until = max(settled_position(), *(each.checkpoint for each in live))
        _handle(target.definition, until, tables=target.tables, name=target.live.name)
        differing, differences = None, list[shadows.Difference]()
        if compare:
            _handle(target.live, until)
            differing, differences = shadows.differences(target.projection.models)
        if not keep:
            _set_lock_timeout()
            shadows.swap(target.tables)
            _take_over(target)
            record_act(
                ProjectionRebuilt(subscription=target.live.name, reason=reason, checkpoint=until, in_place=False)
            )
    return Swapped(until, differing, tuple(differences))


def fill_again(target: Target, *, reason: str) -> int:
    """Empty the tables and handle all events again, in one transaction; return the checkpoint."""
    connection = log_connection()
    quote = connection.ops.quote_name
    with transaction.atomic(using=conf.DATABASE):
        segments = _stopped(target.live)
        row = stored().get(name=target.live.name)
        until = max(settled_position(), *(each.checkpoint for each in segments))
        with connection.cursor() as cursor:
            for table in reversed(target.tables):
                cursor.execute(f"DELETE FROM {quote(table)}")
        for segment in segments:
            parked_of(segment.pk).delete()
            _rows(target.live).filter(pk=segment.pk).update(checkpoint=row.started_after, **FREED)
            summarize(segment.pk)
        _activate(target.live)
        _handle(target.live, until)
        parked = ParkedEvent.objects.using(conf.DATABASE).filter(segment__subscription=target.live.name).first()
        if parked is not None:
            raise RebuildFailed(
                f"Event #{parked.position} {parked.type} failed while {target.live.name} was filled again, so nothing "
                f"was changed: {parked.reason}"
            )
        record_act(ProjectionRebuilt(subscription=target.live.name, reason=reason, checkpoint=until, in_place=True))
    return until


def _rows(definition: Definition) -> Any:
    return Segment.objects.using(conf.DATABASE).filter(subscription=definition.name)


def _stopped(definition: Definition) -> list[Segment]:
    """Lock the segments until the end of the transaction; whoever had claimed one has lost it."""
    segments = list(_rows(definition).select_for_update(no_key=True).order_by("pk"))
    _rows(definition).update(token=None, claimed_until=None, lost=False)
    return segments


def _handle(definition: Definition, until: int, *, tables: tuple[str, ...] = (), name: str = "") -> None:
    """Handle what is left, within this transaction, up to a position."""
    if not tables:
        drain(definitions=[definition], inside_transaction=True, until=until)
        return
    try:
        with replaying(name, tables):
            drain(definitions=[definition], inside_transaction=True, until=until)
    except ReplayRefused as error:
        raise refusal(error) from error


def _take_over(target: Target) -> None:
    """Give the live subscription the checkpoints and the parked events of the rebuild, which is forgotten."""
    live = {each.number: each.pk for each in _rows(target.live)}
    for segment in _rows(target.definition).order_by("number"):
        parked_of(live[segment.number]).delete()
        parked_of(segment.pk).update(segment_id=live[segment.number])
        _rows(target.live).filter(pk=live[segment.number]).update(checkpoint=segment.checkpoint, **FREED)
        summarize(live[segment.number])
    stored().filter(name=target.definition.name).delete()
    if not ParkedEvent.objects.using(conf.DATABASE).filter(segment__subscription=target.live.name).exists():
        _activate(target.live)


def _activate(definition: Definition) -> None:
    """Let a projection go on that was halted: what halted it is gone."""
    halted = stored().filter(name=definition.name, status=Subscription.Status.HALTED)
    halted.update(status=Subscription.Status.ACTIVE, status_reason="")


def _set_lock_timeout() -> None:
    connection = log_connection()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
