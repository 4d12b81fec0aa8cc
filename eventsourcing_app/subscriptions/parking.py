"""Parking: one bad event stops its stream, for one subscription, and nothing else.

The failing event is set aside and tried again later; those of its stream that come after it wait behind it, in their
order; the checkpoint goes on. All of it happens under the lock of the segment's row, together with the checkpoint.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Min
from django.db.models.functions import Coalesce, Now

from eventsourcing_app.conf import conf
from eventsourcing_app.signals import event_parked
from eventsourcing_app.subscriptions import claim
from eventsourcing_app.subscriptions.failures import judge, too_many_parked
from eventsourcing_app.subscriptions.records import ParkedEvent, Segment, Subscription

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet

    from eventsourcing_app.log.recorded import RecordedEvent
    from eventsourcing_app.subscriptions.claim import Claim
    from eventsourcing_app.subscriptions.failures import Verdict
    from eventsourcing_app.subscriptions.registry import Definition
    from eventsourcing_app.subscriptions.sequences import Sequences

logger = logging.getLogger("eventsourcing_app.subscriptions")

_State = ParkedEvent.State


def parked_of(segment: int) -> QuerySet[ParkedEvent]:
    """Return the parked events of a segment."""
    return ParkedEvent.objects.using(conf.DATABASE).filter(segment=segment)


def parked_sequences(claimed: Claim) -> set[str]:
    """Return the sequences of which something is parked; later events of these wait behind it."""
    if not claimed.parked:
        return set()
    return set(parked_of(claimed.segment).values_list("sequence", flat=True).distinct())


def park(
    definition: Definition,
    claimed: Claim,
    recorded: RecordedEvent,
    error: BaseException,
    *,
    attempts: int,
    waiting: Sequence[RecordedEvent],
    sequences: Sequences,
) -> bool:
    """Set an event aside that has failed, and move the checkpoint past it; false if the claim was lost.

    ``waiting`` are those before it, since the checkpoint that is stored, that wait behind others.
    """
    verdict = judge(definition, error, attempts=attempts)
    with transaction.atomic(using=conf.DATABASE):
        if not claim.hold(claimed):
            return False
        sequence, rows = sequences.of(recorded), parked_of(claimed.segment)
        state = _State.DEAD if verdict.dead else _State.FAILED
        if rows.filter(sequence=sequence).exists():
            state = _State.BEHIND  # never two of one sequence at its head
        rows.create(**_columns(claimed, recorded, sequence), state=state, first_failed_at=Now(), **_failed(verdict))
        _insert(claimed, waiting, sequences)
        _move(claimed, recorded.position)
    _tell(claimed.subscription, recorded.position, verdict)
    return True


def set_behind(claimed: Claim, waiting: Sequence[RecordedEvent], *, checkpoint: int, sequences: Sequences) -> bool:
    """Let events wait behind one of their stream, and move the checkpoint past them; false if the claim was lost."""
    with transaction.atomic(using=conf.DATABASE):
        if not claim.hold(claimed):
            return False
        _insert(claimed, waiting, sequences)
        _move(claimed, checkpoint)
        if claimed.why_halted and is_due(claimed.segment):
            claimed.why_halted = ""  # it is being tried again, and nothing has failed
    return True


def is_due(segment: int) -> bool:
    """Whether a parked event can be tried now."""
    return parked_of(segment).filter(state=_State.FAILED, retry_at__lte=Now()).exists()


def _insert(claimed: Claim, waiting: Sequence[RecordedEvent], sequences: Sequences) -> None:
    kept = set(parked_of(claimed.segment).values_list("sequence", flat=True).distinct())
    rows = []
    for recorded in waiting:
        sequence = sequences.of(recorded)
        # What it waited for may have been skipped in the meantime: then it is the first of its stream.
        state, due = (_State.BEHIND, None) if sequence in kept else (_State.FAILED, Now())
        rows.append(ParkedEvent(**_columns(claimed, recorded, sequence), state=state, retry_at=due))
        kept.add(sequence)
    ParkedEvent.objects.using(conf.DATABASE).bulk_create(rows, batch_size=500)


def _move(claimed: Claim, checkpoint: int) -> None:
    free, summary = {"attempted_position": None, "attempts": 0}, _summary(claimed.segment)
    claim.mine(claimed).update(checkpoint=checkpoint, **free, **summary)
    claimed.checkpoint, claimed.parked = checkpoint, summary["parked"]
    claimed.why_halted = too_many_parked(claimed.subscription)


def failed_again(definition: Definition, claimed: Claim, row: ParkedEvent, error: BaseException) -> None:
    """Note that a parked event has failed once more; its attempt was counted before."""
    verdict = judge(definition, error, attempts=row.attempts)
    with transaction.atomic(using=conf.DATABASE):
        if not claim.hold(claimed):
            return
        state = _State.DEAD if verdict.dead else _State.FAILED
        # With other attempts, an operator has given it new ones while the handler ran: those stay.
        failed = parked_of(claimed.segment).filter(pk=row.pk, attempts=row.attempts)
        still_parked = failed.update(
            state=state, first_failed_at=Coalesce("first_failed_at", Now()), **_failed(verdict)
        )
        claim.mine(claimed).update(attempted_position=None, attempts=0, **_summary(claimed.segment))
    if still_parked:
        _tell(claimed.subscription, row.position, verdict)


def take_out(segment: int, row: ParkedEvent) -> ParkedEvent | None:
    """Remove an event that was handled or skipped, and return the one of its stream whose turn it is then.

    Within a transaction that holds the segment's lock.
    """
    parked_of(segment).filter(pk=row.pk).delete()
    following = parked_of(segment).filter(sequence=row.sequence).order_by("position").first()
    if following is not None and following.state == _State.BEHIND:
        parked_of(segment).filter(pk=following.pk).update(state=_State.FAILED, retry_at=Now())
        following.state = _State.FAILED
    rows = Segment.objects.using(conf.DATABASE).filter(pk=segment)
    rows.update(**_summary(segment))
    rows.filter(attempted_position=row.position).update(attempted_position=None, attempts=0)
    return following


def take_out_all(segment: int, rows: Sequence[ParkedEvent]) -> None:
    """Remove events that were skipped together, as ``take_out`` removes one: the next of each stream has its turn."""
    parked_of(segment).filter(pk__in=[row.pk for row in rows]).delete()
    left = parked_of(segment).filter(sequence__in={row.sequence for row in rows}).order_by()
    heads = [head for _sequence, head in left.values_list("sequence").annotate(Min("position"))]
    next_ones = parked_of(segment).filter(position__in=heads, state=_State.BEHIND)
    next_ones.update(state=_State.FAILED, retry_at=Now())
    segments = Segment.objects.using(conf.DATABASE).filter(pk=segment)
    segments.update(**_summary(segment))
    attempted = segments.filter(attempted_position__in=[row.position for row in rows])
    attempted.update(attempted_position=None, attempts=0)


def summarize(segment: int) -> None:
    """Bring what a segment's row says of its parked events up to date, under its lock."""
    Segment.objects.using(conf.DATABASE).filter(pk=segment).update(**_summary(segment))


def _summary(segment: int) -> dict[str, Any]:
    rows = parked_of(segment)
    due = rows.filter(state=_State.FAILED).aggregate(due=Min("retry_at"))["due"]
    return {"parked": rows.count(), "parked_due_at": due}


def _columns(claimed: Claim, recorded: RecordedEvent, sequence: str) -> dict[str, Any]:
    return {
        "segment_id": claimed.segment,
        "position": recorded.position,
        "event_id": recorded.event_id,
        "type": recorded.type,
        "stream_type": recorded.stream_type,
        "stream_key": recorded.stream_key,
        "sequence": sequence,
    }


def _failed(verdict: Verdict) -> dict[str, Any]:
    return {
        "attempts": verdict.attempts,
        "last_failed_at": Now(),
        "retry_at": None if verdict.dead else claim.from_now(verdict.wait),
        "reason": verdict.reason,
        "error": verdict.report,
    }


def _tell(name: str, position: int, verdict: Verdict) -> None:
    transaction.on_commit(
        partial(
            event_parked.send_robust,
            sender=Subscription,
            subscription=name,
            position=position,
            error=verdict.reason,
            dead=verdict.dead,
        ),
        using=conf.DATABASE,
        robust=True,
    )
