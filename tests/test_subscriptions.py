"""A subscriber gets every event at least once, each stream in order, outside any transaction, and acts once on it."""

from __future__ import annotations

import threading
from collections import Counter as Tally
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction

from eventsourcing_app import RecordedEvent, context, subscriber
from eventsourcing_app.context import current
from eventsourcing_app.exceptions import LogUnsafe
from eventsourcing_app.models import Segment, StoredEvent, Subscription
from eventsourcing_app.subscriptions.definitions import ensure
from eventsourcing_app.subscriptions.drain import drain
from eventsourcing_app.subscriptions.registry import registry
from eventsourcing_app.testing import drain as drain_in_test
from tests.reactions_sample.scene import (
    Children,
    deliver,
    in_own_connection,
    position_of,
    segment,
    total,
    until,
    wallet,
)
from tests.samples.events import MoneyAdded, WalletOpened
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from eventsourcing_app.subscriptions.registry import Start

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_subscriptions")]
committing = pytest.mark.django_db(transaction=True)

NAME = "t.subscriber"


def listen(name: str = NAME, *, start: Start = "beginning") -> list[int]:
    """Subscribe to money being added; return the list to which positions are added."""
    got: list[int] = []

    @subscriber(name, MoneyAdded, start=start)
    def keep(event: MoneyAdded, recorded: RecordedEvent) -> None:
        got.append(recorded.position)

    return got


# What a handler gets


@committing
def test_every_event_arrives_each_stream_in_order_outside_any_transaction() -> None:
    got: dict[str, list[int | None]] = {}

    @subscriber(NAME, WalletOpened, MoneyAdded)
    def keep(event: WalletOpened | MoneyAdded, recorded: RecordedEvent) -> None:
        assert not connection.in_atomic_block
        assert event == recorded.event
        got.setdefault(recorded.stream_key, []).append(recorded.version)

    wallets = [wallet(adds=2) for _ in range(3)]
    for opened in wallets:
        Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1))
    assert drain().handled == 12
    assert got == {str(opened.pk): [1, 2, 3, 4] for opened in wallets}
    assert drain().handled == 0


def test_the_context_of_a_handler_names_the_subscription_and_the_event() -> None:
    seen = []

    @subscriber(NAME, WalletOpened)
    def look(event: WalletOpened, recorded: RecordedEvent) -> None:
        seen.append((current().resolve_actor(), current().correlation_id, current().causation_id))
        Wallet.objects.perform(recorded.stream_key, Wallet.add, Decimal(1))

    with context(actor="user:7", correlation_id="c-1"):
        opened = wallet(adds=0)
    drain_in_test()
    cause, effect = opened.history()
    assert seen == [(f"subscription:{NAME}", "c-1", cause.event_id)]
    assert (effect.actor, effect.correlation_id, effect.causation_id) == (f"subscription:{NAME}", "c-1", cause.event_id)
    assert current().resolve_actor() == ""


def test_what_a_subscriber_appends_is_delivered_by_the_same_run() -> None:
    got = listen()

    @subscriber("t.opener", WalletOpened)
    def add(event: WalletOpened, recorded: RecordedEvent) -> None:
        Wallet.objects.perform(recorded.stream_key, Wallet.add, Decimal(1))

    opened = wallet(adds=0)
    assert deliver().handled == 2
    assert got == [position_of(opened, 2)]


@committing
def test_the_loop_refuses_to_run_inside_a_transaction() -> None:
    got = listen()
    wallet()
    with transaction.atomic(), pytest.raises(LogUnsafe, match="inside a transaction"):
        drain()
    assert got == []


# Where it begins


def test_a_subscription_begins_at_the_beginning_now_or_after_a_position() -> None:
    opened = wallet(adds=3)
    everything = listen("t.beginning")
    later = listen("t.now", start="now")
    rest = listen("t.position", start=position_of(opened, 3))
    deliver()
    assert everything == [position_of(opened, version) for version in (2, 3, 4)]
    assert later == []
    assert rest == [position_of(opened, 4)]
    assert Subscription.objects.get(name="t.now").started_after == position_of(opened, 4)
    Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1))
    deliver()
    assert later == [position_of(opened, 5)]
    assert len(everything) == 4
    assert len(rest) == 2


@pytest.mark.parametrize("start", ["Beginning", -1, True, None])
def test_a_start_that_is_none_is_refused_when_it_is_declared(start: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="starts at"):
        listen(start=start)
    assert registry.all() == ()


