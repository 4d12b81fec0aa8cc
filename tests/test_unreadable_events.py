"""An event of newer code stops a subscription for older workers, and counts as no failure; any other is parked."""

from __future__ import annotations

from decimal import Decimal
from unittest import mock

import pytest

from eventsourcing_app import Projection, RecordedEvent, handles, subscriber
from eventsourcing_app.exceptions import EventUnreadable, NewerEventVersion, UnknownEventType
from eventsourcing_app.models import StoredEvent
from eventsourcing_app.testing import drain as drain_in_test
from tests.reactions_sample.scene import (
    append_raw,
    count_it,
    deliver,
    failed,
    let_retry,
    parked,
    segment,
    total,
    wallet,
)
from tests.samples.events import BookRenamed, MoneyAdded

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_subscriptions")]

NAME = "t.totals"
MONEY: dict[str, object] = {"amount": "1", "reference": "r"}
KINDS = ["projection", "subscriber", "batch", "transactional batch"]


def totals(kind: str = "projection", *what: type | str) -> None:
    """Declare what counts money, of one kind or another."""
    if kind == "projection":

        class Totals(Projection):
            name = NAME

            @handles(*(what or (MoneyAdded,)))
            def add(self, event: MoneyAdded, recorded: RecordedEvent) -> None:
                count_it("r", event.amount)

    elif kind == "subscriber":

        @subscriber(NAME, *(what or (MoneyAdded,)))
        def one(event: MoneyAdded, recorded: RecordedEvent) -> None:
            count_it("r", event.amount)

    else:

        @subscriber(NAME, *(what or (MoneyAdded,)), batch=10, transactional="transactional" in kind)
        def many(batch: list[tuple[MoneyAdded, RecordedEvent]]) -> None:
            for event, _ in batch:
                count_it("r", event.amount)


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_of_newer_code_stops_the_subscription_and_is_never_passed(kind: str) -> None:
    totals(kind)
    wallet(adds=1)
    newer = append_raw("samples.money_added", MONEY, schema_version=2)
    wallet(adds=1)
    for _ in range(3):
        assert [type(error) for error in deliver().errors] == [NewerEventVersion]
        stopped = segment(NAME)
        assert stopped.checkpoint < newer == stopped.failed_position
        assert (stopped.attempts, stopped.retry_at, parked(NAME)) == (0, None, [])
        assert stopped.last_error.startswith("NewerEventVersion: ")
    assert total() == (1, Decimal(1))


@pytest.mark.parametrize("kind", KINDS)
def test_newer_code_goes_on_where_older_code_stopped(kind: str) -> None:
    totals(kind)
    wallet(adds=1)
    newer = append_raw("samples.money_added", MONEY, schema_version=2)
    wallet(adds=1)
    deliver()
    real = RecordedEvent.event.fget  # type: ignore[attr-defined]
    money = MoneyAdded(amount=Decimal(1), reference="r")
    readable = property(lambda recorded: money if recorded.position == newer else real(recorded))
    with mock.patch.object(RecordedEvent, "event", readable):
        assert deliver().errors == []
    assert total() == (3, Decimal(3))
    assert segment(NAME).failed_position is None


@pytest.mark.parametrize("pattern", ["samples.*", "samples.#", "#"])
def test_a_type_that_this_code_does_not_know_stops_a_pattern_that_matches_it(pattern: str) -> None:
    given: list[str] = []

    @subscriber(NAME, pattern)
    def keep(event: object, recorded: RecordedEvent) -> None:
        given.append(recorded.type)

    wallet(adds=0)
    unknown = append_raw("samples.of_the_next_release", {})
    wallet(adds=0)
    for _ in range(2):
        assert [type(error) for error in deliver().errors] == [UnknownEventType]
        assert segment(NAME).checkpoint < unknown
    assert given == ["samples.wallet_opened"]


def test_a_type_that_no_pattern_matches_is_passed_whoever_declares_it() -> None:
    totals("subscriber", MoneyAdded, "samples.money.*")
    append_raw("samples.of_the_next_release", {})
    wallet(adds=1)
    assert deliver().errors == []
    assert segment(NAME).checkpoint == StoredEvent.objects.latest("position").position


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_that_cannot_be_decoded_is_parked_with_its_stream_and_not_forgotten(kind: str) -> None:
    totals(kind)
    before = wallet(adds=1)
    unreadable = append_raw("samples.money_added", {"reference": "r"})
    behind = append_raw("samples.money_added", MONEY, version=2)
    wallet(adds=1)
    for attempt in range(1, 4):
        assert [type(error) for error in deliver().errors].count(EventUnreadable) == 1
        assert [row.position for row in parked(NAME)] == [unreadable, behind]
        assert failed(NAME).attempts == attempt
        assert failed(NAME).reason.startswith("EventUnreadable: ")
        let_retry(NAME)
    assert total() == (2, Decimal(2))
    assert before.position is not None
    assert before.position < unreadable


def test_events_under_an_older_name_or_version_reach_the_handlers_of_today() -> None:
    titles = []
    totals()

    @subscriber("t.titles", BookRenamed)
    def title(event: BookRenamed, recorded: RecordedEvent) -> None:
        titles.append((event.title, event.subtitle))

    append_raw("samples.money_put_in", {"amount": "2.50", "reference": "r"})
    append_raw("samples.book_renamed", {"title": "Emma: A Novel"}, key="b")
    drain_in_test()
    assert total() == (1, Decimal("2.50"))
    assert titles == [("Emma", "A Novel")]
