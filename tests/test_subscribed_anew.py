"""Workers that run for long pass no event of those that a name is subscribed to anew."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.test.utils import override_settings

from eventsourcing_app import RecordedEvent, publish, subscribe
from eventsourcing_app.log.settled import settled_position
from eventsourcing_app.subscriptions.drain import Drained
from eventsourcing_app.subscriptions.rounds import Rounds
from eventsourcing_app.subscriptions.worker import Worker
from tests.reactions_sample.scene import no_subscriptions, wallet
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
