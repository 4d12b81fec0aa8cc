"""A release takes its subscriptions over; older code, which reacts to less, leaves them alone and passes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock
from uuid import uuid4

import pytest
from django.core.management import call_command

from eventsourcing_app import RecordedEvent, subscribe, subscriber
from eventsourcing_app.models import StoredEvent, Subscription
from eventsourcing_app.subscriptions import claim
from eventsourcing_app.subscriptions.definitions import _warn_once, ensure
from eventsourcing_app.subscriptions.drain import drain
from eventsourcing_app.subscriptions.look import look
from eventsourcing_app.subscriptions.registry import registry
from eventsourcing_app.testing import drain as drain_in_test
from tests.reactions_sample.scene import (
    claimed,
    deliver,
    release,
    segment,
    wallet,
)
from tests.samples.events import MoneyAdded

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from eventsourcing_app.subscriptions.registry import Definition, Start

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_subscriptions")]

NAME = "t.subscriber"


def subscribe_to_money(start: Start = "beginning") -> Definition:
    @subscriber(NAME, MoneyAdded, start=start)
    def count(event: MoneyAdded, recorded: RecordedEvent) -> None:
        pass

    definition = registry.get(NAME)
    assert definition is not None
    return definition


def redefined(types: list[str]) -> None:
    """Let other code have defined the subscription since, as in a rolling deployment."""
    changed = Subscription.objects.filter(name=NAME).update(types=types, fingerprint="of other code")
    assert changed == 1


@pytest.mark.parametrize("added", ["samples.rate_changed", "samples.of_the_next_release"])
def test_older_code_leaves_a_subscription_to_code_that_reacts_to_more(
    added: str, caplog: pytest.LogCaptureFixture
) -> None:
    subscribed = subscribe_to_money()
    wallet(adds=1)
    drain_in_test()
    redefined([*sorted(subscribed.types), added])
    _warn_once.cache_clear()
    wallet(adds=1)
    before = segment(NAME).checkpoint

    assert drain_in_test() == 0
    assert segment(NAME).checkpoint == before
    assert Subscription.objects.get(name=NAME).fingerprint == "of other code"
    assert added in caplog.text
    assert "run migrate" in caplog.text


def test_code_that_reacts_to_more_takes_a_subscription_over() -> None:
    subscribed = subscribe_to_money()
    wallet(adds=1)
    drain_in_test()
    redefined(["samples.money_added"])
    wallet(adds=1)

    assert drain_in_test() == 1
    assert Subscription.objects.get(name=NAME).types == sorted(subscribed.types)


def test_migrate_lets_a_release_take_events_away() -> None:
    subscribed = subscribe_to_money()
    wallet(adds=1)
    drain_in_test()
    redefined([*sorted(subscribed.types), "samples.rate_changed"])
    wallet(adds=1)

    call_command("migrate", verbosity=0)

    assert drain_in_test() == 1
    assert Subscription.objects.get(name=NAME).fingerprint == subscribed.fingerprint


def test_migrate_makes_the_rows_of_a_new_subscription() -> None:
    wallet(adds=1)
    subscribe_to_money(start="now")
    call_command("migrate", verbosity=0)
    assert segment(NAME).checkpoint == StoredEvent.objects.latest("position").position
    wallet(adds=2)
    assert drain_in_test() == 2


def test_a_loop_that_is_under_way_claims_nothing_of_a_definition_that_has_changed() -> None:
    subscribed = subscribe_to_money()
    wallet(adds=1)
    ensure([subscribed])
    until = StoredEvent.objects.latest("position").position
    wanted = look(until, only=[NAME])
    release(claimed(NAME))
    redefined(["samples.of_the_next_release"])
    assert claim.claim(wanted, token=uuid4(), until=until) == []
    claim.pass_by(wanted, until=until)
    assert segment(NAME).checkpoint == 0


def as_of_the_next_release() -> AbstractContextManager[object]:
    """Let this be code in which wallets have another name than before."""
    names = [("samples.purse", "samples.wallet")]
    return mock.patch("eventsourcing_app.subscriptions.registry.renamed", return_value=names)


def kept_at_run_time(event: MoneyAdded, recorded: RecordedEvent) -> None:
    """A handler of a module."""


def test_code_that_does_not_know_that_a_stream_was_renamed_handles_nothing_after_migrate() -> None:
    """It would look for the stream's events in another segment, and not see that they have to wait for one another."""
    subscribe_to_money()
    subscribe("t.at_run_time", MoneyAdded, kept_at_run_time)
    wallet(adds=1)
    assert drain_in_test() == 2
    wallet(adds=1)
    with as_of_the_next_release():
        subscribe_to_money()
        assert drain_in_test() == 0, "not before migrate: older code may be at it"
        call_command("migrate", verbosity=0)
    subscribe_to_money()
    assert drain_in_test() == 0
    with as_of_the_next_release():
        subscribe_to_money()
        assert drain_in_test() == 2


def test_what_the_code_declares_by_now_is_handled_by_that_and_no_more_as_it_was_subscribed_at_run_time() -> None:
    subscribe(NAME, MoneyAdded, refused)
    given = []

    @subscriber(NAME, MoneyAdded)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        given.append(recorded.version)

    wallet(adds=1)
    call_command("migrate", verbosity=0)
    drain_in_test()
    assert given == [2]
    assert Subscription.objects.values_list("handler", "options").get(name=NAME) == ("", {})


def refused(event: MoneyAdded, recorded: RecordedEvent) -> None:
    raise AssertionError("this is not the code's handler")


def test_what_is_left_to_other_code_is_said_by_whoever_waits_for_it() -> None:
    subscribed = subscribe_to_money()
    wallet(adds=1)
    deliver()
    redefined([*sorted(subscribed.types), "samples.of_the_next_release"])
    wallet(adds=1)
    for drained in (deliver(), drain(definitions=[subscribed], inside_transaction=True)):
        assert f"{NAME} is left to other code" in "".join(drained.waiting)
