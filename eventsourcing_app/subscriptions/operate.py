"""What operators do: pause, resume, retry, skip, reset, catch up, and set the pace. Each leaves an event in the log.

Who acts is the actor of the context (``with context(actor="user:7"):``; in a request the middleware has set it); why is
the reason, which has to be given. Act and event are stored together.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import NoSuchSubscription, OperationRefused
from eventsourcing_app.log.read import read_window
from eventsourcing_app.log.settled import last_position
from eventsourcing_app.subscriptions import acts
from eventsourcing_app.subscriptions.claim import FREE
from eventsourcing_app.subscriptions.definitions import position_of, segments_of, stored
from eventsourcing_app.subscriptions.hurry import hurry
from eventsourcing_app.subscriptions.parking import parked_of, summarize, take_out
from eventsourcing_app.subscriptions.rates import Rate
from eventsourcing_app.subscriptions.records import ParkedEvent, Segment, Subscription

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventsourcing_app.subscriptions.registry import Start

_Status, _State = Subscription.Status, ParkedEvent.State

FREED: dict[str, Any] = {
    **FREE,
    "lost": False,
    "attempted_position": None,
    "attempts": 0,
    "failed_position": None,
    "failed_at": None,
    "last_error": "",
    "retry_at": None,
}
"""A segment that nobody is at and that nothing is wrong with. Whoever had claimed it cannot move its checkpoint."""


def pause(name: str, *, reason: str) -> None:
    """Let a subscription handle nothing more after the batches that are under way, until it is resumed."""
    with operating(name, reason) as row:
        if row.status != _Status.ACTIVE:
            raise OperationRefused(_is(row, _("only one that is active can be paused")))
        _set_status(row, _Status.PAUSED, reason)
        acts.record_act(acts.SubscriptionPaused(subscription=name, reason=reason))


def resume(name: str, *, reason: str) -> None:
    """Let a subscription go on that was paused or halted; an event that halted it is tried anew."""
    with operating(name, reason) as row:
        before = row.status
        if before not in (_Status.PAUSED, _Status.HALTED):
            raise OperationRefused(_is(row, _("only one that is paused or halted can be resumed")))
        _set_status(row, _Status.ACTIVE, "")
        stopped = [segment.pk for segment in locked(name) if segment.stopped_at is not None]
        segments_of(name).filter(pk__in=stopped).update(attempts=0, retry_at=None)
        acts.record_act(acts.SubscriptionResumed(subscription=name, reason=reason, before=before))


def retry(name: str, position: int | None = None, *, reason: str) -> int:
    """Try parked events again at once, with all their attempts, dead ones too: the one at ``position``, or all.

    A subscription that was halted by an event tries that one again, and goes on. Returns how many events will be tried.
    """
    with operating(name, reason) as row:
        positions = []
        for segment in locked(name):
            failed = parked_of(segment.pk).exclude(state=_State.BEHIND)
            failed = failed if position is None else failed.filter(position=position)
            positions += list(failed.order_by("position").values_list("position", flat=True))
            failed.update(state=_State.FAILED, attempts=0, retry_at=Now())
            summarize(segment.pk)
            stopped_at = segment.stopped_at
            if stopped_at is not None and position in (None, stopped_at):
                positions.append(stopped_at)
                segments_of(name).filter(pk=segment.pk).update(attempts=0, retry_at=None)
                _go_on(row)
        if not positions:
            raise OperationRefused(nothing_to_try(name, position))
        acts.record_act(acts.ParkedEventsRetried(subscription=name, reason=reason, positions=tuple(positions)))
        return len(positions)


def skip(name: str, position: int, *, reason: str) -> None:
    """Give up an event for this subscription: one that is parked, or that it has stopped at. The next may go on."""
    with operating(name, reason) as row:
        for segment in locked(name):
            parked = parked_of(segment.pk).filter(position=position).first()
            if parked is not None:
                take_out(segment.pk, parked)
            elif segment.stopped_at == position:
                segments_of(name).filter(pk=segment.pk).update(checkpoint=position, **FREED)
                _go_on(row)
            else:
                continue
            (skipped,) = read_window(after=position - 1, until=position)
            acts.record_act(
                acts.EventSkipped(
                    subscription=name,
                    reason=reason,
                    position=position,
                    event_id=skipped.event_id,
                    type=skipped.type,
                )
            )
            return
        raise OperationRefused(nothing_to_skip(name, position))


def reset(name: str, to: Start, *, reason: str) -> None:
    """Move a subscription to ``"beginning"``, ``"now"`` or a position: what comes after it is handled, perhaps again.

    Its parked events after that position come again as well; those before it stay. Raises ``OperationRefused`` for a
    projection that would count events twice: ``manage.py rebuild_projection`` is for that.
    """
    if to not in ("beginning", "now") and type(to) is not int:
        raise OperationRefused(
            _("%(to)r is nothing to reset to: it may be 'beginning', 'now' or a position.") % {"to": to}
        )
    with operating(name, reason) as row:
        checkpoint = position_of(to)
        if checkpoint < 0 or checkpoint > last_position():
            raise OperationRefused(
                _("#%(position)d is not in the log, which ends at #%(last)d.")
                % {"position": checkpoint, "last": last_position()}
            )
        segments = locked(name)
        if not segments:
            raise OperationRefused(
                _(
                    "%(name)s was unsubscribed and its checkpoint dropped: there is none to move. First subscribe it "
                    "again."
                )
                % {"name": name}
            )
        if row.kind == Subscription.Kind.PROJECTION and any(each.checkpoint > checkpoint for each in segments):
            raise OperationRefused(
                _(
                    "%(name)s is a projection: it would count again what it has counted. Run manage.py "
                    "rebuild_projection %(name)s, which builds it from the beginning beside the one that serves."
                )
                % {"name": name}
            )
        for segment in segments:
            parked_of(segment.pk).filter(position__gt=checkpoint).delete()
            segments_of(name).filter(pk=segment.pk).update(checkpoint=checkpoint, careful_until=0, **FREED)
            summarize(segment.pk)
        acts.record_act(
            acts.SubscriptionReset(
                subscription=name,
                reason=reason,
                checkpoint=checkpoint,
                before=tuple(each.checkpoint for each in segments),
            )
        )


def catch_up(name: str, *, reason: str) -> int:
    """Ask the workers to serve a subscription first, and to try at once what waits after a failure.

    Returns the position to wait for: ``wait_for(position, subscription=name)``.
    """
    with operating(name, reason) as row:
        if row.status != _Status.ACTIVE:
            raise OperationRefused(_is(row, _("resume it first")))
        position = last_position()
        locked(name)
        hurry([name])
        segments_of(name).update(served_at=None)
        acts.record_act(acts.SubscriptionHurried(subscription=name, reason=reason, position=position))
        return position


def set_rate(name: str, rate: str, burst: int | None = None, *, reason: str) -> None:
    """Set how many events a subscription may handle in a time (``"50/s"``), from now on; empty: as many as come.

    Stays until the code declares another rate than it does today. Waits that the rate until now has caused are over;
    so are those after failures, which cannot be told from them. Raises ``ImproperlyConfigured`` for what is no rate.
    """
    if rate:
        Rate.parse(rate, burst)
    with operating(name, reason) as row:
        before, row.rate, row.burst = row.rate, rate, burst if rate else None
        row.tokens, row.refilled_at = 0, None
        row.save(update_fields=["rate", "burst", "tokens", "refilled_at"])
        hurry([name])
        changed = acts.SubscriptionRateChanged(
            subscription=name, reason=reason, rate=rate, burst=row.burst, before=before
        )
        acts.record_act(changed)


@contextmanager
def operating(name: str, reason: str) -> Iterator[Subscription]:
    """Lock the subscription, so that operators act one after the other, in the transaction that records the act."""
    if not reason.strip():
        raise OperationRefused(_("Say why: the reason is kept in the log with what is done."))
    with transaction.atomic(using=conf.DATABASE):
        row = stored().select_for_update(no_key=True).filter(name=name).first()
        if row is None:
            raise NoSuchSubscription(
                _("There is no subscription %(name)r. manage.py subscriptions list shows them.") % {"name": name}
            )
        if row.kind == Subscription.Kind.REBUILD:
            raise OperationRefused(
                _(
                    "%(name)s is a rebuild that is under way: only manage.py rebuild_projection acts on it. It goes on "
                    "when that is run again, and is dropped with --cancel."
                )
                % {"name": name}
            )
        yield row


def locked(name: str) -> list[Segment]:
    """Lock the segments of a subscription, so that no worker moves a checkpoint or parks an event meanwhile."""
    return list(segments_of(name).select_for_update(no_key=True).order_by("pk"))


def _set_status(row: Subscription, status: str, reason: str) -> None:
    row.status, row.status_reason = status, reason
    row.save(update_fields=["status", "status_reason"])


def _go_on(row: Subscription) -> None:
    if row.status == _Status.HALTED:
        _set_status(row, _Status.ACTIVE, "")


def _is(row: Subscription, so: str) -> str:
    return _("%(name)s is %(status)s: %(so)s.") % {"name": row.name, "status": row.get_status_display(), "so": so}


def nothing_to_skip(name: str, position: int) -> str:
    """Say that there is nothing at a position that a subscription could be spared."""
    return _(
        "%(name)s has nothing at #%(position)d that could be skipped: no event that failed there is parked, or has "
        "stopped it."
    ) % {"name": name, "position": position}


def nothing_to_try(name: str, position: int | None) -> str:
    """Say that there is nothing at a position, or at any, that a subscription could try again."""
    if position is None:
        return _(
            "%(name)s has nothing that could be tried again: no event that failed there is parked, or has stopped it."
        ) % {"name": name}
    return _(
        "%(name)s has nothing at #%(position)d that could be tried again: no event that failed there is parked, or has "
        "stopped it."
    ) % {"name": name, "position": position}
