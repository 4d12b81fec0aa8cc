"""A handler that takes another way when it runs again does nothing twice, leaves nothing out, or stops and says so."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from eventsourcing_app import RecordedEvent, publish, subscriber
from eventsourcing_app.exceptions import KeyReused
from eventsourcing_app.models import StoredEvent
from tests.reactions_sample.scene import deliver, failed, let_retry, wallet
from tests.samples.events import RateChanged, WalletOpened
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_subscriptions")]

NAME = "t.repeated"


def run_twice(handler: Callable[[int], None]) -> list[Exception]:
    """Handle one event in a run that fails at its end, and in a second one; return what the second one raised."""
    runs = []

    @subscriber(NAME, WalletOpened)
    def act(event: WalletOpened, recorded: RecordedEvent) -> None:
        if event.owner == "Ada":
            runs.append(recorded.position)
            handler(len(runs))
            if len(runs) == 1:
                raise ZeroDivisionError

    wallet(adds=0)
    assert [type(error) for error in deliver().errors] == [ZeroDivisionError]
    let_retry(NAME)
    return deliver().errors


def test_commands_to_several_streams_may_come_in_another_order() -> None:
    both = [Wallet.objects.perform_new(Wallet.open, owner="Eve").pk for _ in range(2)]

    def handler(run: int) -> None:
        for number, pk in list(enumerate(both, 1))[:: 1 if run == 1 else -1]:
            Wallet.objects.perform(pk, Wallet.add, Decimal(number))
            publish(RateChanged(currency="EUR", rate=Decimal(number)), key=str(pk))

    assert run_twice(handler) == []
    assert [Wallet.objects.get(pk=pk).balance for pk in both] == [1, 2]
    assert StoredEvent.objects.filter(type="samples.rate_changed").count() == 2


def test_a_handler_may_look_whether_another_stream_has_what_it_would_give_it() -> None:
    first, second = (Wallet.objects.perform_new(Wallet.open, owner="Eve").pk for _ in range(2))

    def handler(_run: int) -> None:
        if not Wallet.objects.get(pk=first).balance:
            Wallet.objects.perform(first, Wallet.add, Decimal(1))
        Wallet.objects.perform(second, Wallet.add, Decimal(1))

    assert run_twice(handler) == []
    assert [Wallet.objects.get(pk=pk).balance for pk in (first, second)] == [1, 1]


@pytest.mark.parametrize("swapped", [False, True])
def test_another_command_in_the_place_of_one_that_was_done_stops_the_handler(swapped: bool) -> None:
    eve = Wallet.objects.perform_new(Wallet.open, owner="Eve").pk

    def handler(run: int) -> None:
        if swapped or run == 1:
            Wallet.objects.perform(eve, Wallet.add, Decimal(run))
        if swapped or run == 2:
            Wallet.objects.perform(eve, Wallet.add, Decimal(3 - run if swapped else 100))

    assert [type(error) for error in run_twice(handler)] == [KeyReused]
    assert Wallet.objects.get(pk=eve).balance == (3 if swapped else 1)
    assert failed(NAME).attempts == 2
    assert "KeyReused" in failed(NAME).error
