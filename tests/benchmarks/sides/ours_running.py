"""The package's subscriptions where they run by themselves, in ``run_subscriptions`` or a cluster of django-q2."""

from __future__ import annotations

import sys
import time
from itertools import cycle, islice
from statistics import quantiles
from typing import TYPE_CHECKING

from django.db import connection

from eventsourcing_app import context
from eventsourcing_app.log.settled import last_position
from eventsourcing_app.models import StoredEvent
from eventsourcing_app.subscriptions.definitions import ensure
from eventsourcing_app.subscriptions.registry import registry
from tests.benchmarks import journal
from tests.benchmarks.bank.models import Account
from tests.benchmarks.hosts import hosting
from tests.benchmarks.sides.ours import stored
from tests.benchmarks.sides.ours_long import watched
from tests.benchmarks.sides.ours_reactions import mine
from tests.benchmarks.work import AMOUNT, METADATA, REFERENCE, Done, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.job import Job

__all__ = ["catch_up", "idle", "latency_of_cluster", "latency_of_runner", "sick", "stored"]

_EVENTS_A_SECOND = 100.0
_SICK_EVENTS_A_SECOND = 5.0
_STREAMS = 100
_RUNNER = ("run_subscriptions", "--workers", "1")
_RUNNERS = ("run_subscriptions", "--workers", "4")


def idle(job: Job) -> Sample:
    """Watch a runner that has nothing to do, and count its queries."""
    ensure(registry.all())
    pk = str(Account.objects.order_by("pk").values_list("pk", flat=True)[0])

    def sample() -> Done:
        with hosting(*_RUNNER) as host:
            deposited = _deposit(pk)
            host.until(lambda: not mine().filter(checkpoint__lt=deposited).exists(), "all have caught up")
            time.sleep(job.scale.watched / 2)
            began, transactions = time.monotonic(), _transactions()
            time.sleep(job.scale.watched)
            ended, transactions = time.monotonic(), _transactions() - transactions
            queries = sum(began <= each.at < ended for each in journal.read(host.journal))
        more = {"transactions": transactions / (ended - began)}
        return Done(queries, span=(began, ended), more=more)

    return sample


def latency_of_runner(job: Job) -> Sample:
    """Write at a steady pace, and tell how long events took to a handler in ``run_subscriptions``."""
    return _latency(job, *_RUNNER)


def latency_of_cluster(job: Job) -> Sample:
    """The same with ``qcluster``, woken by each commit."""
    return _latency(job, "qcluster")


def sick(job: Job) -> Sample:
    """Write at a slow pace to a thousand subscribers, and tell how long events took to those that are well."""
    return _latency(job, *_RUNNERS, events_a_second=_SICK_EVENTS_A_SECOND)


def catch_up(job: Job) -> Sample:
    """Start ``run_subscriptions --once`` with the whole log before it."""
    ensure(registry.all())
    events = StoredEvent.objects.filter(type="bank.money_deposited").count()

    def sample() -> Done:
        mine().update(checkpoint=0, served_at=None)
        largest = watched([sys.executable, "-m", "django", "run_subscriptions", "--once", "--skip-checks"])
        assert not mine().filter(checkpoint__lt=last_position()).exists()
        return Done(events, largest)

    return sample


def _latency(job: Job, *command: str, events_a_second: float = _EVENTS_A_SECOND) -> Sample:
    ensure(registry.all())
    pks = cycle([str(pk) for pk in Account.objects.order_by("pk").values_list("pk", flat=True)[:_STREAMS]])
    assert job.reactions is not None
    healthy = (job.reactions.count or job.scale.subscriptions) - job.reactions.less

    def sample() -> Done:
        with hosting(*command) as host, context(actor="user:7", **METADATA):
            _deposit(next(pks))
            host.until(lambda: journal.length(host.journal) >= healthy, "the first event has arrived everywhere")
            began = time.monotonic()
            deposited = dict(_steadily(pks, events_a_second, job.scale.watched))
            ended = time.monotonic()
            host.until(
                lambda: journal.length(host.journal) >= healthy * (len(deposited) + 1), "all events have arrived"
            )
            arrived = [each for each in journal.read(host.journal) if each.position in deposited]
        waits = [1_000 * (each.at - deposited[each.position]) for each in arrived]
        cuts = quantiles(waits, n=100)
        more = {"p50": cuts[49], "p99": cuts[98], "most": max(waits)}
        return Done(len(deposited), span=(began, ended), more=more)

    return sample


def _steadily(pks: Iterator[str], a_second: float, seconds: float) -> Iterator[tuple[int, float]]:
    """Deposit at a pace; each position, and when its save began: a little before its commit."""
    began = time.monotonic()
    for number, pk in enumerate(islice(pks, max(2, int(a_second * seconds)))):
        time.sleep(max(0.0, began + number / a_second - time.monotonic()))
        account = Account.objects.get(pk=pk)
        account.deposit(AMOUNT, REFERENCE)
        at = time.monotonic()
        account.save()
        assert account.position is not None
        yield account.position, at


def _deposit(pk: str) -> int:
    return Account.objects.perform(pk, Account.deposit, AMOUNT, REFERENCE).position


def _transactions() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()")
        found: int = cursor.fetchone()[0]
    return found
