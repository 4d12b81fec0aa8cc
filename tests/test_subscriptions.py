"""A subscriber gets every event at least once, each stream in order, outside any transaction, and acts once on it."""

from __future__ import annotations

import threading
import tracemalloc
from collections import Counter as Tally
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import override_settings

from eventsourcing_app import Projection, RecordedEvent, context, handles, publish, subscriber
from eventsourcing_app.context import current
from eventsourcing_app.exceptions import LogUnsafe, ReactionRefused
from eventsourcing_app.models import Segment, StoredEvent, Subscription
from eventsourcing_app.subscriptions import claim, work
from eventsourcing_app.subscriptions.drain import drain
from eventsourcing_app.subscriptions.registry import registry
from eventsourcing_app.testing import drain as drain_in_test
from tests.reactions_sample.scene import (
    Children,
    deliver,
    in_own_connection,
    let_lease_end,
    no_subscriptions,
    position_of,
    segment,
    total,
    until,
    wallet,
)
from tests.samples.events import MoneyAdded, RateChanged, WalletOpened
from tests.samples.models import Counter, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from eventsourcing_app.subscriptions.registry import Definition, Start

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)

NAME = "t.subscriber"


@pytest.fixture(autouse=True)
def own_subscriptions() -> Iterator[None]:
    with no_subscriptions(), override_settings(EVENTSOURCING={"DISPATCHER": "none", "RETRY_SECONDS": (60.0, 60.0)}):
        yield


@pytest.fixture
def children(child_env: dict[str, str], tmp_path: Path) -> Iterator[Children]:
    children = Children(child_env, tmp_path / "journal")
    yield children
    children.kill_all()


def listen(name: str = NAME, *, start: Start = "beginning") -> list[int]:
    """Subscribe to money being added; return the list to which positions are added."""
    got: list[int] = []

    @subscriber(name, MoneyAdded, start=start)
    def keep(event: MoneyAdded, recorded: RecordedEvent) -> None:
        got.append(recorded.position)

    return got


class _Crash(BaseException):
    """Ends the worker where a power cut would."""


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


# Commands of a handler


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
    assert segment(NAME).checkpoint == 0


def test_a_subscriber_may_give_a_key_of_its_own() -> None:
    @subscriber(NAME, MoneyAdded)
    def act(event: MoneyAdded, recorded: RecordedEvent) -> None:
        if event.reference == "r":
            Wallet.objects.once("bonus").perform(recorded.stream_key, Wallet.add, Decimal(100))

    opened = wallet(adds=3)
    drain_in_test()
    assert Wallet.objects.get(pk=opened.pk).balance == 103


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
        claim.ensure(registry.all())
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
    claim.ensure(registry.all())
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


# What it costs


def test_a_thousand_events_reach_five_subscriptions_in_few_statements_and_in_flat_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(work, "BATCH_SECONDS", 3600.0)  # batches of as many events on every machine
    counts: Tally[str] = Tally()
    statements: Tally[str] = Tally()

    def count(execute: Any, sql: str, *rest: Any) -> Any:
        statements[sql] += 1
        return execute(sql, *rest)

    for number in range(3):
        _tally(f"t.subscriber_{number}", counts)

    for number in range(2):

        class Tallying(Projection):
            name = f"t.projection_{number}"

            @handles(MoneyAdded)
            def add(self, event: MoneyAdded, recorded: RecordedEvent) -> None:
                counts[self.name] += 1

    def peak(events: int) -> int:
        opened = wallet(adds=events)
        del opened
        statements.clear()
        tracemalloc.start()
        with connection.execute_wrapper(count):
            deliver()
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    few = peak(300)
    many = peak(1_000)
    assert statements.total() < 250, "some for each batch, none for an event"
    assert sorted(counts.values()) == [1_300] * 5
    assert many < few * 1.3


def _tally(name: str, counts: Tally[str]) -> None:
    @subscriber(name, MoneyAdded)
    def count(event: MoneyAdded, recorded: RecordedEvent) -> None:
        counts[name] += 1


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
    claim.ensure([subscribed])
    until = StoredEvent.objects.latest("position").position
    taken = claim.claim([subscribed.fingerprint], until=until)
    assert taken is not None
    claim.release(taken, checkpoint=taken.checkpoint)
    redefined(["samples.of_the_next_release"])
    assert claim.claim([subscribed.fingerprint], until=until) is None


def subscribe_to_money(start: Start = "beginning") -> Definition:
    @subscriber(NAME, MoneyAdded, start=start)
    def count(event: MoneyAdded, recorded: RecordedEvent) -> None:
        pass

    definition = registry.get(NAME)
    assert definition is not None
    return definition
