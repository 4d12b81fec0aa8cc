"""A commit asks for at most one wake, and at most one is outstanding; a wake that fails or is lost harms nobody."""

from __future__ import annotations

import time
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from django.db import connection, connections, transaction
from django.db.models.functions import Now
from django.test.utils import override_settings
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from eventsourcing_app import RecordedEvent, publish, subscriber, tasks
from eventsourcing_app.log.commits import log_grew
from eventsourcing_app.log.settled import settled_position
from eventsourcing_app.models import StoredEvent, Wake
from eventsourcing_app.subscriptions import wake
from eventsourcing_app.subscriptions.drain import Drained, drain
from tests.reactions_sample.scene import failed, no_subscriptions, rolled_back, wallet
from tests.samples.events import Counted, MoneyAdded, RateChanged
from tests.samples.models import Counter, Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db(transaction=True)

DJANGO_Q = {"DISPATCHER": "django_q", "RETRY_SECONDS": (60.0, 60.0)}
RATE = RateChanged(currency="EUR", rate=Decimal(1))


@pytest.fixture(autouse=True)
def own_subscriptions() -> Iterator[None]:
    with no_subscriptions(), override_settings(EVENTSOURCING=DJANGO_Q):
        yield


@pytest.fixture
def grown() -> Iterator[list[str]]:
    """How often the log said that it grew."""
    times: list[str] = []

    def receive(**_signal: Any) -> None:
        times.append("grew")

    log_grew.connect(receive)
    yield times
    log_grew.disconnect(receive)


def queued() -> list[str]:
    """The functions of the tasks in the queue."""
    return [SignedPackage.loads(task.payload)["func"] for task in OrmQ.objects.all()]


def asked_ago(seconds: float) -> None:
    Wake.objects.update(requested_at=Now() - timedelta(seconds=seconds))


# One a commit, one outstanding


def test_a_commit_puts_one_task_on_the_queue_and_later_ones_none_while_it_is_outstanding() -> None:
    with transaction.atomic():
        wallet()
        wallet()
        publish(RATE)
        assert queued() == []
    assert queued() == ["eventsourcing_app.tasks.drain"]
    wallet()
    publish(RATE)
    assert len(queued()) == 1


def test_saves_in_autocommit_ask_for_one_task() -> None:
    opened = wallet()
    assert len(queued()) == 1
    OrmQ.objects.all().delete()
    opened.add(Decimal(1))
    opened.save()
    assert len(queued()) == 0
    wake.clear()
    opened.add(Decimal(1))
    opened.save()
    assert len(queued()) == 1


def test_a_transaction_with_savepoints_wakes_once(grown: list[str]) -> None:
    with transaction.atomic():
        for savepoint in (transaction.atomic, rolled_back) * 2:
            with savepoint():
                wallet()
                publish(RATE)
        assert grown == []
    assert len(grown) == len(queued()) == 1
    assert StoredEvent.objects.filter(version=None).count() == 2


def test_what_is_rolled_back_wakes_nobody_and_the_next_commit_does(grown: list[str]) -> None:
    with rolled_back():
        wallet()
    assert grown == queued() == []
    with transaction.atomic(), rolled_back():
        wallet()
    assert grown == queued() == []
    wallet()
    assert len(grown) == len(queued()) == 1


def test_a_commit_without_events_wakes_nobody(grown: list[str]) -> None:
    with transaction.atomic():
        Wake.objects.get_or_create(slot=7)
    assert grown == queued() == []


def test_while_a_task_waits_no_second_one_joins_it_whatever_other_workers_do() -> None:
    @subscriber("t.chain", Counted)
    def count_down(event: Counted, recorded: RecordedEvent) -> None:
        if event.by:
            Counter.objects.perform(recorded.stream_key, Counter.count, by=event.by - 1)

    Counter.objects.perform_new(Counter.begin, by=5)
    assert drain().handled == 6  # as run_subscriptions does
    drain()
    assert len(queued()) == 1


def test_a_task_that_runs_has_answered_its_wake_and_what_comes_later_asks_for_one_more() -> None:
    @subscriber("t.chain", Counted)
    def count_down(event: Counted, recorded: RecordedEvent) -> None:
        if event.by:
            Counter.objects.perform(recorded.stream_key, Counter.count, by=event.by - 1)

    Counter.objects.perform_new(Counter.begin, by=5)
    OrmQ.objects.all().delete()
    assert tasks.drain() == "6 handled, 0 failed"
    assert queued() == ["eventsourcing_app.tasks.drain"]


def test_the_wake_is_cleared_before_positions_are_read() -> None:
    wallet()
    outstanding = []

    def look(**given: Any) -> int:
        outstanding.append(Wake.objects.exclude(requested_at=None).exists())
        return settled_position(**given)

    assert Wake.objects.exclude(requested_at=None).exists()
    with mock.patch("eventsourcing_app.subscriptions.drain.settled_position", look):
        tasks.drain()
    assert outstanding[0] is False


