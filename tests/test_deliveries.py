"""What became of an event at each subscription is told as it is, in a number of queries that never grows."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from eventsourcing_app import publish, subscriber
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent, Subscription
from eventsourcing_app.subscriptions import acts
from eventsourcing_app.subscriptions.deliveries import Outcome, deliveries
from eventsourcing_app.subscriptions.operate import reset, skip
from eventsourcing_app.subscriptions.registry import registry
from eventsourcing_app.subscriptions.runtime import unsubscribe
from eventsourcing_app.subscriptions.sequences import Sequences, segment_of
from tests.reactions_sample.scene import deliver, no_subscriptions, wallet
from tests.samples.events import MoneyAdded, RateChanged
from tests.samples.factories import open_wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventsourcing_app.subscriptions.deliveries import Delivery

pytestmark = pytest.mark.django_db
NAME = "t.deliveries"


@pytest.fixture(autouse=True)
def own_subscriptions() -> Iterator[None]:
    with no_subscriptions():
        yield


@pytest.fixture
def event() -> StoredEvent:
    """Money was put into a wallet."""
    return wallet(adds=1).history()[1]


def stored(
    name: str = NAME,
    *,
    types: tuple[str, ...] = ("samples.money_added",),
    checkpoint: int = 0,
    segments: int = 1,
    **more: Any,
) -> Subscription:
    row = Subscription.objects.create(
        name=name, kind=Subscription.Kind.SUBSCRIBER, types=list(types), segment_count=segments, **more
    )
    Segment.objects.bulk_create(
        Segment(subscription=row, number=number, checkpoint=checkpoint) for number in range(segments)
    )
    return row


def only(event: StoredEvent) -> Delivery:
    (found,) = deliveries(event)
    return found


def outcome(event: StoredEvent) -> Outcome:
    return only(event).outcome


def fail_on(name: str) -> None:
    """A subscriber that fails on every addition."""

    @subscriber(name, MoneyAdded)
    def fail(event: MoneyAdded, recorded: object) -> None:
        raise ValueError("no")


# Who reacts


@pytest.mark.parametrize(
    ("pattern", "reacts"),
    [
        ("samples.money_added", True),
        ("samples.money_put_in", True),  # its older name
        ("samples.*", True),
        ("#", True),
        ("samples.money_taken", False),
        ("*", False),
        ("other.#", False),
    ],
)
def test_those_react_that_name_the_event_or_a_pattern_of_it(event: StoredEvent, pattern: str, reacts: bool) -> None:
    stored(types=("samples.book_listed", pattern))
    assert bool(deliveries(event)) is reacts


def test_they_are_told_by_name(event: StoredEvent) -> None:
    for name in ("t.b", "t.c", "t.a"):
        stored(name)
    assert [each.subscription.name for each in deliveries(event)] == ["t.a", "t.b", "t.c"]


# What became of it


def test_one_that_has_not_come_to_it_yet(event: StoredEvent) -> None:
    stored(checkpoint=event.position - 1)
    assert outcome(event) == Outcome.AWAITED


def test_one_whose_checkpoint_has_passed_it(event: StoredEvent) -> None:
    stored(checkpoint=event.position)
    assert outcome(event) == Outcome.HANDLED


def test_one_that_began_after_it(event: StoredEvent) -> None:
    stored(checkpoint=event.position, started_after=event.position)
    assert outcome(event) == Outcome.BEFORE_BEGINNING


def test_one_that_failed_on_it_and_one_behind(event: StoredEvent) -> None:
    fail_on(NAME)
    deliver()
    found = only(event)
    assert found.outcome == Outcome.PARKED
    assert found.parked is not None
    assert found.parked.attempts == 1
    opened = StoredEvent.objects.get(stream_key=event.stream_key, version=1)
    assert deliveries(opened) == []


def test_one_that_has_stopped_at_it(event: StoredEvent) -> None:
    @subscriber(NAME, MoneyAdded, on_failure="halt")
    def fail(event: MoneyAdded, recorded: object) -> None:
        raise ValueError("no")

    deliver()
    assert outcome(event) == Outcome.STOPPED_AT


def test_one_in_whose_segment_it_is_handled(event: StoredEvent) -> None:
    stored(segments=4, checkpoint=0)
    number = segment_of(Sequences().of(event), 4)
    Segment.objects.exclude(number=number).update(checkpoint=event.position)
    assert outcome(event) == Outcome.AWAITED
    Segment.objects.filter(number=number).update(checkpoint=event.position)
    Segment.objects.exclude(number=number).update(checkpoint=0)
    assert outcome(event) == Outcome.HANDLED


def test_one_that_was_stopped_and_forgot_where_it_was(event: StoredEvent) -> None:
    stored(checkpoint=event.position)
    unsubscribe(NAME, keep_checkpoint=False, reason="gone")
    assert outcome(event) == Outcome.NO_CHECKPOINT


def test_a_fact_is_delivered_too() -> None:
    fact = StoredEvent.objects.get(position=publish(RateChanged(currency="EUR", rate=Decimal(1))))
    stored(types=("samples.rate_changed",))
    assert outcome(fact) == Outcome.AWAITED


# What operators made of it


def test_one_for_which_it_was_skipped(event: StoredEvent) -> None:
    fail_on(NAME)
    other = open_wallet("Bob", 1).history()[1]
    deliver()
    skip(NAME, event.position, reason="not worth it")
    found = only(event)
    assert found.outcome == Outcome.SKIPPED
    assert found.act is not None
    assert found.act.data["reason"] == "not worth it"
    assert outcome(other) == Outcome.PARKED


def test_one_for_which_it_was_skipped_and_came_again(event: StoredEvent) -> None:
    fail_on(NAME)
    deliver()
    skip(NAME, event.position, reason="not worth it")
    reset(NAME, 0, reason="after all")
    assert outcome(event) == Outcome.AWAITED
    Segment.objects.update(checkpoint=event.position)
    assert outcome(event) == Outcome.HANDLED


def test_one_whose_checkpoint_was_moved_past_it(event: StoredEvent) -> None:
    stored()
    reset(NAME, event.position, reason="too old")
    found = only(event)
    assert found.outcome == Outcome.PASSED_OVER
    assert found.act is not None


def test_one_that_had_handled_it_before_its_checkpoint_was_moved(event: StoredEvent) -> None:
    stored(checkpoint=event.position)
    later = open_wallet("Bob").position or 0
    reset(NAME, later, reason="the others are too old")
    assert outcome(event) == Outcome.HANDLED


def test_only_the_segment_that_was_before_it_was_moved_past_it(event: StoredEvent) -> None:
    number = segment_of(Sequences().of(event), 4)
    stored(segments=4)
    Segment.objects.filter(number=number).update(checkpoint=event.position)
    reset(NAME, event.position, reason="too old")
    assert outcome(event) == Outcome.HANDLED


def test_one_that_began_after_it_and_was_sent_back(event: StoredEvent) -> None:
    later = open_wallet("Bob").position or 0
    stored(checkpoint=later, started_after=later)
    reset(NAME, 0, reason="all of it")
    Segment.objects.update(checkpoint=later)
    assert outcome(event) == Outcome.HANDLED


def test_one_that_was_built_again(event: StoredEvent) -> None:
    stored(checkpoint=event.position, started_after=event.position)
    acts.record_act(acts.ProjectionRebuilt(subscription=NAME, reason="", checkpoint=event.position, in_place=False))
    assert outcome(event) == Outcome.HANDLED


def test_that_another_event_was_skipped_does_not_count(event: StoredEvent) -> None:
    later = open_wallet("Bob", 1).history()[1]
    stored(checkpoint=later.position)
    acts.record_act(
        acts.EventSkipped(
            subscription=NAME, reason="r", position=later.position, event_id=later.event_id, type=later.type
        )
    )
    assert outcome(event) == Outcome.HANDLED
    assert outcome(later) == Outcome.SKIPPED


def test_what_was_done_to_another_does_not_count(event: StoredEvent) -> None:
    stored(checkpoint=event.position)
    stored("t.other", types=("samples.book_listed",))
    reset("t.other", event.position, reason="too old")
    assert outcome(event) == Outcome.HANDLED


# However many there are


def test_many_subscriptions_and_segments_take_the_queries_of_two(event: StoredEvent) -> None:
    counts = []
    for count in (2, 50):
        for number in range(count):
            row = stored(f"t.{count}.{number:03}", segments=1 + number % 5, checkpoint=event.position)
            parked = Segment.objects.filter(subscription=row)[0]
            ParkedEvent.objects.create(
                segment=parked,
                position=event.position,
                event_id=event.event_id,
                type=event.type,
                stream_type=event.stream_type,
                stream_key=event.stream_key,
                sequence="s",
                state=ParkedEvent.State.DEAD,
                last_failed_at=timezone.now(),
            )
        with CaptureQueriesContext(connection) as queries:
            found = deliveries(event)
            # All that a page shows of them is there by then.
            assert all(each.segment is not None and each.segment.checkpoint for each in found)
        counts.append(len(queries))
    assert len(found) == 52
    assert counts == [4, 4]


def test_what_the_code_defines_reacts_as_it_does_for_workers(event: StoredEvent) -> None:
    @subscriber("t.class", MoneyAdded)
    def one(event: MoneyAdded, recorded: object) -> None: ...

    @subscriber("t.pattern", "samples.*")
    def two(event: object, recorded: object) -> None: ...

    @subscriber("t.other", RateChanged)
    def three(event: RateChanged, recorded: object) -> None: ...

    deliver()
    expected = {each.name for each in registry.all() if each.handlers_of(event.type)}
    assert {each.subscription.name for each in deliveries(event)} == expected == {"t.class", "t.pattern"}
    assert {each.outcome for each in deliveries(event)} == {Outcome.HANDLED}
