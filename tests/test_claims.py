"""A claim is fenced: whoever has lost it moves no checkpoint and parks nothing; only from the dead it is taken over."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.db import IntegrityError
from django.db.models.functions import Now
from django.test.utils import override_settings

from eventsourcing_app import RecordedEvent, subscriber
from eventsourcing_app.log.read import read_window
from eventsourcing_app.models import Segment, StoredEvent
from eventsourcing_app.subscriptions import claim
from eventsourcing_app.subscriptions.drain import drain
from eventsourcing_app.subscriptions.hurry import hurry
from eventsourcing_app.subscriptions.look import look, next_due
from eventsourcing_app.subscriptions.registry import registry
from eventsourcing_app.subscriptions.turn import Turn
from eventsourcing_app.subscriptions.worker import Worker
from tests.reactions_sample.scene import (
    NOTHING,
    claimed,
    count_it,
    deliver,
    in_own_connection,
    let_lease_end,
    parked,
    position_of,
    release,
    segment,
    take_turn,
    total,
    try_to_claim,
    until,
    wallet,
)
from tests.samples.events import MoneyAdded

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_subscriptions")]
committing = pytest.mark.django_db(transaction=True)

NAME = "t.failing"


def failing(fail_at: set[int], *, error: BaseException | None = None) -> list[int | None]:
    """Subscribe a handler that fails on the versions that ``fail_at`` has at the time; return what it was given."""
    given: list[int | None] = []

    @subscriber(NAME, MoneyAdded)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        given.append(recorded.version)
        if recorded.version in fail_at:
            raise error or ValueError("no stamps left")

    return given


@committing
def test_a_claim_is_taken_over_when_its_lease_is_over_and_not_before() -> None:
    given = failing(set())
    wallet(adds=1)
    with override_settings(EVENTSOURCING={"DISPATCHER": "none", "LEASE_SECONDS": 0.4}):
        claimed(NAME)
        assert deliver().handled == 0
        until(lambda: try_to_claim(NAME), seconds=5, what="the lease is over")
        until(lambda: deliver().handled, seconds=5, what="the event is handled")
    assert given == [2]


@committing
def test_a_handler_that_never_returns_keeps_its_claim_for_no_longer_than_one_may_take() -> None:
    """Where no supervisor ends it, its worker goes on to show signs of life, but not for ever."""
    running, may_end = threading.Event(), threading.Event()

    @subscriber(NAME, MoneyAdded)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        running.set()
        may_end.wait(20)

    wallet(adds=1)
    settings = {"DISPATCHER": "none", "LEASE_SECONDS": 0.3, "HANDLER_SECONDS": 0.9}
    with override_settings(EVENTSOURCING=settings):
        worker = threading.Thread(target=in_own_connection(drain))
        worker.start()
        assert running.wait(20)
        began = time.monotonic()
        try:
            until(lambda: try_to_claim(NAME), seconds=10, what="the lease is renewed no more")
        finally:
            may_end.set()
            worker.join()
    assert time.monotonic() - began >= 0.6, "while it may still run it is renewed"


@pytest.mark.parametrize("transactional", [True, False])
def test_a_worker_whose_claim_was_taken_over_cannot_move_the_checkpoint(transactional: bool) -> None:
    @subscriber(NAME, MoneyAdded, transactional=transactional)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        if transactional:
            count_it("handled", event.amount)

    opened = wallet(adds=3)
    worker = Worker()
    slow = claimed(NAME, worker)
    let_lease_end(NAME)
    quick = claimed(NAME)
    held = Segment.objects.filter(subscription=NAME).values().get()
    assert (held["checkpoint"], held["token"]) == (0, quick.token)
    assert take_turn(slow, worker).errors == []
    assert total("handled") == NOTHING
    (definition,) = registry.all()
    turn = Turn(worker, definition, replace(slow, checkpoint=0))
    (recorded,) = read_window(after=position_of(opened, 2) - 1, until=position_of(opened, 2))
    assert not turn.fail(recorded, ValueError("late"))
    assert not turn.set_behind([recorded], checkpoint=recorded.position)
    assert not claim.hold(slow)
    assert not claim.end(slow, checkpoint=slow.until)
    slow.checkpoint = slow.until
    release(slow)
    claim.leave([slow], token=slow.token)
    claim.renew(slow.token, [slow.segment])
    assert Segment.objects.filter(subscription=NAME).values().get() == held
    assert parked(NAME) == []
    release(replace(quick, checkpoint=quick.until))
    assert segment(NAME).checkpoint == quick.until


@pytest.mark.parametrize("transactional", [True, False])
def test_a_worker_that_knows_less_of_the_log_does_not_move_the_checkpoint_back(transactional: bool) -> None:
    """It may claim for what is parked and due, after another one has come further than it knows the log to reach."""
    fail_at = {2}

    @subscriber(NAME, MoneyAdded, transactional=transactional)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        if recorded.version in fail_at:
            raise ValueError("no stamps left")
        if transactional:
            count_it("handled", event.amount)

    known = position_of(wallet(adds=1), 2)
    deliver()
    fail_at.clear()
    wallet(adds=2)
    deliver()
    reached = segment(NAME).checkpoint
    assert reached > known
    hurry([NAME])
    late = Worker()
    until(lambda: look(known, only=[NAME]), seconds=5, what="it is due")  # times have milliseconds on SQLite
    (found,) = look(known, only=[NAME])
    (mine,) = claim.claim([found], token=late.token, until=known)
    assert take_turn(mine, late).handled == 1
    assert segment(NAME).checkpoint == reached
    assert parked(NAME) == []
    assert deliver().handled == 0


@committing
def test_one_that_cannot_be_served_at_all_does_not_keep_the_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    failing({2})
    given: list[int | None] = []

    @subscriber("t.healthy", MoneyAdded)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        given.append(recorded.version)

    def park(*_args: object, **_options: object) -> bool:
        raise IntegrityError("a row that should not be there")

    monkeypatch.setattr("eventsourcing_app.subscriptions.turn.park", park)
    wallet(adds=2)
    drained = deliver()
    assert ("IntegrityError" in str(drained.waiting), given) == (True, [2, 3])
    assert (segment(NAME).token, segment(NAME).checkpoint) == (None, 0)
    assert deliver().errors == [], "not again and again"
    monkeypatch.undo()
    hurry([NAME])
    deliver()
    assert [row.state for row in parked(NAME)] == ["failed", "behind"]


@committing
def test_a_subscriber_that_outlived_its_lease_finds_that_another_went_on() -> None:
    running, may_end = threading.Event(), threading.Event()
    given = []

    @subscriber(NAME, MoneyAdded)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        given.append(recorded.version)
        if len(given) == 1:
            running.set()
            assert may_end.wait(20)

    wallet(adds=1)
    slow = threading.Thread(target=in_own_connection(deliver))
    slow.start()
    assert running.wait(10)
    let_lease_end(NAME)
    deliver()
    wallet(adds=1)
    deliver()
    passed = segment(NAME).checkpoint
    may_end.set()
    slow.join()
    assert given == [2, 2, 2]
    assert passed == segment(NAME).checkpoint == StoredEvent.objects.latest("position").position


@pytest.mark.needs_postgres
@committing
def test_a_projection_that_outlived_its_lease_keeps_its_turn_until_it_commits() -> None:
    running, may_end = threading.Event(), threading.Event()

    @subscriber(NAME, MoneyAdded, transactional=True)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        count_it("handled", event.amount)
        running.set()
        assert may_end.wait(20)

    wallet(adds=1)
    short = {"DISPATCHER": "none", "LEASE_SECONDS": 0.05}
    with override_settings(EVENTSOURCING=short):
        slow = threading.Thread(target=in_own_connection(deliver))
        slow.start()
        assert running.wait(10)
        assert not threading.Event().wait(0.1)
        assert try_to_claim(NAME) is None
        beside = drain(seconds=0.2)
        assert (beside.handled, beside.finished) == (0, False)
        may_end.set()
        slow.join()
    assert total("handled") == (1, Decimal(1))


def test_the_claim_of_one_that_nobody_serves_keeps_no_idle_worker_awake() -> None:
    failing(set())
    wallet(adds=1)
    deliver()
    claimed_by_the_dead = {"token": uuid4(), "claimed_until": Now() - timedelta(days=1), "checkpoint": 0}
    Segment.objects.filter(subscription=NAME).update(**claimed_by_the_dead)
    until = StoredEvent.objects.latest("position").position
    assert next_due(until, only=[NAME]) == 0
    assert next_due(until, only=["t.another"]) == float("inf")
    assert next_due(until, only=[]) == float("inf")


def test_after_the_database_was_away_a_worker_knows_nothing_any_more() -> None:
    """It may be another server now, that lost the last commits: their positions are drawn anew."""
    told: list[int] = []
    worker = Worker(watched=told.append, held=(1, 2), at=7)
    wallet(adds=1)
    until = StoredEvent.objects.latest("position").position
    worker.windows.advance(until, oldest=until - 1)
    assert worker.windows.covers(until - 1)
    worker.begin_anew()
    assert not worker.windows.covers(until - 1)
    assert (worker.held, told) == ((), [0])
