"""After a failure or a death events are handled one by one, each attempt committed before: so the culprit is found."""

from __future__ import annotations

from decimal import Decimal

import pytest

from eventsourcing_app import Projection, RecordedEvent, handles, subscriber
from eventsourcing_app.subscriptions import resume
from eventsourcing_app.subscriptions.drain import drain
from eventsourcing_app.subscriptions.registry import registry
from eventsourcing_app.subscriptions.release import define
from eventsourcing_app.subscriptions.work import work
from eventsourcing_app.subscriptions.worker import Worker
from tests.reactions_sample.scene import (
    claimed,
    count_it,
    deliver,
    let_lease_end,
    let_retry,
    parked,
    position_of,
    release,
    segment,
    take_turn,
    total,
    try_to_claim,
    wallet,
)
from tests.samples.events import MoneyAdded, WalletOpened

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_subscriptions")]

NAME = "t.failing"


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
    worker = Worker()
    handled = [take_turn(claimed(NAME, worker), worker).handled for _ in range(3)]
    # The batch, whose work is undone; one by one up to the one that fails; what waits behind it.
    assert handled == [0, 3, 0]
    while len(parked(NAME)) < 3:  # a turn that has lasted long enough leaves the rest to the next
        assert take_turn(claimed(NAME, worker), worker).handled == 0
    assert [row.position for row in parked(NAME)] == [position_of(opened, version) for version in (5, 6, 7)]
    assert total("counting") == (3, Decimal(3))
    fail_at.clear()
    let_retry(NAME)
    assert take_turn(claimed(NAME, worker), worker).handled == 3
    assert total("counting") == (6, Decimal(6))


@pytest.mark.parametrize("transactional", [True, False])
def test_after_a_worker_died_events_are_handled_one_at_a_time(transactional: bool) -> None:
    given = []

    @subscriber(NAME, MoneyAdded, transactional=transactional)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        given.append(recorded.version)

    opened = wallet(adds=3)
    claimed(NAME)
    assert try_to_claim(NAME) is None
    let_lease_end(NAME)
    worker = Worker()
    worker.ends = 0.0  # its turn is over after one event
    for version in (2, 3, 4):
        taken = claimed(NAME, worker)
        assert work(worker, registry.all()[0], taken).handled == 1
        release(taken)
        assert segment(NAME).checkpoint == position_of(opened, version)
        assert segment(NAME).careful_until == position_of(opened, 4)
    assert given == [2, 3, 4]


def test_care_ends_where_what_needed_it_matches_no_more() -> None:
    """The subscription stopped at an event; the next release does not react to that, so nothing is there any more."""
    given: list[int] = []

    def declare(*what: type) -> None:
        @subscriber(NAME, *what, on_failure="halt", max_attempts=1)
        def handle(event: object, recorded: RecordedEvent) -> None:
            if isinstance(event, MoneyAdded):
                raise ValueError("no stamps left")
            given.append(recorded.position)

    declare(WalletOpened, MoneyAdded)
    first = wallet(adds=1)
    deliver()
    declare(WalletOpened)
    define(registry.all())
    resume(NAME, reason="mended")
    second = wallet(adds=0)
    assert drain(seconds=5, inside_transaction=True).finished
    assert given == [position_of(first, 1), position_of(second, 1)]
