"""A real django-q2 cluster delivers through its wakes and sweeps, whoever is killed in between."""

from __future__ import annotations

from decimal import Decimal
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import override_settings
from django.utils import timezone
from django_q.models import OrmQ, Schedule
from django_q.tasks import async_task

from eventsourcing_app.models import StoredEvent
from tests.reactions_sample.scene import Children, total, until, wallet
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.django_db(transaction=True)

SWEEP = "eventsourcing_app.tasks.sweep"
DJANGO_Q = override_settings(EVENTSOURCING={"DISPATCHER": "django_q"})


@pytest.fixture
def children(child_env: dict[str, str], tmp_path: Path) -> Iterator[Children]:
    children = Children(child_env, tmp_path / "journal")
    yield children
    children.kill_all()


def migrate(*what: str) -> None:
    call_command("migrate", *what, verbosity=0, interactive=False, stdout=StringIO())


def delivered(children: Children, opened: Wallet, *, versions: int) -> bool:
    """Whether both the projection and the subscriber have had each event of a wallet."""
    expected = set(range(2, versions + 1))
    return total(f"0 {opened.pk}")[0] == len(expected) and set(children.versions(0, opened)) == expected


# The schedule of the sweep


def test_migrate_schedules_the_sweep_once_and_only_where_django_q_is_the_dispatcher() -> None:
    Schedule.objects.all().delete()
    migrate()
    assert not Schedule.objects.exists()
    with DJANGO_Q:
        migrate()
        migrate()
    (sweep,) = Schedule.objects.all()
    assert (sweep.func, sweep.schedule_type, sweep.minutes) == (SWEEP, Schedule.MINUTES, 1)
    assert sweep.repeats != 0


def test_the_sweep_is_scheduled_when_the_tables_of_django_q_come_later() -> None:
    try:
        with DJANGO_Q:
            migrate("django_q", "zero")
            migrate("eventsourcing_app")
            assert Schedule._meta.db_table not in connection.introspection.table_names()
            migrate("django_q")
            assert Schedule.objects.filter(func=SWEEP).count() == 1
    finally:
        migrate()


# A cluster


@DJANGO_Q
def test_a_commit_reaches_projection_and_subscriber_through_a_running_cluster(children: Children) -> None:
    opened = wallet(adds=2)
    children.manage("qcluster")
    until(lambda: delivered(children, opened, versions=3), what="the first events arrive")
    for _ in range(3):
        Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1))
    until(lambda: delivered(children, opened, versions=6), seconds=5, what="a wake brings the next ones")
    until(lambda: not OrmQ.objects.exists(), seconds=10, what="the queue runs empty")
    assert children.versions(0, opened) == [2, 3, 4, 5, 6]
    assert total(f"0 {opened.pk}") == (5, Decimal(5))


def test_what_a_process_committed_before_it_could_wake_anybody_is_delivered_by_the_schedule(children: Children) -> None:
    assert children.program("append and die").wait(30) == -9
    opened = Wallet.objects.get()
    assert opened.version == 3
    assert not OrmQ.objects.exists()
    with DJANGO_Q:
        migrate()
    # Its loop takes so long that it looks at the schedule in the first round.
    children.manage("qcluster", REACTIONS_GUARD=30)
    until(lambda: delivered(children, opened, versions=3), what="the sweep delivers")
    assert children.versions(0, opened) == [2, 3]


def test_a_cluster_that_is_killed_in_the_middle_loses_nothing_and_counts_nothing_twice(children: Children) -> None:
    with DJANGO_Q:
        wallets = [wallet(adds=20) for _ in range(10)]
    cluster = children.manage("qcluster")
    until(lambda: len(children.lines()) > 20, what="it is at work")
    children.kill(cluster)
    before = len(children.lines())
    with DJANGO_Q:
        Wallet.objects.perform(wallets[0].pk, Wallet.add, Decimal(1))
    assert before < 200
    children.manage("qcluster")

    def all_delivered() -> bool:
        # The first cluster's tasks are leased for minutes; no more than one of ours waits at a time.
        if not OrmQ.objects.filter(lock__lte=timezone.now()).exists():
            async_task(SWEEP)
        return all(delivered(children, opened, versions=opened.version) for opened in Wallet.objects.all())

    until(all_delivered, seconds=30, what="the rest arrives")
    for opened in wallets:
        assert not [line for line in children.lines() if line.startswith("disorder")]
        given = children.versions(0, opened)
        assert sorted(set(given)) == list(range(2, 23 if opened is wallets[0] else 22))
        assert total(f"0 {opened.pk}")[0] == len(set(given))
    # What the subscriber published is there once for each event, however often it ran.
    assert StoredEvent.objects.filter(type="samples.rate_changed").count() == 201
