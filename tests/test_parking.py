"""One bad event stops its stream, for one subscription: what fails is parked, and everything else goes on."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from django.test.utils import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventsourcing_app import Projection, RecordedEvent, handles, publish, subscriber
from eventsourcing_app.exceptions import Permanent, RetryLater
from eventsourcing_app.models import ParkedEvent, Subscription
from eventsourcing_app.signals import event_parked, subscription_caught_up, subscription_halted
from eventsourcing_app.subscriptions.hurry import hurry
from tests.reactions_sample.scene import count_it, deliver, no_subscriptions, rolled_back, segment, total, wallet
from tests.samples.events import MoneyAdded, RateChanged
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db

NAME = "t.parking"
SETTINGS = {"DISPATCHER": "none", "RETRY_SECONDS": (600.0, 3600.0)}


@pytest.fixture(autouse=True)
def own_subscriptions() -> Iterator[None]:
    with no_subscriptions(), override_settings(EVENTSOURCING=SETTINGS):
        yield


def failing(fail_at: set[tuple[str, int | None]], error: Exception | None = None, **options: Any) -> list[Any]:
    """Subscribe a handler that fails on these versions of these streams; return what it was given."""
    given: list[Any] = []

    @subscriber(NAME, MoneyAdded, **options)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        given.append((recorded.stream_key, recorded.version))
        if given[-1] in fail_at:
            raise error or ValueError("no stamps left")

    return given


def of(opened: Wallet, given: list[Any]) -> list[int]:
    return [version for key, version in given if key == str(opened.pk)]


def states() -> list[str]:
    return [row.state for row in ParkedEvent.objects.order_by("position")]


def test_later_events_of_the_stream_wait_and_other_streams_and_subscriptions_go_on() -> None:
    ada, bob = wallet(adds=3), wallet(adds=3)
    fail_at: set[tuple[str, int | None]] = {(str(ada.pk), 3)}
    given = failing(fail_at)
    others: list[int] = []

    @subscriber("t.other", MoneyAdded)
    def other(event: MoneyAdded, recorded: RecordedEvent) -> None:
        others.append(recorded.position)

    deliver()
    Wallet.objects.perform(ada.pk, Wallet.add, Decimal(1))
    deliver()
    assert (of(ada, given), of(bob, given), len(others)) == ([2, 3], [2, 3, 4], 7)
    assert states() == ["failed", "behind", "behind"]
    assert segment(NAME).checkpoint == ada.history().latest("position").position
    fail_at.clear()
    hurry([NAME])
    deliver()
    assert of(ada, given) == [2, 3, 3, 4, 5]
    assert not ParkedEvent.objects.exists()
    assert (segment(NAME).parked, segment(NAME).parked_due_at) == (0, None)


def test_before_it_is_due_nothing_is_tried_and_each_attempt_is_counted_until_it_is_dead() -> None:
    ada = wallet(adds=2)
    given = failing({(str(ada.pk), 2)}, max_attempts=3)
    for attempts in (1, 2, 3):
        deliver()
        deliver()
        row = ParkedEvent.objects.get(state__in=["failed", "dead"])
        assert (row.attempts, len(given)) == (attempts, attempts)
        assert row.state == ("dead" if attempts == 3 else "failed")
        assert "no stamps left" in row.reason
        assert "Traceback" in row.error
        hurry([NAME])
    deliver()
    assert len(given) == 3


def test_what_follows_a_retried_event_may_fail_in_its_turn() -> None:
    ada = wallet(adds=3)
    fail_at: set[tuple[str, int | None]] = {(str(ada.pk), 2)}
    given = failing(fail_at)
    deliver()
    fail_at.clear()
    fail_at.add((str(ada.pk), 3))
    hurry([NAME])
    deliver()
    assert of(ada, given) == [2, 2, 3]
    assert [(row.state, row.attempts) for row in ParkedEvent.objects.all()] == [("failed", 1), ("behind", 0)]


@pytest.mark.parametrize("transactional", [True, False])
def test_a_permanent_error_is_dead_at_once_and_one_for_later_uses_up_no_attempt(transactional: bool) -> None:
    ada, bob = wallet(adds=1), wallet(adds=1)
    error: dict[str, Exception] = {str(ada.pk): Permanent("gone"), str(bob.pk): RetryLater(after=3600)}

    @subscriber(NAME, MoneyAdded, transactional=transactional, max_attempts=1)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        raise error[recorded.stream_key]

    deliver()
    hurry([NAME])
    deliver()
    found = {row.stream_key: (row.state, row.attempts) for row in ParkedEvent.objects.all()}
    assert found == {str(ada.pk): ("dead", 1), str(bob.pk): ("failed", 0)}


def test_facts_without_a_key_do_not_wait_for_one_another_and_those_with_one_do() -> None:
    given: list[str] = []

    @subscriber(NAME, RateChanged)
    def handle(event: RateChanged, recorded: RecordedEvent) -> None:
        given.append(event.currency)
        if event.currency.startswith("bad"):
            raise ValueError("no")

    for currency, key in (("bad1", ""), ("b", ""), ("bad2", "k"), ("d", "k"), ("e", "other")):
        publish(RateChanged(currency=currency, rate=Decimal(1)), key=key)
    deliver()
    assert given == ["bad1", "b", "bad2", "e"]
    assert states() == ["failed", "failed", "behind"]


@pytest.mark.parametrize(("limit", "adds"), [("MAX_PARKED_STREAMS", 1), ("MAX_PARKED_EVENTS", 2)])
def test_at_its_limits_a_subscription_halts_and_says_so(
    limit: str, adds: int, django_capture_on_commit_callbacks: Any
) -> None:
    halted = mock.Mock()
    subscription_halted.connect(halted)
    opened = [wallet(adds=adds) for _ in range(4)]
    failing({(str(each.pk), 2) for each in opened})
    limited = override_settings(EVENTSOURCING={**SETTINGS, limit: 3})
    with limited, django_capture_on_commit_callbacks(execute=True):
        deliver()
    subscription_halted.disconnect(halted)
    row = Subscription.objects.get(name=NAME)
    assert (row.status, limit in row.status_reason) == ("halted", True)
    assert 3 <= ParkedEvent.objects.count() <= 4
    assert limit in halted.call_args.kwargs["reason"]


def test_observers_are_told(django_capture_on_commit_callbacks: Any) -> None:
    ada = wallet(adds=1)
    failing({(str(ada.pk), 2)}, max_attempts=1)
    parked, caught_up = mock.Mock(), mock.Mock()
    event_parked.connect(parked)
    subscription_caught_up.connect(caught_up)
    with django_capture_on_commit_callbacks(execute=True):
        deliver()
    event_parked.disconnect(parked)
    subscription_caught_up.disconnect(caught_up)
    told = parked.call_args.kwargs
    assert (told["subscription"], told["dead"], told["error"]) == (NAME, True, "ValueError: no stamps left")
    assert caught_up.call_args.kwargs["subscription"] == NAME


@given(
    st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=12),
    st.lists(st.sampled_from(["deliver", "retry", "mend"]), max_size=6),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_fails_and_when_each_stream_has_its_effects_once_and_in_order(
    events: list[tuple[int, bool]], steps: list[str]
) -> None:
    with no_subscriptions(), rolled_back():
        wallets = [wallet(adds=0) for _ in range(3)]
        bad: set[tuple[str, int]] = set()
        expected: dict[str, list[int]] = {str(each.pk): [] for each in wallets}
        for number, fails in events:
            added = Wallet.objects.perform(wallets[number].pk, Wallet.add, Decimal(1))
            expected[str(added.pk)].append(added.version)
            if fails:
                bad.add((str(added.pk), added.version))
        seen: dict[str, list[int]] = {key: [] for key in expected}

        class Counting(Projection):
            name = NAME
            max_attempts = 100

            @handles(MoneyAdded)
            def add(self, event: MoneyAdded, recorded: RecordedEvent) -> None:
                count_it(recorded.stream_key, event.amount)
                if (recorded.stream_key, recorded.version) in bad:
                    raise ValueError("not now")
                seen[recorded.stream_key].append(recorded.version or 0)

        for step in [*steps, "deliver"]:
            if step == "mend" and bad:
                bad.discard(min(bad))
            elif step == "retry":
                hurry([NAME])
            deliver()
            for key, versions in expected.items():
                first_bad = next((v for v in versions if (key, v) in bad), None)
                assert total(key)[0] <= len(versions if first_bad is None else versions[: versions.index(first_bad)])
        bad.clear()
        hurry([NAME])
        deliver()
        assert {key: total(key)[0] for key in expected} == {key: len(each) for key, each in expected.items()}
        assert {key: list(dict.fromkeys(each)) for key, each in seen.items()} == expected
