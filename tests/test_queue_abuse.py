"""Whatever happens to the queue of django-q2, effects here happen once, and two sweeps deliver what it lost."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.test.utils import override_settings
from django.utils import timezone
from django_q.models import OrmQ
from django_q.tasks import async_task

from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent
from eventsourcing_app.subscriptions import wake
from eventsourcing_app.tasks import enqueue_drain
from tests.benchmarks.memory import family
from tests.reactions_sample.scene import Children, total, until, wallet
from tests.samples.models import Wallet

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.django_db(transaction=True)

SWEEP, DRAIN = "eventsourcing_app.tasks.sweep", "eventsourcing_app.tasks.drain"
WALLETS, ADDS = 5, 6
KINDS = 2
"""So many projections and so many subscribers."""
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def children(child_env: dict[str, str], tmp_path: Path) -> Iterator[Children]:
    children = Children(child_env, tmp_path / "journal")
    children.env |= {"REACTIONS_PROJECTIONS": str(KINDS), "REACTIONS_SUBSCRIBERS": str(KINDS)}
    with override_settings(EVENTSOURCING={"DISPATCHER": "django_q"}):
        yield children
    children.kill_all()


def cluster(children: Children, *, seconds: float = 0.0, **settings: object) -> subprocess.Popen[bytes]:
    """Start a cluster whose subscribers take so many seconds for an event."""
    return children.manage("qcluster", REACTIONS_CLUSTER=json.dumps(settings), REACTIONS_SECONDS=seconds)


def commits() -> Iterator[Wallet]:
    """Commit one event at a time, by turns to several wallets; each is a wake."""
    wallets = [wallet(adds=0) for _ in range(WALLETS)]
    for _ in range(ADDS):
        for opened in wallets:
            Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1))
            yield opened


def all_delivered(children: Children) -> bool:
    """Whether every projection and every subscriber has had each event."""
    return all(
        total(f"{number} {opened.pk}")[0] >= opened.version - 1
        and set(children.versions(number, opened)) == set(range(2, opened.version + 1))
        for opened in Wallet.objects.all()
        for number in range(KINDS)
    )


def sweep_twice_at_most(children: Children) -> None:
    """Let two sweeps run in the cluster, as its schedule would: by the next one, leases and waits are over."""
    for _ in range(2):
        until(nobody_has_to_wait, what="leases and waits are over")
        async_task(SWEEP)
        until(lambda: not OrmQ.objects.exists(), what="the sweep is done")
        if all_delivered(children):
            return
    pytest.fail("Two sweeps have not delivered everything.")


def nobody_has_to_wait() -> bool:
    waits = Q(token__isnull=False, claimed_until__gt=Now()) | Q(retry_at__gt=Now()) | Q(parked_due_at__gt=Now())
    return not Segment.objects.filter(waits).exists()


def assert_once_and_in_order(children: Children) -> None:
    assert not [line for line in children.lines() if line.startswith("disorder")]
    for opened in Wallet.objects.all():
        for number in range(KINDS):
            assert total(f"{number} {opened.pk}") == (ADDS, Decimal(ADDS))
            first_times = list(dict.fromkeys(children.versions(number, opened)))
            assert first_times == list(range(2, ADDS + 2))
    # What a subscriber published is there once for each event, however often it ran.
    assert StoredEvent.objects.filter(type="samples.rate_changed").count() == WALLETS * ADDS
    assert not ParkedEvent.objects.exists()


def test_a_wake_that_is_enqueued_five_times_has_its_effects_once(children: Children) -> None:
    cluster(children, workers=4, queue_limit=20, bulk=5)
    with mock.patch.dict(wake.DISPATCHERS, {"django_q": f"{__name__}.enqueue_five"}):
        for _ in commits():
            pass
    until(lambda: all_delivered(children), what="the wakes deliver everything")
    until(lambda: not OrmQ.objects.exists(), what="the queue runs empty")
    assert_once_and_in_order(children)


def enqueue_five() -> None:
    """Put the same wake on the queue five times, whether or not one is outstanding."""
    for _ in range(5):
        async_task(DRAIN)


def test_a_task_that_is_given_out_again_while_it_runs_has_its_effects_once(children: Children) -> None:
    for _ in commits():
        pass
    again, lost = 0, list[int]()

    def is_delivered() -> bool:
        nonlocal again, lost
        again += OrmQ.objects.filter(pk__in=lost, lock__gt=LONG_AGO).count()
        lost = list(OrmQ.objects.values_list("pk", flat=True))
        # The queue takes a task for lost that it gave out so long ago, and gives it to the next worker.
        OrmQ.objects.filter(pk__in=lost).update(lock=LONG_AGO)
        return all_delivered(children)

    cluster(children, seconds=0.1, workers=4, queue_limit=8, bulk=4)
    until(children.lines, what="a task runs")
    until(is_delivered, what="everything is delivered")
    assert again > 3
    until(lambda: not OrmQ.objects.exists(), what="the queue runs empty")
    assert_once_and_in_order(children)


def test_workers_and_clusters_that_are_killed_again_and_again_lose_nothing(children: Children) -> None:
    running, committing = cluster(children, seconds=0.05, workers=3), commits()
    for round_ in range(4):
        given = len(children.lines())
        for _ in range(WALLETS):
            next(committing)
        until(partial(is_at_work, children, given), what="it is at work")
        worker = None if round_ % 2 else at_work(children, running)
        if worker is not None:
            os.kill(worker, signal.SIGKILL)
        else:
            children.kill(running)
            running = cluster(children, seconds=0.05, workers=3)
    for _ in committing:
        pass
    # What the killed ones have taken off the queue is leased to them, for minutes.
    OrmQ.objects.all().delete()
    sweep_twice_at_most(children)
    assert_once_and_in_order(children)


def is_at_work(children: Children, given: int) -> bool:
    """Whether events are being handled again. If only leases of the dead were in the way, a sweep comes after them."""
    if nobody_has_to_wait() and not OrmQ.objects.filter(lock__lte=timezone.now()).exists():
        async_task(SWEEP)
    return len(children.lines()) > given + 1


def at_work(children: Children, running: subprocess.Popen[bytes]) -> int | None:
    """The worker of a cluster that has handled an event last, if one has, and so is at the next one.

    Not one that waits for a task: it holds the lock of the cluster's own queue, and no other would ever get a task.
    """
    marks = {pid: children.journal.with_suffix(f".{pid}") for pid in family(running.pid)}
    times = {pid: mark.stat().st_mtime for pid, mark in marks.items() if mark.exists()}
    return max(times, key=times.__getitem__, default=None)


def test_what_a_purged_queue_has_lost_two_sweeps_deliver(children: Children) -> None:
    running, committing = cluster(children, workers=3), commits()
    until(lambda: len(family(running.pid)) > 4, what="it is up")
    with mock.patch.dict(wake.DISPATCHERS, {"django_q": f"{__name__}.enqueue_and_purge"}):
        for _ in range(WALLETS):
            next(committing)
    assert wake.is_requested()
    assert not children.lines()
    sweep_twice_at_most(children)
    wake.clear()  # after half a minute, the wake that was lost counts no more
    for _ in committing:
        OrmQ.objects.all().delete()
    sweep_twice_at_most(children)
    assert_once_and_in_order(children)


def enqueue_and_purge() -> None:
    """Lose each wake before the cluster can see it."""
    with transaction.atomic():
        enqueue_drain()
        OrmQ.objects.all().delete()
