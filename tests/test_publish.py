"""``publish`` stores a fact of no aggregate: with its transaction or not at all, in order for each key."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.db import transaction

from eventsourcing_app import RecordedEvent, context, publish, subscriber
from eventsourcing_app.exceptions import EventRefused
from eventsourcing_app.log.records import StoredEventQuerySet
from eventsourcing_app.models import StoredEvent
from eventsourcing_app.testing import drain
from tests.reactions_sample.scene import no_subscriptions, rolled_back, wallet
from tests.samples.events import RateChanged, WalletOpened
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_subscriptions() -> Iterator[None]:
    with no_subscriptions():
        yield


def rate(currency: str = "EUR", value: str = "1.10") -> RateChanged:
    return RateChanged(currency=currency, rate=Decimal(value))


def test_it_returns_the_position_and_stores_topic_key_and_context() -> None:
    with context(actor="user:7", correlation_id="c-1", reason="feed"):
        position = publish(rate(), key="EUR")
    stored = StoredEvent.objects.get(position=position)
    assert (stored.stream_type, stored.type, stored.stream_key) == (
        "samples.rate_changed",
        "samples.rate_changed",
        "EUR",
    )
    assert stored.version is None
    assert stored.data == {"currency": "EUR", "rate": "1.10"}
    assert (stored.actor, stored.correlation_id, stored.metadata) == ("user:7", "c-1", {"reason": "feed"})
    assert publish(rate()) > position


def test_facts_of_a_key_arrive_in_the_order_in_which_they_were_published() -> None:
    got: dict[str, list[Decimal]] = {}

    @subscriber("t.rates", RateChanged)
    def keep(event: RateChanged, recorded: RecordedEvent) -> None:
        got.setdefault(recorded.stream_key, []).append(event.rate)

    for value in range(5):
        for key in ("EUR", "USD"):
            publish(rate(key, str(value)), key=key)
    drain()
    assert got == {"EUR": list(map(Decimal, range(5))), "USD": list(map(Decimal, range(5)))}


def test_it_goes_with_the_transaction_it_is_in() -> None:
    with rolled_back():
        wallet()
        publish(rate())
    assert not StoredEvent.objects.exists()
    with transaction.atomic():
        with rolled_back():
            publish(rate("USD"))
        publish(rate("EUR"))
    assert [event.data["currency"] for event in StoredEvent.objects.all()] == ["EUR"]


@pytest.mark.parametrize("value", [1, "1", Decimal("NaN"), None])
def test_a_payload_that_could_not_be_read_back_is_refused_and_nothing_is_stored(value: Any) -> None:
    with pytest.raises(EventRefused, match="rate"):
        publish(RateChanged(currency="EUR", rate=value))
    assert not StoredEvent.objects.exists()


@pytest.mark.parametrize("key", ["x" * 256, "a\x00b"])
def test_a_key_that_no_stream_can_have_is_refused(key: str) -> None:
    with pytest.raises(EventRefused, match="stream_key"):
        publish(rate(), key=key)
    assert not StoredEvent.objects.exists()


def test_something_that_was_never_declared_cannot_be_published() -> None:
    with pytest.raises(TypeError):
        publish("samples.rate_changed")
    assert not StoredEvent.objects.exists()


def test_what_a_subscriber_publishes_is_caused_by_the_event_that_it_handles() -> None:
    positions = []

    @subscriber("t.welcome", WalletOpened)
    def welcome(event: WalletOpened, recorded: RecordedEvent) -> None:
        positions.append(publish(rate(), key="EUR"))

    with context(actor="user:7", correlation_id="c-2"):
        wallet(adds=0)
    drain()
    opened, published = StoredEvent.objects.order_by("position")
    assert positions == [published.position]
    assert published.causation_id == opened.event_id
    assert (published.actor, published.correlation_id) == ("subscription:t.welcome", "c-2")


def test_a_fact_is_no_part_of_the_history_of_an_aggregate_of_the_same_name() -> None:
    opened = Wallet.objects.perform_new(Wallet.open, owner="Ada")
    publish(RateChanged(currency="EUR", rate=Decimal(1)), key=str(opened.pk))
    facts = StoredEvent.objects.filter(type="samples.rate_changed")
    assert facts.get().stream_key == str(opened.pk)
    assert not StoredEventQuerySet(StoredEvent).of_stream("samples.rate_changed", str(opened.pk)).exists()
