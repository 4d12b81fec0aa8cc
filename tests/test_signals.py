"""``events_appended`` tells after the commit, and only then, exactly what was written."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, transaction

from eventsourcing_app import publish
from eventsourcing_app.models import StoredEvent
from eventsourcing_app.signals import events_appended
from tests.reactions_sample.scene import rolled_back, wallet
from tests.samples.events import RateChanged
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db(transaction=True)

RATE = RateChanged(currency="EUR", rate=Decimal(1))


@pytest.fixture
def told() -> Iterator[list[tuple[int, int, frozenset[str]]]]:
    received = []

    def receive(sender: Any, position: int, count: int, types: frozenset[str], **_signal: Any) -> None:
        assert sender is StoredEvent
        assert not connection.in_atomic_block
        assert StoredEvent.objects.filter(position=position).exists()
        received.append((position, count, types))

    events_appended.connect(receive)
    yield received
    events_appended.disconnect(receive)


def test_each_write_is_told_with_its_last_position_its_count_and_its_types(told: list[Any]) -> None:
    opened = wallet(adds=2)
    position = publish(RATE)
    assert told == [
        (opened.position, 3, {"samples.wallet_opened", "samples.money_added"}),
        (position, 1, {"samples.rate_changed"}),
    ]


def test_a_batch_of_many_aggregates_is_one_write(told: list[Any]) -> None:
    wallets = []
    for _ in range(70):
        new = Wallet()
        new.open(owner="Ada")
        wallets.append(new)
    Wallet.objects.save_all(wallets)
    assert told == [(max(new.position or 0 for new in wallets), 70, {"samples.wallet_opened"})]


def test_nothing_is_told_before_the_outermost_commit(told: list[Any]) -> None:
    with transaction.atomic():
        with transaction.atomic():
            first = publish(RATE)
        second = publish(RATE)
        assert told == []
    assert [position for position, _, _ in told] == [first, second]


def test_what_was_rolled_back_is_never_told(told: list[Any]) -> None:
    with rolled_back():
        publish(RATE)
    with transaction.atomic():
        kept = publish(RATE)
        with rolled_back():
            wallet()
    assert [position for position, _, _ in told] == [kept]


def test_a_receiver_that_raises_is_logged_and_harms_nobody(told: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    def broken(**_signal: Any) -> None:
        raise LookupError("the receiver is broken")

    events_appended.connect(broken)
    try:
        with caplog.at_level(logging.ERROR), transaction.atomic():
            publish(RATE)
            publish(RATE)
    finally:
        events_appended.disconnect(broken)
    assert len(told) == StoredEvent.objects.count() == 2
    assert "the receiver is broken" in caplog.text
