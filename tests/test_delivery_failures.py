"""A failing handler stops its own subscription and no other: what failed is recorded, and tried again when due."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from django.test.utils import override_settings
from django.utils import timezone

from eventsourcing_app import Projection, RecordedEvent, handles, subscriber
from eventsourcing_app.models import StoredEvent
from eventsourcing_app.subscriptions import claim
from eventsourcing_app.subscriptions.registry import registry
from eventsourcing_app.subscriptions.work import work
from tests.reactions_sample.scene import (
    NOTHING,
    Children,
    append_raw,
    claimed,
    count_it,
    deliver,
    in_own_connection,
    let_lease_end,
    let_retry,
    no_subscriptions,
    position_of,
    segment,
    total,
    try_to_claim,
    until,
    wallet,
)
from tests.samples.events import MoneyAdded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)

NAME = "t.failing"
SETTINGS = {"DISPATCHER": "none", "RETRY_SECONDS": (60.0, 3600.0)}


@pytest.fixture(autouse=True)
def own_subscriptions() -> Iterator[None]:
    # Full jitter may choose a wait of nearly nothing; here a retry happens when the test says so.
    longest = mock.patch("eventsourcing_app.subscriptions.claim.random.uniform", lambda _low, high: high)
    with no_subscriptions(), override_settings(EVENTSOURCING=SETTINGS), longest:
        yield


@pytest.fixture
def children(child_env: dict[str, str], tmp_path: Path) -> Iterator[Children]:
    children = Children(child_env, tmp_path / "journal")
    yield children
    children.kill_all()


def failing(fail_at: set[int], *, error: BaseException | None = None) -> list[int | None]:
    """Subscribe a handler that fails on the versions that ``fail_at`` has at the time; return what it was given."""
    given: list[int | None] = []

    @subscriber(NAME, MoneyAdded)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        given.append(recorded.version)
        if recorded.version in fail_at:
            raise error or ValueError("no stamps left")

    return given


def other(name: str = "t.other") -> None:
    class Other(Projection):
        @handles(MoneyAdded)
        def add(self, event: MoneyAdded, recorded: RecordedEvent) -> None:
            count_it(name, event.amount)

    type(name, (Other,), {"name": name})


# What is known of a failure


def test_a_failing_handler_stops_its_own_subscription_and_no_other() -> None:
    given = failing({3})
    other("t.before")
    other("t.zz_after")
    wallet(adds=4)
    drained = deliver()
    assert [str(error) for error in drained.errors] == ["no stamps left"]
    assert given == [2, 3]
    assert total("t.before") == total("t.zz_after") == (4, Decimal(4))
    wallet(adds=1)
    deliver()
    assert given == [2, 3]
    assert total("t.before") == total("t.zz_after") == (5, Decimal(5))


def test_error_attempts_and_the_time_of_the_next_attempt_are_recorded(caplog: pytest.LogCaptureFixture) -> None:
    failing({3})
    opened = wallet(adds=4)
    before = timezone.now()
    deliver()
    stopped = segment(NAME)
    assert stopped.checkpoint == position_of(opened, 2)
    assert (stopped.failed_position, stopped.attempts) == (position_of(opened, 3), 1)
    assert "ValueError: no stamps left" in stopped.last_error
    assert "in handle" in stopped.last_error
    assert (stopped.token, stopped.claimed_until, stopped.in_flight_from) == (None, None, None)
    assert stopped.failed_at is not None
    assert stopped.retry_at is not None
    second = timedelta(seconds=1)
    assert before - second < stopped.failed_at < timezone.now() + second
    assert timedelta(seconds=59) < stopped.retry_at - before < timedelta(seconds=70)
    assert f"{NAME} failed on event samples.money_added (#{position_of(opened, 3)})" in caplog.text


@pytest.mark.parametrize(
    "message", ["with \x00 in it", "with \ud800 in it", "long " * 10_000], ids=["nul", "lone", "long"]
)
def test_an_error_that_no_database_would_take_as_it_is_is_recorded_all_the_same(
    message: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="eventsourcing_app.subscriptions")  # the report of a run is UTF-8
    failing({2}, error=ValueError(message))
    other()
    wallet(adds=1)
    deliver()
    assert segment(NAME).attempts == 1
    assert "in it" in segment(NAME).last_error or "long long" in segment(NAME).last_error
    assert len(segment(NAME).last_error) < 10_000
    assert total("t.other") == (1, Decimal(1))


# Trying again


def test_it_is_tried_again_when_due_and_not_before_and_then_goes_on() -> None:
    fail_at = {3}
    given = failing(fail_at)
    wallet(adds=4)
    deliver()
    deliver()
    assert given == [2, 3]
    let_retry(NAME)
    deliver()
    assert given == [2, 3, 3]
    assert segment(NAME).attempts == 2
    fail_at.clear()
    let_retry(NAME)
    assert deliver().handled == 3
    assert given == [2, 3, 3, 3, 4, 5]
    recovered = segment(NAME)
    assert recovered.checkpoint == StoredEvent.objects.latest("position").position
    assert (recovered.attempts, recovered.failed_position, recovered.last_error, recovered.retry_at) == (
        0,
        None,
        "",
        None,
    )


def test_the_wait_doubles_up_to_its_limit() -> None:
    failing({2})
    wallet(adds=1)
    waits = []
    with override_settings(EVENTSOURCING={**SETTINGS, "RETRY_SECONDS": (10.0, 60.0)}):
        for attempt in range(1, 6):
            deliver()
            stopped = segment(NAME)
            assert stopped.retry_at is not None
            assert stopped.failed_at is not None
            assert stopped.attempts == attempt
            waits.append(round((stopped.retry_at - stopped.failed_at).total_seconds()))
            let_retry(NAME)
    assert waits == [10, 20, 40, 60, 60]


def test_the_wait_is_anything_up_to_its_limit_and_never_overflows() -> None:
    uniform = mock.patch("eventsourcing_app.subscriptions.claim.random.uniform", Random(7).uniform)
    with uniform, override_settings(EVENTSOURCING={**SETTINGS, "RETRY_SECONDS": (1.0, 300.0)}):
        for attempts, longest in ((1, 1), (4, 8), (100, 300), (10**6, 300)):
            waits = [claim._backoff(attempts) for _ in range(200)]
            assert 0 <= min(waits) < longest * 0.1
            assert longest * 0.9 < max(waits) <= longest


def test_a_failure_further_on_counts_its_own_attempts() -> None:
    fail_at = {3}
    failing(fail_at)
    opened = wallet(adds=5)
    for _ in range(3):
        deliver()
        let_retry(NAME)
    assert segment(NAME).attempts == 3
    fail_at.clear()
    fail_at.add(5)
    deliver()
    assert (segment(NAME).attempts, segment(NAME).failed_position) == (1, position_of(opened, 5))


def test_what_precedes_the_failing_event_is_not_handled_again() -> None:
    fail_at = {5}
    given = failing(fail_at)

    class Counting(Projection):
        name = "t.counting"

        @handles(MoneyAdded)
        def add(self, event: MoneyAdded, recorded: RecordedEvent) -> None:
            count_it("counting", event.amount)
            if recorded.version in fail_at:
                raise ValueError("not now")

    wallet(adds=6)
    for _ in range(3):
        deliver()
        let_retry(NAME)
        let_retry("t.counting")
        assert total("counting") == (3, Decimal(3))
    assert given == [2, 3, 4, 5, 5, 5]


# Careful mode


def test_up_to_the_failing_event_a_projection_goes_one_event_at_a_time() -> None:
    fail_at = {5}

    class Counting(Projection):
        name = NAME

        @handles(MoneyAdded)
        def add(self, event: MoneyAdded, recorded: RecordedEvent) -> None:
            count_it("counting", event.amount)
            if recorded.version in fail_at:
                raise ValueError("not now")

    opened = wallet(adds=6)
    (definition,) = registry.all()
    handled = []
    for _ in range(5):
        handled.append(work(definition, claimed(NAME)).handled)
        if len(handled) in (2, 3, 4):
            assert segment(NAME).checkpoint == position_of(opened, len(handled))
    assert handled == [0, 1, 1, 1, 0]
    fail_at.clear()
    let_retry(NAME)
    assert work(definition, claimed(NAME)).handled == 1
    assert work(definition, claimed(NAME)).handled == 2
    assert total("counting") == (6, Decimal(6))


@pytest.mark.parametrize("transactional", [True, False])
def test_after_a_worker_died_events_are_handled_one_at_a_time(transactional: bool) -> None:
    given = []

    @subscriber(NAME, MoneyAdded, transactional=transactional)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        given.append(recorded.version)

    opened = wallet(adds=3)
    (definition,) = registry.all()
    claimed(NAME)
    assert try_to_claim(NAME) is None
    assert segment(NAME).attempts == 1
    let_lease_end(NAME)
    for version in (2, 3, 4):
        assert work(definition, claimed(NAME)).handled == 1
        assert segment(NAME).checkpoint == position_of(opened, version)
    assert given == [2, 3, 4]


@committing
@pytest.mark.parametrize("kind", ["projection", "subscriber"])
def test_a_handler_that_kills_its_process_is_found_and_every_attempt_counted(children: Children, kind: str) -> None:
    name = "reactions.tally_0" if kind == "projection" else "reactions.journal_0"
    only = {"REACTIONS_SUBSCRIBERS" if kind == "projection" else "REACTIONS_PROJECTIONS": 0, "REACTIONS_LEASE": 60}
    opened = wallet(adds=3)
    attempts = []
    for _ in range(3):
        assert children.program("drain", REACTIONS_KILL=f"{kind} 3", REACTIONS_KILLS=9, **only).wait(30) == -9
        left = segment(name)
        attempts.append((left.checkpoint, left.attempts))
        assert left.token is not None
        assert left.in_flight_from == left.checkpoint + 1
        assert (left.in_flight_to or 0) >= position_of(opened, 4)
        let_lease_end(name)
    # The first time the whole batch was in flight, from then on only the event that kills.
    assert attempts == [(0, 1), (position_of(opened, 2), 1), (position_of(opened, 2), 2)]
    assert children.program("drain", **only).wait(30) == 0
    assert segment(name).attempts == 0
    if kind == "projection":
        assert total(f"0 {opened.pk}") == (3, Decimal(3))
    else:
        assert children.versions(0, opened) == [2, 3, 2, 3, 3, 3, 4]
        assert StoredEvent.objects.filter(type="samples.rate_changed").count() == 3


@committing
def test_a_claim_is_taken_over_when_its_lease_is_over_and_not_before() -> None:
    given = failing(set())
    wallet(adds=1)
    with override_settings(EVENTSOURCING={**SETTINGS, "LEASE_SECONDS": 0.4}):
        claimed(NAME)
        assert deliver().handled == 0
        until(lambda: try_to_claim(NAME), seconds=5, what="the lease is over")
        until(lambda: deliver().handled, seconds=5, what="the event is handled")
    assert given == [2]


# Fencing


@pytest.mark.parametrize("transactional", [True, False])
def test_a_worker_whose_claim_was_taken_over_cannot_move_the_checkpoint(transactional: bool) -> None:
    @subscriber(NAME, MoneyAdded, transactional=transactional)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        if transactional:
            count_it("handled", event.amount)

    wallet(adds=3)
    (definition,) = registry.all()
    slow = claimed(NAME)
    let_lease_end(NAME)
    quick = claimed(NAME)
    assert work(definition, slow).error is None
    held = segment(NAME)
    assert (held.checkpoint, held.token) == (0, quick.token)
    assert total("handled") == NOTHING
    assert not claim.watch(slow, until=9)
    assert not claim.release(slow, checkpoint=slow.until)
    assert not claim.fail(slow, checkpoint=slow.until, position=1, error="late")
    assert not claim.be_careful(slow, until=9)
    left = segment(NAME)
    assert (left.checkpoint, left.token, left.retry_at, left.careful_until) == (
        0,
        quick.token,
        None,
        held.careful_until,
    )
    assert claim.release(quick, checkpoint=quick.until)


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
    short = {**SETTINGS, "LEASE_SECONDS": 0.05}
    with override_settings(EVENTSOURCING=short):
        slow = threading.Thread(target=in_own_connection(deliver))
        slow.start()
        assert running.wait(10)
        assert not threading.Event().wait(0.1)
        assert try_to_claim(NAME) is None
        assert deliver().handled == 0
        may_end.set()
        slow.join()
    assert total("handled") == (1, Decimal(1))


@pytest.mark.parametrize(
    ("data", "schema_version"), [({"amount": "1", "reference": ""}, 2), ({"reference": "no amount"}, 1)]
)
def test_an_event_that_this_code_cannot_read_stops_a_subscriber_and_is_never_passed(
    data: dict[str, object], schema_version: int
) -> None:
    given = failing(set())
    wallet(adds=1)
    unreadable = append_raw("samples.money_added", data, schema_version=schema_version)
    wallet(adds=1)
    for _ in range(3):
        assert len(deliver().errors) == 1
        assert segment(NAME).checkpoint < unreadable == segment(NAME).failed_position
        let_retry(NAME)
    assert given == [2]
