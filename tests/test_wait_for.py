"""Whoever has written can wait until projections and subscribers have reached it."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.test.utils import override_settings

from eventsourcing_app import Projection, RecordedEvent, handles, subscriber, wait_for
from eventsourcing_app.exceptions import NotCaughtUp
from eventsourcing_app.models import Segment, Subscription
from tests.reactions_sample.scene import deliver, in_own_connection, no_subscriptions, wallet
from tests.samples.events import MoneyAdded, RateChanged
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_subscriptions(db: None) -> Iterator[None]:
    Subscription.objects.all().delete()  # the demo's
    with no_subscriptions(), override_settings(EVENTSOURCING={"DISPATCHER": "none"}):
        yield


class _Counting(Projection):
    segments = 4

    @handles(MoneyAdded)
    def add(self, event: MoneyAdded, recorded: RecordedEvent) -> None: ...


def declare() -> None:
    type("Counting", (_Counting,), {"name": "t.counting"})

    @subscriber("t.mailing", MoneyAdded)
    def mail(event: MoneyAdded, recorded: RecordedEvent) -> None: ...

    @subscriber("t.rates", RateChanged)
    def rate(event: RateChanged, recorded: RecordedEvent) -> None: ...


def test_what_commands_return_can_be_waited_for() -> None:
    declare()
    opened = wallet(adds=1)
    deliver()
    receipt = Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1))
    with pytest.raises(NotCaughtUp, match=r"t\.counting \(at #") as caught:
        wait_for(receipt.position, timeout=0.01)
    assert caught.value.position == receipt.position
    assert len(caught.value.waiting) == 1, "of four segments one has something to do, and only projections count"
    worker = threading.Timer(0.1, in_own_connection(deliver))
    worker.start()
    wait_for(receipt.position, timeout=20)
    wait_for(receipt.position, subscription=["t.counting", "t.mailing"], timeout=20)
    worker.join()


def test_one_for_which_nothing_came_need_not_be_waited_for() -> None:
    declare()
    deliver()
    position = wallet(adds=1).position
    assert position is not None
    wait_for(position, subscription="t.rates", timeout=0)
    assert Segment.objects.get(subscription="t.rates").checkpoint < position
    with pytest.raises(NotCaughtUp, match=r"t\.mailing"):
        wait_for(position, subscription="t.mailing", timeout=0)


@pytest.mark.parametrize("names", ["t.counting", None])
@pytest.mark.parametrize("status", ["paused", "halted", "unsubscribed"])
def test_one_that_is_stopped_while_it_is_waited_for_has_not_reached_the_position(
    status: str, names: str | None
) -> None:
    declare()
    deliver()
    position = wallet(adds=1).position
    assert position is not None
    rows = Subscription.objects.filter(name="t.counting")
    stop = threading.Timer(0.1, in_own_connection(lambda: rows.update(status=status)))
    stop.start()
    with pytest.raises(NotCaughtUp, match=rf"t\.counting \({status}\)"):
        wait_for(position, subscription=names, timeout=20)
    stop.join()


@pytest.mark.parametrize("status", ["paused", "halted", "unsubscribed"])
def test_one_that_is_not_active_is_not_waited_for(status: str) -> None:
    declare()
    deliver()
    Subscription.objects.filter(name="t.mailing").update(status=status)
    with pytest.raises(NotCaughtUp, match=rf"t\.mailing \({status}\)"):
        wait_for(1, subscription="t.mailing", timeout=600)
    with pytest.raises(NotCaughtUp, match=r"t\.nobody \(unknown\)"):
        wait_for(1, subscription="t.nobody", timeout=600)


def test_a_projection_that_no_code_declares_any_more_is_not_waited_for() -> None:
    declare()
    deliver()
    Subscription.objects.create(name="t.removed", kind="projection")
    Segment.objects.create(subscription_id="t.removed")
    position = wallet(adds=1).position
    assert position is not None
    deliver()
    wait_for(position, timeout=0.01)
    with pytest.raises(NotCaughtUp, match=r"t\.removed"):
        wait_for(position, subscription="t.removed", timeout=0.01)
