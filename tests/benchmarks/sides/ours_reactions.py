"""The package's subscriptions: what an append costs with many of them, and how fast one process delivers."""

from __future__ import annotations

import time
from threading import Event, Thread
from typing import TYPE_CHECKING

from eventsourcing_app.log.settled import last_position
from eventsourcing_app.models import Segment, StoredEvent
from eventsourcing_app.subscriptions.definitions import ensure
from eventsourcing_app.subscriptions.drain import drain
from eventsourcing_app.subscriptions.registry import registry
from tests.benchmarks import memory
from tests.benchmarks.bank.models import Account
from tests.benchmarks.sides import ours
from tests.benchmarks.sides.ours import stored
from tests.benchmarks.work import AMOUNT, REFERENCE, Done, Sample

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from tests.benchmarks.job import Job

__all__ = ["append", "deliver", "fan_out", "stored"]

_WATCH_SECONDS = 0.1
_WARM_SHARE = 0.1


def append(job: Job) -> Sample:
    """Load, deposit, save, while there are subscriptions."""
    ensure(registry.all())
    return ours.command(job)


def deliver(job: Job) -> Sample:
    """Deliver the end of the large log to one subscription."""
    ensure(registry.all())
    return _draining(job.scale.deliveries)


def fan_out(job: Job) -> Sample:
    """Deliver some events to many."""
    ensure(registry.all())
    accounts = list(Account.objects.order_by("pk")[: min(100, job.scale.backlog)])
    for _ in range(job.scale.backlog // len(accounts)):
        for account in accounts:
            account.deposit(AMOUNT, REFERENCE)
        Account.objects.save_all(accounts)
    return _draining(job.scale.backlog)


def mine() -> QuerySet[Segment]:
    """The segments of this process's subscriptions; others may be in the same database."""
    return Segment.objects.filter(subscription__in=[each.name for each in registry.all()])


def _draining(events: int) -> Sample:
    """Put all subscriptions back by so many deposits, and drain."""
    deposits = StoredEvent.objects.filter(type="bank.money_deposited").order_by("-position")
    events = min(events, deposits.count())
    before = deposits[events - 1].position - 1
    expected = events * mine().count()

    def sample() -> Done:
        mine().update(checkpoint=before, served_at=None)
        began = time.monotonic()
        with _Watch() as watch:
            drained = drain()
        ended = time.monotonic()
        assert drained.handled == expected, (drained.handled, expected)
        assert not mine().filter(checkpoint__lt=last_position()).exists()
        return Done(drained.handled, span=(began, ended), more={"grew": watch.grown()})

    return sample


class _Watch:
    """Looks at the memory of this process, again and again."""

    def __init__(self) -> None:
        self._over, self._seen = Event(), list[float]()
        self._thread = Thread(target=self._look)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(_WATCH_SECONDS):
            self._seen.append(memory.now() or 0.0)
        self._seen.append(memory.now() or 0.0)

    def grown(self) -> float:
        """How much more it held at its most than after the first tenth of the time, in MB."""
        warm = self._seen[int(len(self._seen) * _WARM_SHARE)]
        return max(self._seen) - warm
