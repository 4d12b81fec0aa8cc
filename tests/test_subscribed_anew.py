"""Workers that run for long notice what a name is subscribed to anew: other events, another handler."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.db import connection, transaction
from django.test.utils import override_settings

from eventsourcing_app import RecordedEvent, publish, subscribe
from eventsourcing_app.log.settled import settled_position
from eventsourcing_app.models import Subscription
from eventsourcing_app.subscriptions.drain import Drained
from eventsourcing_app.subscriptions.rounds import Rounds
from eventsourcing_app.subscriptions.worker import Worker
from tests.reactions_sample.scene import in_own_connection, no_subscriptions, wallet
from tests.samples.events import MoneyAdded, RateChanged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.django_db

NAME = "t.anew"
RATE = RateChanged(currency="EUR", rate=Decimal(1))
given: list[str] = []


@pytest.fixture(autouse=True)
def own_subscriptions() -> Iterator[None]:
    given.clear()
    with no_subscriptions(), override_settings(EVENTSOURCING={"DISPATCHER": "none"}):
        yield


@pytest.fixture
def work() -> Callable[[], None]:
    """What a worker of the runner does, which keeps what it knows."""
    rounds: list[Rounds] = []

    def run() -> None:
        if not rounds:
            rounds.append(Rounds(Worker(), None, paced=False, over=lambda: False))
        while rounds[0].run(settled_position(), Drained()):
            pass

    return run


def keep(event: object, recorded: RecordedEvent) -> None:
    given.append(recorded.type)


def test_none_of_the_other_events_is_passed_that_it_is_subscribed_to(work: Callable[[], None]) -> None:
    subscribe(NAME, MoneyAdded, keep)
    publish(RATE)
    wallet(adds=1)
    work()
    subscribe(NAME, RateChanged, keep)
    publish(RATE)
    work()
    assert given == ["samples.money_added", "samples.rate_changed"]


def keep_loudly(event: object, recorded: RecordedEvent) -> None:
    given.append(recorded.type.upper())


def test_another_handler_of_the_same_events_is_called_by_workers_that_run(work: Callable[[], None]) -> None:
    subscribe(NAME, RateChanged, keep)
    publish(RATE)
    work()
    subscribe(NAME, RateChanged, keep_loudly)
    publish(RATE)
    work()
    assert given == ["samples.rate_changed", "SAMPLES.RATE_CHANGED"]


def test_what_has_failed_is_tried_at_once_by_another_handler(work: Callable[[], None]) -> None:
    subscribe(NAME, RateChanged, refuse, max_attempts=1, on_failure="halt")
    publish(RATE)
    work()
    assert Subscription.objects.get(name=NAME).status == "halted"
    subscribe(NAME, RateChanged, keep, on_failure="halt")
    work()
    assert given == ["samples.rate_changed"]


def refuse(event: object, recorded: RecordedEvent) -> None:
    raise ValueError("no stamps left")


@pytest.mark.django_db(transaction=True)
def test_of_two_that_subscribe_a_new_name_at_once_the_later_one_counts() -> None:
    """The one that commits first is not noticed by the other before it wants to do the same."""
    if connection.vendor != "postgresql":
        pytest.skip("on SQLite one waits for the other")
    first_is_in, second = threading.Event(), None

    @in_own_connection
    def subscribe_the_other() -> None:
        first_is_in.wait(10)
        subscribe(NAME, MoneyAdded, keep_loudly)

    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(subscribe_the_other)
        with transaction.atomic():
            subscribe(NAME, RateChanged, keep)
            first_is_in.set()
            time.sleep(0.3)
        second.result(10)
    row = Subscription.objects.get(name=NAME)
    assert (row.types, row.handler) == (["samples.money_added"], "tests.test_subscribed_anew.keep_loudly")