@committing
def test_eight_workers_that_see_a_subscription_first_make_its_rows_once() -> None:
    wallet()
    for number in range(5):
        listen(f"t.{number}", start="now" if number % 2 else "beginning")
    together = threading.Barrier(8)
    made = []

    def work() -> None:
        together.wait(10)
        ensure(registry.all())
        made.append(True)

    workers = [threading.Thread(target=in_own_connection(work)) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(made) == 8
    assert Tally(
        Segment.objects.filter(subscription__name__startswith="t.").values_list("subscription", flat=True)
    ) == {f"t.{number}": 1 for number in range(5)}
    newest = StoredEvent.objects.latest("position").position
    for kept in Segment.objects.all():
        assert kept.checkpoint == (newest if kept.subscription_id in ("t.1", "t.3") else 0)


def test_rows_that_a_flush_removed_are_made_again() -> None:
    got = listen()
    opened = wallet(adds=1)
    deliver()
    Segment.objects.all().delete()
    Subscription.objects.all().delete()
    deliver()
    assert got == [position_of(opened, 2)] * 2


@pytest.mark.parametrize("status", [Subscription.Status.PAUSED, Subscription.Status.HALTED])
def test_a_subscription_that_is_paused_or_halted_waits_and_then_goes_on(status: str) -> None:
    got = listen()
    ensure(registry.all())
    Subscription.objects.update(status=status)
    wallet(adds=2)
    assert deliver().handled == 0
    assert got == []
    Subscription.objects.update(status=Subscription.Status.ACTIVE)
    deliver()
    assert len(got) == 2


def test_the_longest_unserved_subscription_comes_first() -> None:
    order: list[str] = []

    def declare(name: str) -> None:
        @subscriber(name, MoneyAdded)
        def keep(event: MoneyAdded, recorded: RecordedEvent) -> None:
            order.append(name)

    declare("t.a")
    declare("t.b")
    wallet(adds=1)
    deliver()
    declare("t.c")
    wallet(adds=1)
    deliver()
    # The new one takes the first event, then those that were served wait behind one another.
    assert order[:2] == ["t.a", "t.b"]
    assert order[2] == "t.c"
    assert order.index("t.a", 2) < order.index("t.b", 2)


# Beside others


class OpenAppend:
    """A transaction of another connection that has appended and not ended."""

    def __init__(self) -> None:
        self._appended, self._may_end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=in_own_connection(self._run))
        self.wallet = Wallet()

    def _run(self) -> None:
        with transaction.atomic():
            self.wallet = wallet(adds=1, reference="slow")
            self._appended.set()
            self._may_end.wait(20)

    def __enter__(self) -> OpenAppend:
        self._thread.start()
        assert self._appended.wait(10)
        return self

    def commit(self) -> None:
        self._may_end.set()
        self._thread.join()

    def __exit__(self, *_exception: object) -> None:
        self.commit()


@pytest.mark.needs_postgres
@committing
def test_an_open_append_is_neither_passed_nor_lost() -> None:
    got = listen()
    before = wallet(adds=1)
    drain()
    with OpenAppend() as slow:
        after = wallet(adds=1)
        drained = drain(seconds=0.2)
        assert not drained.finished
        assert got == [position_of(before, 2)]
        assert segment(NAME).checkpoint < (slow.wallet.position or 0) < position_of(after, 2)
        slow.commit()
    assert drain().finished
    assert got == [position_of(before, 2), position_of(slow.wallet, 2), position_of(after, 2)]


@pytest.mark.needs_postgres
@committing
def test_the_loop_waits_for_an_open_append() -> None:
    got = listen()
    with OpenAppend() as slow:
        timer = threading.Timer(0.3, slow.commit)
        timer.start()
        assert drain().finished
        timer.join()
    assert got == [position_of(slow.wallet, 2)]


@committing
def test_four_processes_deliver_to_twenty_subscriptions_in_order_and_to_projections_once(children: Children) -> None:
    wallets = [wallet(adds=15) for _ in range(3)]
    many = {"REACTIONS_PROJECTIONS": 10, "REACTIONS_SUBSCRIBERS": 10, "REACTIONS_LEASE": 60}
    workers = [children.program("drain", **many) for _ in range(4)]
    until(children.lines, what="they work")
    for opened in wallets * 5:
        Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1))
    # Whoever had finished before the last event came is not to blame for it.
    for worker in (*workers, children.program("drain", **many)):
        assert worker.wait(60) == 0
    expected = list(range(2, 22))
    for opened in wallets:
        for number in range(10):
            assert children.versions(number, opened) == expected
            assert total(f"{number} {opened.pk}") == (20, Decimal(20))
    assert not [line for line in children.lines() if line.startswith("disorder")]
