"""Commands that a subscriber runs are done once, however often its handler runs; what could be repeated is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from eventsourcing_app import RecordedEvent, publish, subscriber
from eventsourcing_app.exceptions import ReactionRefused
from eventsourcing_app.models import StoredEvent
from eventsourcing_app.subscriptions.drain import drain
from eventsourcing_app.testing import drain as drain_in_test
from tests.reactions_sample.scene import (
    deliver,
    failed,
    let_lease_end,
    segment,
    wallet,
)
from tests.samples.events import MoneyAdded, RateChanged, WalletOpened
from tests.samples.models import Counter, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_subscriptions")]
committing = pytest.mark.django_db(transaction=True)

NAME = "t.subscriber"


class _Crash(BaseException):
    """Ends the worker where a power cut would."""


@committing
def test_commands_of_a_handler_that_died_before_its_checkpoint_are_done_once() -> None:
    crash = [True]
    runs = []

    @subscriber(NAME, WalletOpened)
    def act(event: WalletOpened, recorded: RecordedEvent) -> None:
        added = Wallet.objects.perform(recorded.stream_key, Wallet.add, Decimal(5))
        again = Wallet.objects.perform(recorded.stream_key, Wallet.add, Decimal(5))
        begun = Counter.objects.perform_new(Counter.begin, by=3)
        published = publish(RateChanged(currency="EUR", rate=Decimal(1)), key="EUR")
        runs.append((added.position, again.position, begun.pk, published))
        if crash.pop():
            raise _Crash

    opened = wallet(adds=0)
    with pytest.raises(_Crash):
        drain()
    assert segment(NAME).checkpoint == 0
    let_lease_end(NAME)
    crash.append(False)
    drain()
    assert len(runs) == 2
    assert runs[0] == runs[1]
    assert Wallet.objects.get(pk=opened.pk).balance == 10
    assert Counter.objects.count() == 1
    assert StoredEvent.objects.filter(type="samples.rate_changed").count() == 1
    assert segment(NAME).checkpoint == StoredEvent.objects.latest("position").position


def _save(recorded: RecordedEvent) -> None:
    opened = Wallet.objects.get(pk=recorded.stream_key)
    opened.add(Decimal(1))
    opened.save()


def _create(_recorded: RecordedEvent) -> None:
    wallet(adds=0)


def _save_all(recorded: RecordedEvent) -> None:
    opened = Wallet.objects.get(pk=recorded.stream_key)
    opened.add(Decimal(1))
    Wallet.objects.save_all([opened])


def _locked(recorded: RecordedEvent) -> None:
    with Wallet.objects.locked([recorded.stream_key]) as (opened,):
        opened.add(Decimal(1))


@pytest.mark.parametrize("write", [_save, _create, _save_all, _locked])
def test_a_write_that_a_second_run_would_repeat_is_refused(write: Callable[[RecordedEvent], None]) -> None:
    @subscriber(NAME, WalletOpened)
    def act(event: WalletOpened, recorded: RecordedEvent) -> None:
        write(recorded)

    wallet(adds=0)
    assert [type(error) for error in deliver().errors] == [ReactionRefused]
    assert StoredEvent.objects.count() == 1
    assert failed(NAME).reason.startswith("ReactionRefused: ")


def test_a_subscriber_may_give_a_key_of_its_own() -> None:
    @subscriber(NAME, MoneyAdded)
    def act(event: MoneyAdded, recorded: RecordedEvent) -> None:
        if event.reference == "r":
            Wallet.objects.once("bonus").perform(recorded.stream_key, Wallet.add, Decimal(100))

    opened = wallet(adds=3)
    drain_in_test()
    assert Wallet.objects.get(pk=opened.pk).balance == 103