def test_a_task_that_could_not_finish_asks_for_another() -> None:
    wallet()
    OrmQ.objects.all().delete()
    with mock.patch("eventsourcing_app.tasks.DRAIN_SECONDS", 0.0):
        tasks.drain()
    assert len(queued()) == 1
    OrmQ.objects.all().delete()
    tasks.drain()
    assert queued() == []


# Lost ones


def test_a_wake_that_nobody_answered_is_asked_for_again_after_half_a_minute() -> None:
    wallet()
    OrmQ.objects.all().delete()  # the queue has lost it
    asked_ago(28)
    wallet()
    assert queued() == []
    asked_ago(31)
    wallet()
    assert len(queued()) == 1
    wallet()
    assert len(queued()) == 1


def test_a_sweep_delivers_what_no_wake_told() -> None:
    got = []

    @subscriber("t.got", MoneyAdded)
    def keep(event: MoneyAdded, recorded: RecordedEvent) -> None:
        got.append(recorded.version)

    wallet(adds=2)
    OrmQ.objects.all().delete()
    assert tasks.sweep() == "2 handled, 0 failed"
    assert got == [2, 3]


# Dispatchers


def test_without_a_dispatcher_nobody_is_woken() -> None:
    with override_settings(EVENTSOURCING={"DISPATCHER": "none"}):
        wallet()
    assert queued() == []
    assert not Wake.objects.exists()


def test_the_sync_dispatcher_delivers_before_the_writer_goes_on_and_never_within_a_handler() -> None:
    got: list[str] = []

    @subscriber("t.a_opens", MoneyAdded)
    def opens(event: MoneyAdded, recorded: RecordedEvent) -> None:
        got.append("begins")
        Counter.objects.perform_new(Counter.begin)
        got.append("ends")

    @subscriber("t.b_listens", Counted)
    def listens(event: Counted, recorded: RecordedEvent) -> None:
        got.append("heard")

    with override_settings(EVENTSOURCING={"DISPATCHER": "sync"}):
        with transaction.atomic():
            wallet(adds=2)
            assert got == []
        assert got == ["begins", "ends", "begins", "ends", "heard", "heard"]
    assert queued() == []


def test_a_handler_that_fails_under_the_sync_dispatcher_does_not_reach_the_writer() -> None:
    @subscriber("t.fails", MoneyAdded)
    def fail(event: MoneyAdded, recorded: RecordedEvent) -> None:
        raise ValueError("no stamps left")

    with override_settings(EVENTSOURCING={**DJANGO_Q, "DISPATCHER": "sync"}):
        wallet(adds=1)
    assert "no stamps left" in failed("t.fails").error


def test_an_unknown_dispatcher_is_logged_and_the_commit_stands(caplog: pytest.LogCaptureFixture) -> None:
    with override_settings(EVENTSOURCING={"DISPATCHER": "carrier pigeon"}):
        wallet()
    assert Wallet.objects.count() == 1
    assert "EVENTSOURCING['DISPATCHER'] is 'carrier pigeon'" in caplog.text


def test_a_queue_that_is_broken_is_logged_and_the_commit_stands(caplog: pytest.LogCaptureFixture) -> None:
    with mock.patch("eventsourcing_app.tasks.async_task", side_effect=ConnectionError("the queue is down")):
        opened = wallet()
        opened.add(Decimal(1))
        opened.save()
    assert StoredEvent.objects.count() == 5
    assert caplog.text.count("the queue is down") >= 2  # the hint did not stay, so each commit tried
    wallet()
    assert len(queued()) == 1


@pytest.mark.parametrize("down", [False, True])
def test_with_a_queue_elsewhere_the_hint_is_committed_before_the_task_can_run(down: bool) -> None:
    seen = []

    def enqueue(_function: str, _slot: int) -> None:
        seen.append((connection.in_atomic_block, Wake.objects.exclude(requested_at=None).exists()))
        wake.clear()  # a worker was quick
        if down:
            raise ConnectionError("the queue is down")

    real = transaction.atomic
    committed = []

    def atomic(*args: Any, **kwargs: Any) -> Any:
        committed.append(Wake.objects.exclude(requested_at=None).exists() and not connection.in_atomic_block)
        return real(*args, **kwargs)

    wallet()
    wake.clear()
    with (
        mock.patch.object(Conf, "ORM", None),
        mock.patch("eventsourcing_app.tasks.async_task", enqueue),
        mock.patch("eventsourcing_app.tasks.transaction.atomic", atomic),
    ):
        wallet()
    assert seen == [(True, True)]
    assert committed[-1] is True
    assert not Wake.objects.exclude(requested_at=None).exists()


def test_the_connection_of_whoever_commits_stays_open() -> None:
    wallet()
    wake.clear()
    before = connection.connection
    with mock.patch.dict(connections["default"].settings_dict, CONN_MAX_AGE=0):
        connection.close_at = time.monotonic() - 1
        try:
            wallet()
            assert len(queued()) == 2
            assert connection.connection is before
        finally:
            connection.close_at = None


def test_the_loop_says_what_it_did() -> None:
    assert drain() == Drained(handled=0, errors=[], finished=True)
    assert drain(stop=lambda: True).finished is False
