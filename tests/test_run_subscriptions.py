"""``run_subscriptions`` delivers without a queue, ends in order when told, and outlives its connection."""

from __future__ import annotations

import signal
from decimal import Decimal
from functools import partial
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from eventsourcing_app import RecordedEvent, subscriber
from eventsourcing_app.models import Segment, StoredEvent
from tests.reactions_sample.scene import Children, no_subscriptions, segment, total, until, wallet
from tests.samples.events import MoneyAdded
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_subscriptions() -> Iterator[None]:
    with no_subscriptions():
        yield


@pytest.fixture
def children(child_env: dict[str, str], tmp_path: Path) -> Iterator[Children]:
    children = Children({**child_env, "REACTIONS_DISPATCHER": "none"}, tmp_path / "journal")
    yield children
    children.kill_all()


def test_once_ends_when_every_subscription_has_caught_up() -> None:
    got = []

    @subscriber("t.got", MoneyAdded)
    def keep(event: MoneyAdded, recorded: RecordedEvent) -> None:
        got.append(recorded.version)

    wallet(adds=2)
    before = signal.getsignal(signal.SIGTERM)
    out = StringIO()
    call_command("run_subscriptions", once=True, stdout=out)
    assert got == [2, 3]
    assert "2 events handled" in out.getvalue()
    assert signal.getsignal(signal.SIGTERM) is before


def test_once_says_so_if_a_handler_failed() -> None:
    @subscriber("t.fails", MoneyAdded)
    def fail(event: MoneyAdded, recorded: RecordedEvent) -> None:
        raise ValueError("no stamps left")

    wallet(adds=1)
    for _ in range(2):  # also while it only waits for its next attempt
        with pytest.raises(CommandError, match=r"t\.fails has parked 1 event\(s\): #.*no stamps left"):
            call_command("run_subscriptions", once=True, stdout=StringIO())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_the_current_batch(children: Children, number: signal.Signals) -> None:
    runner = children.manage("run_subscriptions")
    opened = wallet(adds=2)
    until(lambda: children.versions(0, opened) == [2, 3], what="it delivers")
    runner.send_signal(number)
    assert runner.wait(10) == 0
    until(lambda: not Segment.objects.filter(token__isnull=False).exists(), seconds=1, what="no claim is left")
    assert not segment("reactions.tally_0").lost


@pytest.mark.needs_postgres
def test_it_goes_on_when_the_server_ended_its_connection(children: Children) -> None:
    runner = children.manage("run_subscriptions")
    opened = wallet(adds=1)
    until(lambda: children.versions(0, opened) == [2], what="it delivers")
    until(lambda: total(f"0 {opened.pk}")[0] == 1, what="it projects")

    def more_than(count: int) -> bool:
        return len(children.versions(0, opened)) > count

    def ended() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return bool(cursor.fetchone()[0])

    for _ in range(2):
        delivered = len(children.versions(0, opened))
        until(ended, what="it is connected, and cut off")  # it may be between two connections
        Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1))
        until(partial(more_than, delivered), what="it delivers again")
    until(lambda: total(f"0 {opened.pk}") == (3, Decimal(3)), what="it projects again")
    assert runner.poll() is None
    runner.terminate()
    assert runner.wait(10) == 0


def test_two_of_them_share_the_work(children: Children) -> None:
    many = {"REACTIONS_PROJECTIONS": 4, "REACTIONS_SUBSCRIBERS": 4, "REACTIONS_LEASE": 60}
    runners = [children.manage("run_subscriptions", **many) for _ in range(2)]
    opened = wallet(adds=5)

    def both_deliver() -> bool:
        Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1))
        return all(map(children.has_reacted, runners))

    until(both_deliver, seconds=60, what="both deliver")  # one may be the quicker one many times over

    def caught_up() -> bool:
        newest = StoredEvent.objects.latest("position").position
        return Segment.objects.filter(subscription__name__startswith="reactions.", checkpoint=newest).count() == 8

    until(caught_up, what="all have caught up")
    for runner in runners:
        runner.terminate()
    for runner in runners:
        assert runner.wait(10) == 0
    adds = Wallet.objects.get(pk=opened.pk).version - 1
    for number in range(4):
        assert children.versions(number, opened) == list(range(2, 2 + adds))
        assert total(f"{number} {opened.pk}") == (adds, Decimal(adds))
    assert not [line for line in children.lines() if line.startswith("disorder")]
