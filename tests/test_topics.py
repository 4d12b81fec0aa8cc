"""Who reacts to what: classes, patterns of topics, lists of events, shares of the streams, a pace, and no loops."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.models import F
from django.test.utils import override_settings

from eventsourcing_app import RecordedEvent, publish, subscribe, subscriber, unsubscribe
from eventsourcing_app.events.topics import matches
from eventsourcing_app.exceptions import CausationTooDeep, OperationRefused, ReactionRefused
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent, Subscription
from eventsourcing_app.subscriptions import pace
from eventsourcing_app.subscriptions.hurry import hurry
from eventsourcing_app.subscriptions.sequences import Sequences, segment_of
from tests.conftest import ROOT
from tests.reactions_sample.scene import append_raw, deliver, no_subscriptions, segment, wallet
from tests.samples.events import MoneyAdded, NeverApplied, RateChanged
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db

NAME = "t.topics"
given: list[Any] = []


@pytest.fixture(autouse=True)
def own_subscriptions() -> Iterator[None]:
    given.clear()
    with no_subscriptions(), override_settings(EVENTSOURCING={"DISPATCHER": "none", "RETRY_SECONDS": (600.0, 3600.0)}):
        yield


def keep(event: object, recorded: RecordedEvent) -> None:
    """A handler that can be subscribed at run time."""
    given.append(recorded.type)


def keep_another(event: object, recorded: RecordedEvent) -> None:
    given.append(f"another {recorded.type}")


# Patterns


@pytest.mark.parametrize(
    ("pattern", "topic", "does"),
    [
        ("bank.*", "bank.opened", True),
        ("bank.*", "bank.card.lost", False),
        ("bank.*", "bank", False),
        ("bank.#", "bank.card.lost", True),
        ("bank.#", "bank", True),
        ("bank.#", "banks.opened", False),
        ("#", "anything.at.all", True),
        ("*.lost", "card.lost", True),
        ("#.lost", "bank.card.lost", True),
        ("bank.#.lost", "bank.lost", True),
        ("bank.#.lost", "bank.a.b.lost", True),
        ("bank.*.#.lost", "bank.lost", False),
        ("bank.opened", "bank.opened", True),
        ("bank.opened", "bank.opened.twice", False),
    ],
)
def test_a_pattern_names_topics_as_in_amqp(pattern: str, topic: str, does: bool) -> None:
    assert matches(pattern, topic) is does


@pytest.mark.parametrize("pattern", ["", "bank.", ".", "bank*", "bank opened", "b" * 201, "bank..x"])
def test_what_is_no_pattern_is_refused_where_it_is_written(pattern: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="no pattern"):
        subscriber(NAME, pattern)(keep)


def test_classes_and_patterns_of_one_subscription_bring_an_event_once() -> None:
    subscriber(NAME, MoneyAdded, "samples.*")(keep)
    wallet(adds=1)
    publish(RateChanged(currency="EUR", rate=Decimal(1)))
    deliver()
    assert given == ["samples.wallet_opened", "samples.money_added", "samples.rate_changed"]


def test_an_event_is_known_to_patterns_by_its_name_of_today_too() -> None:
    subscriber(NAME, "samples.money_added")(keep)
    append_raw("samples.money_put_in", {"amount": "1.00", "reference": "r"})
    deliver()
    assert given == ["samples.money_put_in"]


def test_a_type_that_this_code_does_not_know_stops_a_pattern_and_is_never_passed() -> None:
    subscriber(NAME, "samples.#")(keep)
    wallet(adds=1)
    unknown = append_raw("samples.from_the_future", {})
    wallet(adds=1)
    deliver()
    deliver()
    assert given == ["samples.wallet_opened", "samples.money_added"]
    stopped = segment(NAME)
    assert (stopped.checkpoint, stopped.failed_position) == (unknown - 1, unknown)
    assert not ParkedEvent.objects.exists()


# Lists


def test_a_handler_of_lists_gets_them_in_order_and_no_longer_than_it_takes() -> None:
    @subscriber(NAME, MoneyAdded, batch=3)
    def handle(batch: list[tuple[MoneyAdded, RecordedEvent]]) -> None:
        assert all(isinstance(event, MoneyAdded) for event, _ in batch)
        given.append([recorded.version for _, recorded in batch])

    wallet(adds=7)
    deliver()
    assert given == [[2, 3, 4], [5, 6, 7], [8]]


@pytest.mark.parametrize("transactional", [True, False])
def test_a_list_that_fails_is_handled_one_by_one_and_only_the_culprit_is_parked(transactional: bool) -> None:
    @subscriber(NAME, MoneyAdded, batch=10, transactional=transactional)
    def handle(batch: list[tuple[MoneyAdded, RecordedEvent]]) -> None:
        given.append([recorded.stream_key for _, recorded in batch])
        if str(second.pk) in given[-1]:
            raise ValueError("no")

    first, second, third = (wallet(adds=1) for _ in range(3))
    deliver()
    one_by_one = [[str(each.pk)] for each in (first, second, third)]
    assert given == [[key for each in one_by_one for key in each], *one_by_one]
    assert [row.stream_key for row in ParkedEvent.objects.all()] == [str(second.pk)]


def test_commands_in_a_handler_of_lists_need_a_key_of_their_own() -> None:
    target = wallet(adds=0)

    @subscriber(NAME, RateChanged, batch=10)
    def handle(batch: list[tuple[RateChanged, RecordedEvent]]) -> None:
        for event, recorded in batch:
            objects = Wallet.objects
            if event.currency == "keyed":
                objects.once(str(recorded.event_id)).perform(target.pk, Wallet.add, Decimal(1))
            else:
                objects.perform(target.pk, Wallet.add, Decimal(1))

    publish(RateChanged(currency="keyed", rate=Decimal(1)))
    deliver()
    assert Wallet.objects.get(pk=target.pk).balance == 1
    publish(RateChanged(currency="bare", rate=Decimal(1)))
    (error,) = deliver().errors
    assert isinstance(error, ReactionRefused)
    assert "key of its own" in str(error)


# Segments


def test_over_segments_each_event_comes_once_and_each_stream_in_order() -> None:
    @subscriber(NAME, MoneyAdded, segments=8)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        given.append((recorded.stream_key, recorded.version))

    wallets = [wallet(adds=5) for _ in range(20)]
    deliver()
    for each in wallets:
        assert [version for key, version in given if key == str(each.pk)] == [2, 3, 4, 5, 6]
    assert len(given) == 100
    assert Segment.objects.filter(subscription=NAME).count() == 8


def test_the_segment_of_a_stream_is_the_same_in_every_process() -> None:
    code = (
        "from eventsourcing_app.subscriptions.sequences import segment_of; from hashlib import sha256; "
        "print([segment_of(sha256(f'bank.account\\0{n}'.encode()).hexdigest(), 7) for n in range(20)])"
    )
    env = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PATH": "", "PYTHONPATH": str(ROOT)}
    setup = "import django; django.setup(); "
    printed = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", setup + code],
            env={**env, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


def test_a_stream_that_is_renamed_stays_in_its_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = wallet(adds=1)
    (stored,) = StoredEvent.objects.filter(stream_key=str(opened.pk), type="samples.money_added")
    before = Sequences().of(stored)
    monkeypatch.setattr(Wallet, "stream_type_aliases", ("samples.wallet",), raising=False)
    monkeypatch.setattr(Wallet, "stream_type", "samples.purse")
    assert Sequences().of(stored) == before
    stored.stream_type = "samples.purse"
    assert Sequences().of(stored) == before
    assert segment_of(before, 8) in range(8)


def test_the_number_of_segments_stays_what_it_was_at_first() -> None:
    subscriber(NAME, MoneyAdded, segments=4)(keep)
    deliver()
    subscriber(NAME, MoneyAdded, segments=2)(keep)
    for _ in range(10):
        wallet(adds=1)
    deliver()
    assert len(given) == 10
    assert Segment.objects.filter(subscription=NAME).count() == 4


@pytest.mark.parametrize(
    "options",
    [
        {"segments": 0},
        {"segments": True},
        {"segments": 2, "on_failure": "halt"},
        {"on_failure": "cry"},
        {"max_attempts": 0},
        {"batch": -1},
        {"rate": "often"},
        {"rate": "0/s"},
        {"burst": 3},
        {"rate": "1/s", "burst": 0},
        {"rate": "1/s", "burst": 2**31},
        {"max_attempts": 2**31},
        {"batch": 2**31},
        {"start": 2**63},
        {"start": "Now"},
    ],
)
def test_an_option_that_cannot_be_is_refused_where_it_is_written(options: dict[str, Any]) -> None:
    with pytest.raises(ImproperlyConfigured):
        subscriber(NAME, MoneyAdded, **options)(keep)


def test_facts_with_one_key_keep_their_order_whatever_their_topics() -> None:
    fails = [True]

    @subscriber(NAME, "samples.#")
    def handle(event: object, recorded: RecordedEvent) -> None:
        if fails:
            fails.clear()
            raise ValueError("the server is down")
        keep(event, recorded)

    publish(RateChanged(currency="EUR", rate=Decimal(1)), key="A-1")
    publish(NeverApplied(), key="A-1")
    publish(NeverApplied(), key="A-2")
    deliver()
    assert given == ["samples.never_applied"], "the other key's"
    hurry([NAME])
    deliver()
    assert given == ["samples.never_applied", "samples.rate_changed", "samples.never_applied"]


# Pace


def test_no_more_events_are_handled_than_the_bucket_holds_however_many_workers_there_are() -> None:
    subscriber(NAME, MoneyAdded, rate="2/h", burst=3, segments=4)(keep)
    for _ in range(10):
        wallet(adds=1)
    for _ in range(3):
        deliver()
    assert len(given) == 3
    Subscription.objects.filter(name=NAME).update(refilled_at=F("refilled_at") - timedelta(hours=1))
    Segment.objects.update(retry_at=None)
    for _ in range(3):
        deliver()
    assert len(given) == 5, "two more an hour"


def test_an_attempt_that_fails_has_used_its_token() -> None:
    @subscriber(NAME, MoneyAdded, rate="1/h", burst=2)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        given.append(recorded.position)
        raise ValueError("no stamps left")

    for _ in range(5):
        wallet(adds=1)
    for _ in range(5):
        deliver()
    assert len(given) == 2


def test_a_list_that_fails_has_used_as_many_tokens_as_it_has_events() -> None:
    @subscriber(NAME, MoneyAdded, rate="10/h", burst=10, batch=10)
    def handle(batch: list[tuple[MoneyAdded, RecordedEvent]]) -> None:
        given.extend(recorded.type for _, recorded in batch)
        if len(batch) > 1:
            raise ValueError("the service takes no lists")

    for _ in range(12):
        wallet(adds=1)
    for _ in range(3):
        deliver()
    assert len(given) == 10


def test_what_parked_events_have_paid_for_is_not_paid_for_twice() -> None:
    fails = [True]

    @subscriber(NAME, MoneyAdded, rate="10/h", burst=10)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        if fails:
            fails.clear()
            raise ValueError("no stamps left")

    wallet(adds=1)
    deliver()
    wallet(adds=1)
    hurry([NAME])
    deliver()
    assert pace.take(NAME, 100).events == 7, "three were handed to it: one of them twice"


def test_another_pace_is_kept_from_the_next_event_on() -> None:
    subscriber(NAME, MoneyAdded, rate="1/h")(keep)
    wallet(adds=5)
    deliver()
    assert len(given) == 1
    Subscription.objects.filter(name=NAME).update(rate="")
    Segment.objects.update(retry_at=None)
    deliver()
    assert len(given) == 5


def test_what_was_taken_and_not_used_is_given_back_and_the_bucket_never_overflows() -> None:
    subscriber(NAME, MoneyAdded, rate="1/h", burst=10)(keep)
    deliver()
    assert pace.take(NAME, 4) == (4, 0)
    assert pace.take(NAME, 100).events == 6
    granted = pace.take(NAME, 1)
    assert granted.events == 0
    assert 0 < granted.wait <= 3600
    pace.give_back(NAME, 4)
    assert pace.take(NAME, 100).events == 4
    pace.give_back(NAME, 1000)
    assert pace.take(NAME, 1000).events == 10


# Loops


def test_subscribers_that_react_to_one_another_for_ever_are_stopped() -> None:
    @subscriber(NAME, RateChanged)
    def again(event: RateChanged, recorded: RecordedEvent) -> None:
        publish(RateChanged(currency=event.currency, rate=event.rate + 1), key="loop")

    publish(RateChanged(currency="EUR", rate=Decimal(0)), key="loop")
    with override_settings(EVENTSOURCING={"DISPATCHER": "none", "MAX_CAUSATION_DEPTH": 5}):
        (error,) = deliver().errors
    assert isinstance(error, CausationTooDeep)
    assert "MAX_CAUSATION_DEPTH" in str(error)
    assert [row.state for row in ParkedEvent.objects.all()] == ["dead"]
    chain = list(StoredEvent.objects.filter(type="samples.rate_changed").order_by("position"))
    assert len(chain) == 6
    assert [each.causation_id for each in chain[1:]] == [each.event_id for each in chain[:-1]]
    assert len({each.correlation_id for each in chain}) == 1


# At run time


def test_a_function_can_be_subscribed_and_unsubscribed_at_run_time_and_goes_on_where_it_was() -> None:
    subscribe(NAME, MoneyAdded, keep)
    subscribe(NAME, MoneyAdded, keep)
    wallet(adds=1)
    deliver()
    unsubscribe(NAME)
    wallet(adds=2)
    deliver()
    assert given == ["samples.money_added"]
    subscribe(NAME)
    deliver()
    assert given == ["samples.money_added"] * 3
    unsubscribe(NAME, keep_checkpoint=False)
    subscribe(NAME)
    deliver()
    assert given == ["samples.money_added"] * 6
    assert StoredEvent.objects.filter(type="eventsourcing.subscription_started").count() == 3


def test_the_same_name_can_get_another_handler_and_other_events() -> None:
    subscribe(NAME, MoneyAdded, keep)
    wallet(adds=1)
    deliver()
    subscribe(NAME, ["samples.*"], "tests.test_topics.keep_another")
    wallet(adds=1)
    deliver()
    assert given == ["samples.money_added", "another samples.wallet_opened", "another samples.money_added"]


def test_what_the_code_declares_can_be_stopped_and_is_not_replaced() -> None:
    subscriber(NAME, MoneyAdded)(keep)
    deliver()
    with pytest.raises(OperationRefused, match="the code's"):
        subscribe(NAME, RateChanged, keep)
    unsubscribe(NAME)
    wallet(adds=1)
    deliver()
    deliver()
    assert given == []
    subscribe(NAME)
    deliver()
    assert given == ["samples.money_added"]


def test_a_handler_that_nobody_else_could_find_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="cannot be imported"):
        subscribe(NAME, MoneyAdded, lambda event, recorded: None)
    with pytest.raises(ImproperlyConfigured, match="cannot be imported"):
        subscribe(NAME, MoneyAdded, "nowhere.handle")


def test_a_handler_that_this_code_does_not_have_is_left_to_code_that_does() -> None:
    subscribe(NAME, MoneyAdded, keep)
    subscribe("t.lost", MoneyAdded, keep_another)
    Subscription.objects.filter(name="t.lost").update(handler="tests.test_topics.gone")
    wallet(adds=1)
    (waiting,) = deliver().waiting
    assert given == ["samples.money_added"]
    assert "tests.test_topics.gone of t.lost, subscribed at run time, cannot be loaded" in waiting
    assert (Subscription.objects.get(name="t.lost").status, segment("t.lost").checkpoint) == ("active", 0)
    Subscription.objects.filter(name="t.lost").update(handler="tests.test_topics.keep_another")
    assert deliver().waiting == []
    assert (segment("t.lost").last_error, len(given)) == ("", 2)


@pytest.mark.parametrize(
    "arguments",
    [{"what": RateChanged}, {"rate": "7/s"}, {"start": "now"}, {"what": RateChanged, "transactional": True}],
)
def test_nothing_that_is_given_is_left_out_of_account(arguments: dict[str, Any]) -> None:
    subscribe(NAME, MoneyAdded, keep)
    with pytest.raises(TypeError, match="no handler"):
        subscribe(NAME, **arguments)
    subscriber("t.declared", MoneyAdded)(keep)
    with pytest.raises(OperationRefused, match="options are the code's"):
        subscribe("t.declared", **arguments)


@pytest.mark.parametrize("handler", [partial(keep), object(), "x." * 200 + "keep"])
def test_a_handler_that_nobody_could_find_is_refused(handler: Any) -> None:
    with pytest.raises(ImproperlyConfigured):
        subscribe(NAME, MoneyAdded, handler)
