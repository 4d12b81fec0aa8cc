"""A flow that loses a race is run again as a whole: on both databases, wherever that shows, and not for ever."""

from __future__ import annotations

from contextlib import nullcontext
from decimal import Decimal
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from eventsourcing_app import CommandRejected, flow
from eventsourcing_app.aggregates.flow import FIRST_WAIT, LONGEST_WAIT, jittered
from eventsourcing_app.exceptions import ConcurrencyError
from tests.samples.factories import (
    WAIT,
    beside,
    held_elsewhere,
    open_wallet,
    run_sql,
    types,
)
from tests.samples.models import OwnerTotal, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)

ONE = Decimal(1)
SERIALIZABLE = "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"


def at_once(_attempt: int) -> float:
    return 0.0


def balance(wallet: Wallet) -> Decimal:
    return Wallet.objects.get(pk=wallet.pk).balance


def stale(wallet: Wallet) -> Wallet:
    """An instance that somebody else has overtaken, with something to save."""
    loaded = Wallet.objects.get(pk=wallet.pk)
    Wallet.objects.perform(wallet.pk, Wallet.add, ONE)
    loaded.add(Decimal(100))
    return loaded


class Losing:
    """A flow that loses so many races, then adds 5."""

    def __init__(self, wallet: Wallet, times: int, **options: Any) -> None:
        self.attempts, self.waits = 0, list[int]()

        def wait(attempt: int) -> float:
            self.waits.append(attempt)
            return 0.0

        @flow("tests.losing", backoff=wait, **options)
        def run() -> None:
            self.attempts += 1
            Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(5))
            if self.attempts <= times:
                stale(wallet).save()

        self.run = run


# Again


def test_a_lost_race_is_run_again_as_a_whole() -> None:
    wallet = open_wallet()
    losing = Losing(wallet, 2)
    losing.run()
    assert (losing.attempts, losing.waits) == (3, [1, 2])
    assert balance(wallet) == 5
    assert types() == ["wallet_opened", "money_added"]


def test_it_gives_up_after_so_many_attempts_with_the_last_error() -> None:
    wallet = open_wallet()
    for options, attempts in (({}, 5), ({"attempts": 2}, 2), ({"attempts": 1}, 1)):
        losing = Losing(wallet, 9, **options)
        with pytest.raises(ConcurrencyError) as caught:
            losing.run()
        assert (losing.attempts, losing.waits) == (attempts, list(range(1, attempts)))
        assert any(f"{attempts} of {attempts} attempts" in note for note in caught.value.__notes__)
    assert types() == ["wallet_opened"]


@pytest.mark.parametrize("error", [CommandRejected("No."), IntegrityError(), OperationalError(), ZeroDivisionError()])
def test_nothing_else_is_run_again(error: Exception) -> None:
    runs = []

    @flow("tests.refuses", backoff=at_once)
    def refuses() -> None:
        runs.append(1)
        raise error

    with pytest.raises(type(error)):
        refuses()
    assert len(runs) == 1


@pytest.mark.parametrize(
    "arguments", [(iter([ONE]),), ((one for one in [ONE]),), (map(Decimal, "1"),)], ids=["iterator", "generator", "map"]
)
def test_what_can_be_read_only_once_is_refused_since_another_attempt_would_find_nothing(arguments: Any) -> None:
    runs = []

    @flow("tests.reads")
    def reads(*amounts: Any, **named: Any) -> None:
        runs.append((amounts, named))

    calls: list[Callable[[], None]] = [
        lambda: reads(*arguments),
        lambda: reads(extra=arguments[0]),
        lambda: reads.once("k")(*arguments),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"tests\.reads.* a second attempt.* list"):
            call()
    reads([ONE], (ONE,), {"k": ONE}, extra="text")
    assert len(runs) == 1


@pytest.mark.parametrize("key", [None, "k"])
def test_arguments_that_an_attempt_has_changed_in_their_place_are_not_taken_for_the_request(key: str | None) -> None:
    wallet, runs = open_wallet(), list[int]()

    @flow("tests.consumes", backoff=at_once)
    def consumes(amounts: list[Decimal]) -> None:
        runs.append(len(amounts))
        Wallet.objects.perform(wallet.pk, Wallet.add, amounts.pop())
        if len(runs) == 1:
            stale(wallet).save()

    run = consumes if key is None else consumes.once(key)
    with pytest.raises(TypeError, match=r"tests\.consumes.* changed its arguments.* copy") as caught:
        run([ONE, Decimal(2)])
    assert isinstance(caught.value.__cause__, ConcurrencyError)
    assert runs == [2]
    run([Decimal(5)])  # the key has answered nothing
    assert balance(wallet) == 5


def test_arguments_that_cannot_be_compared_are_left_to_a_flow_without_a_key() -> None:
    wallet, runs = open_wallet(), list[object]()

    @flow("tests.anything", backoff=at_once)
    def anything(it: object) -> None:
        runs.append(it)
        if len(runs) == 1:
            stale(wallet).save()

    anything(wallet)
    assert runs == [wallet, wallet]


@committing
def test_inside_another_transaction_it_runs_once_because_that_is_not_undone() -> None:
    losing = Losing(open_wallet(), 1)
    with pytest.raises(ConcurrencyError), transaction.atomic():
        losing.run()
    assert losing.attempts == 1


