"""What the databases hold of which the admin is asked. Prepared, not timed.

A log begins with what few events tell: acts of operators, what one clerk did, and the longest stream. Accounts follow,
and then loans, so that a walk back from its end comes to them last.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import User
from django.db.models import Max

from eventsourcing_app import context
from eventsourcing_app.log import clock
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent, Subscription
from eventsourcing_app.subscriptions import pause, resume
from tests.benchmarks.bank.models import Account
from tests.benchmarks.office.models import Loan
from tests.benchmarks.sides.ours import stored
from tests.benchmarks.sides.ours_seeds import schema
from tests.benchmarks.work import AMOUNT, METADATA, REFERENCE, Done, Sample

if TYPE_CHECKING:
    from eventsourcing_app.aggregates.manager import EventSourcedManager
    from tests.benchmarks.job import Job

__all__ = ["large_office", "schema", "small_office", "stored"]

CLERK = "user:8"
"""Who did little, long ago."""
LONG = "the longest"
"""The owner of the account with the longest stream."""
_OF_CLERK, _ACTS, _TOGETHER, _SMALL = 120, 60, 100, 60
_AGGREGATE = 100
"""Events of one account or loan, in a log that is large."""


def large_office(job: Job) -> Sample:
    """This process's part of the large log; the first one's with all that there is one of."""
    if job.worker == 0:
        _beginning(job.scale.trail, subscriptions=job.scale.subscriptions)
    _fill(job.scale.log // job.workers, each=_AGGREGATE)
    if job.worker == 0:
        _park(job.scale.parked)
    return _nothing


def small_office(job: Job) -> Sample:
    """The small log. It has as much of everything as fills one page."""
    _beginning(job.scale.short_trail, subscriptions=min(_SMALL, job.scale.subscriptions))
    _fill(job.scale.small_log, each=2)
    _park(min(2 * (_TOGETHER + 1), job.scale.parked))  # of two subscriptions, each more than one page
    return _nothing


def _beginning(length: int, *, subscriptions: int) -> None:
    User.objects.create_superuser("root")
    rows = [Subscription(name=f"office.{number:04}", kind="subscriber") for number in range(subscriptions)]
    Subscription.objects.bulk_create(rows)
    Segment.objects.bulk_create(Segment(subscription=row, number=number) for row in rows for number in range(2))
    with context(actor="user:1"):
        for number in range(_ACTS):
            act = resume if number % 2 else pause
            act("office.0000", reason="the day is over")
    _account(LONG, length, "user:7", None)
    _account("of the clerk", _OF_CLERK, CLERK, "one day of the clerk")


def _account(owner: str, length: int, actor: str, correlation_id: str | None) -> None:
    account = Account()
    with context(actor=actor, correlation_id=correlation_id, **METADATA):
        account.open(owner)
        for _ in range(length - 1):
            account.deposit(AMOUNT, REFERENCE)
        account.save()


def _fill(events: int, *, each: int) -> None:
    for model in (Account, Loan):
        _fill_with(model, events // 2, each)


def _fill_with(model: type[Account | Loan], events: int, each: int) -> None:
    manager: EventSourcedManager[Any] = model.objects
    count = events // each
    for start in range(0, count, _TOGETHER):
        opened = [model() for _ in range(min(_TOGETHER, count - start))]
        with context(actor="user:7", **METADATA):
            for number, aggregate in enumerate(opened, start):
                aggregate.open(f"owner {number}")
                for _ in range(each - 1):
                    aggregate.deposit(AMOUNT, REFERENCE)
            manager.save_all(opened)


def _park(number: int) -> None:
    """Park the newest events of the log: each third has failed, and two wait behind it."""
    segments, moment = list(Segment.objects.order_by("pk")[:4]), clock.now()
    last = StoredEvent.objects.aggregate(last=Max("position"))["last"]
    rows = []
    for place in range(number):
        failed = place % 3 == 0
        rows.append(
            ParkedEvent(
                segment=segments[place // 3 % 4],
                position=last - number + 1 + place,
                event_id=uuid.uuid4(),
                type="office.loan_repaid",
                stream_type="office.loan",
                stream_key=str(place // 3),
                sequence=str(place // 3),
                state="failed" if failed else "behind",
                attempts=int(failed),
                first_failed_at=moment if failed else None,
                last_failed_at=moment if failed else None,
                retry_at=moment if failed else None,
                reason=f"Error{place // 3 % 5}: order {place} failed" if failed else "",
                error="a line of a traceback\n" * 50 if failed else "",
            )
        )
    ParkedEvent.objects.bulk_create(rows, batch_size=1_000)
    for segment in segments:
        segment.parked = segment.parked_events.count()
        segment.save()


def _nothing() -> Done:
    return Done(0)
