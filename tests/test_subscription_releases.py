"""A release takes its subscriptions over; older code, which reacts to less, leaves them alone and passes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from django.core.management import call_command

from eventsourcing_app import RecordedEvent, subscriber
from eventsourcing_app.models import StoredEvent, Subscription
from eventsourcing_app.subscriptions import claim
from eventsourcing_app.subscriptions.definitions import ensure
from eventsourcing_app.subscriptions.look import look
from eventsourcing_app.subscriptions.registry import registry
from eventsourcing_app.testing import drain as drain_in_test
from tests.reactions_sample.scene import (
    claimed,
    release,
    segment,
    wallet,
)
from tests.samples.events import MoneyAdded

if TYPE_CHECKING:
    from eventsourcing_app.subscriptions.registry import Definition, Start

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_subscriptions")]
committing = pytest.mark.django_db(transaction=True)

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