@committing
def test_only_the_outermost_flow_is_run_again() -> None:
    wallet = open_wallet()
    inner = Losing(wallet, 2)
    runs = []

    @flow("tests.outer", backoff=at_once)
    def outer() -> int:
        runs.append(1)
        inner.run()
        return len(runs)

    assert outer() == 3
    assert (inner.attempts, inner.waits) == (3, [])
    assert types() == ["wallet_opened", "money_added"]


@committing
def test_what_is_committed_is_not_done_again_although_what_the_commit_set_off_failed() -> None:
    wallet = open_wallet()
    losing = Losing(wallet, 0)
    failed: list[Callable[[], object]] = []

    @flow("tests.then", backoff=at_once)
    def then() -> None:
        losing.run()
        transaction.on_commit(lambda: failed.append(stale(wallet).save))
        transaction.on_commit(lambda: failed[-1]() and None)

    with pytest.raises(ConcurrencyError):
        then()
    assert losing.attempts == 1


@pytest.mark.needs_postgres
@committing
@pytest.mark.parametrize("statement", ["ours", "django's"])
def test_of_two_flows_in_a_deadlock_one_is_run_again_and_both_succeed(statement: str) -> None:
    both = [open_wallet("a"), open_wallet("b")]
    for wallet in both:
        OwnerTotal.objects.create(reference=str(wallet.pk))
    meeting, runs = Barrier(2), list[int]()

    def write(wallet: Wallet) -> None:
        if statement == "ours":
            Wallet.objects.perform(wallet.pk, Wallet.add, ONE)
        else:
            OwnerTotal.objects.filter(reference=str(wallet.pk)).update(events=1)

    @flow("tests.opposite")
    def opposite(order: int) -> None:
        first = runs.count(order) == 0
        runs.append(order)
        write(both[::order][0])
        if first:
            meeting.wait(WAIT)
        write(both[::order][1])

    with beside(lambda: opposite(1), lambda: opposite(-1)) as futures:
        for future in futures:
            future.result(WAIT)
    assert len(runs) == 3
    if statement == "ours":
        assert [balance(wallet) for wallet in both] == [2, 2]


@pytest.mark.needs_postgres
@committing
@pytest.mark.parametrize("writes", [True, False])
def test_a_serialization_failure_on_commit_is_run_again(writes: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "eventsourcing_app.flows")
    wallet = open_wallet()
    for reference in ("here", "there"):
        OwnerTotal.objects.create(reference=reference)
    runs: list[int] = []

    def look_and_write(there: str, here: str) -> None:
        list(OwnerTotal.objects.filter(reference=there))
        OwnerTotal.objects.filter(reference=here).update(events=1)

    def meanwhile() -> None:
        run_sql(SERIALIZABLE)
        look_and_write("here", "there")

    @flow("tests.skewed", backoff=at_once)
    def skewed() -> None:
        run_sql(SERIALIZABLE)
        runs.append(1)
        with held_elsewhere(meanwhile) if len(runs) == 1 else nullcontext():
            look_and_write("there", "here")
            if writes:
                Wallet.objects.perform(wallet.pk, Wallet.add, ONE)

    skewed()
    assert len(runs) == 2
    assert "during commit attempt" in caplog.text
    assert OwnerTotal.objects.filter(events=1).count() == 2
    assert balance(wallet) == writes


@pytest.mark.needs_sqlite
@committing
def test_a_database_that_is_locked_is_tried_again() -> None:
    wallet = open_wallet()
    with held_elsewhere(lambda: run_sql("UPDATE samples_wallet SET note = ''")) as go_on:
        waits = []

        def wait(attempt: int) -> float:
            waits.append(attempt)
            if attempt == 3:
                go_on.set()
                run_sql(f"PRAGMA busy_timeout = {WAIT * 1000}")
            return 0.0

        @flow("tests.locked_out", backoff=wait)
        def locked_out() -> None:
            Wallet.objects.perform(wallet.pk, Wallet.add, ONE)

        run_sql("PRAGMA busy_timeout = 0")
        locked_out()
    assert waits == [1, 2, 3]
    assert balance(wallet) == 1


# How long it waits


def test_the_wait_is_exponential_with_full_jitter_and_bounded() -> None:
    bounds = [jittered(attempt, lambda: 1.0) for attempt in (1, 2, 3, 4, 100, 10_000)]
    assert bounds == [FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT, 8 * FIRST_WAIT, LONGEST_WAIT, LONGEST_WAIT]
    assert jittered(3, lambda: 0.0) == 0
    assert jittered(3, lambda: 0.25) == FIRST_WAIT
    assert len({jittered(5) for _ in range(50)}) > 25


def test_the_wait_happens_outside_the_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = []
    monkeypatch.setattr("time.sleep", lambda seconds: slept.append((seconds, len(connection.savepoint_ids))))
    depth = len(connection.savepoint_ids)
    wallet, left = open_wallet(), [1]

    @flow("tests.sleeps", backoff=lambda attempt: attempt / 8)
    def sleeps() -> None:
        if left:
            left.pop()
            stale(wallet).save()

    sleeps()
    assert slept == [(0.125, depth)]
