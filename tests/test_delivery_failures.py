"""A failing handler stops one stream of its own subscription and nothing else; the event is tried again when due."""

from __future__ import annotations

import logging
from datetime import timedelta
from decimal import Decimal
from random import Random
from unittest import mock

import pytest
from django.test.utils import override_settings
from django.utils import timezone

from eventsourcing_app import Projection, RecordedEvent, handles, subscriber
from eventsourcing_app.models import StoredEvent
from eventsourcing_app.subscriptions import failures
from tests.reactions_sample.scene import (
    count_it,
    deliver,
    failed,
    let_retry,
    parked,
    position_of,
    segment,
    total,
    wallet,
)
from tests.samples.events import MoneyAdded
from tests.samples.models import Wallet

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_subscriptions")]

NAME = "t.failing"
SETTINGS = {"DISPATCHER": "none", "RETRY_SECONDS": (60.0, 3600.0)}


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


def test_a_failing_handler_stops_one_stream_of_its_own_subscription_and_nothing_else() -> None:
    given = failing({3})
    other("t.before")
    other("t.zz_after")
    opened = wallet(adds=4)
    drained = deliver()
    assert [str(error) for error in drained.errors] == ["no stamps left"]
    assert given == [2, 3]
    assert total("t.before") == total("t.zz_after") == (4, Decimal(4))
    wallet(adds=1)
    Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1))
    deliver()
    assert given == [2, 3, 2]
    assert total("t.before") == total("t.zz_after") == (6, Decimal(6))
    assert segment(NAME).checkpoint == StoredEvent.objects.latest("position").position


def test_error_attempts_and_the_time_of_the_next_attempt_are_recorded(caplog: pytest.LogCaptureFixture) -> None:
    failing({3})
    opened = wallet(adds=4)
    before = timezone.now()
    deliver()
    first, *behind = parked(NAME)
    stored = StoredEvent.objects.get(position=position_of(opened, 3))
    assert (first.position, first.event_id, first.type) == (stored.position, stored.event_id, stored.type)
    assert (first.stream_type, first.stream_key) == (stored.stream_type, stored.stream_key)
    assert (first.state, first.attempts) == ("failed", 1)
    assert first.reason == "ValueError: no stamps left"
    assert "ValueError: no stamps left" in first.error
    assert "in handle" in first.error
    assert first.first_failed_at == first.last_failed_at
    assert first.first_failed_at is not None
    assert first.retry_at is not None
    second = timedelta(seconds=1)
    assert before - second < first.first_failed_at < timezone.now() + second
    assert timedelta(seconds=59) < first.retry_at - before < timedelta(seconds=70)
    assert [(row.state, row.attempts, row.reason, row.retry_at) for row in behind] == [("behind", 0, "", None)] * 2
    free = segment(NAME)
    assert (free.token, free.claimed_until, free.in_flight_from, free.attempted_position) == (None, None, None, None)
    assert (free.parked, free.parked_due_at) == (3, first.retry_at)
    assert f"{NAME} failed on event samples.money_added (#{first.position})" in caplog.text


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
    assert failed(NAME).attempts == 1
    for text in (failed(NAME).error, failed(NAME).reason):
        assert "in it" in text or "long long" in text
    assert len(failed(NAME).error) < 10_000
    assert total("t.other") == (1, Decimal(1))


# Trying again


def test_it_is_tried_again_when_due_and_not_before_and_then_its_stream_goes_on() -> None:
    fail_at = {3}
    given = failing(fail_at)
    wallet(adds=4)
    deliver()
    deliver()
    assert given == [2, 3]
    let_retry(NAME)
    deliver()
    assert given == [2, 3, 3]
    assert failed(NAME).attempts == 2
    fail_at.clear()
    let_retry(NAME)
    assert deliver().handled == 3
    assert given == [2, 3, 3, 3, 4, 5]
    assert parked(NAME) == []
    recovered = segment(NAME)
    assert recovered.checkpoint == StoredEvent.objects.latest("position").position
    assert (recovered.parked, recovered.parked_due_at, recovered.attempted_position) == (0, None, None)


def test_the_wait_doubles_up_to_its_limit() -> None:
    failing({2})
    wallet(adds=1)
    waits = []
    with override_settings(EVENTSOURCING={**SETTINGS, "RETRY_SECONDS": (10.0, 60.0)}):
        for attempt in range(1, 6):
            deliver()
            row = failed(NAME)
            assert row.retry_at is not None
            assert row.last_failed_at is not None
            assert row.attempts == attempt
            waits.append(round((row.retry_at - row.last_failed_at).total_seconds()))
            let_retry(NAME)
    assert waits == [10, 20, 40, 60, 60]


def test_the_wait_is_anything_up_to_its_limit_and_never_overflows() -> None:
    uniform = mock.patch("eventsourcing_app.subscriptions.failures.random.uniform", Random(7).uniform)
    with uniform, override_settings(EVENTSOURCING={**SETTINGS, "RETRY_SECONDS": (1.0, 300.0)}):
        for attempts, longest in ((1, 1), (4, 8), (100, 300), (10**6, 300)):
            waits = [failures.backoff(attempts) for _ in range(200)]
            assert 0 <= min(waits) < longest * 0.1
            assert longest * 0.9 < max(waits) <= longest


def test_a_failure_further_on_in_the_stream_counts_its_own_attempts() -> None:
    fail_at = {3}
    failing(fail_at)
    opened = wallet(adds=5)
    for _ in range(3):
        deliver()
        let_retry(NAME)
    assert failed(NAME).attempts == 3
    fail_at.clear()
    fail_at.add(5)
    deliver()
    assert (failed(NAME).position, failed(NAME).attempts) == (position_of(opened, 5), 1)


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
