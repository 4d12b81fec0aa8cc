"""Whatever a handler does, and whoever else is at work, no event is lost, none is passed, and nobody else is harmed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import override_settings

from eventsourcing_app import RecordedEvent, context, subscriber
from eventsourcing_app.context import current
from eventsourcing_app.exceptions import LogUnsafe
from eventsourcing_app.models import Segment, StoredEvent
from eventsourcing_app.subscriptions.definitions import ensure
from eventsourcing_app.subscriptions.drain import drain
from eventsourcing_app.subscriptions.registry import registry
from tests.reactions_sample.scene import (
    NOTHING,
    Children,
    count_it,
    deliver,
    in_own_connection,
    parked,
    position_of,
    segment,
    total,
    until,
    wallet,
)
from tests.samples.events import MoneyAdded, WalletOpened
from tests.samples.factories import elsewhere, held_elsewhere
from tests.samples.models import Wallet

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_subscriptions")]
committing = pytest.mark.django_db(transaction=True)

NAME = "t.attacked"
SETTINGS = {"DISPATCHER": "none", "RETRY_SECONDS": (60.0, 60.0)}


def listen(name: str, *types: type, **options: Any) -> list[str]:
    """Subscribe; return the list to which the types are added of what comes."""
    got: list[str] = []

    @subscriber(name, *types, **options)
    def keep(event: object, recorded: RecordedEvent) -> None:
        got.append(recorded.type.removeprefix("samples."))

    return got


def newest() -> int:
    return StoredEvent.objects.latest("position").position


# Releases


def test_workers_of_two_releases_side_by_side_pass_no_event() -> None:
    def release(*types: type) -> list[str]:
        registry.remove(NAME)
        return listen(NAME, *types)

    release(MoneyAdded)
    deliver()
    release(MoneyAdded, WalletOpened)
    deliver()
    wallet(adds=1)
    old = release(MoneyAdded)
    deliver()
    new = release(MoneyAdded, WalletOpened)
    deliver()
    assert (old, new) == ([], ["wallet_opened", "money_added"])
    fewer = release(MoneyAdded)
    call_command("migrate", verbosity=0)
    wallet(adds=1)
    deliver()
    assert fewer == ["money_added"]


@committing
def test_a_subscription_from_now_on_gets_nothing_that_was_appended_before_it() -> None:
    wallet(adds=2)
    got = listen(NAME, MoneyAdded, start="now")
    ensure(registry.all())
    assert segment(NAME).checkpoint == newest()
    wallet(adds=1)
    drain()
    assert got == ["money_added"]


@pytest.mark.needs_postgres
@committing
def test_a_subscription_from_now_on_misses_nothing_of_an_append_that_is_open_just_then() -> None:
    """Nor of what was appended after that: better a few events from before than one too few."""
    got: list[str] = []
    with held_elsewhere(lambda: wallet(adds=1)) as go_on:
        wallet(adds=1)
        got = listen(NAME, MoneyAdded, start="now")
        ensure(registry.all())
        go_on.set()
    drain()
    assert got == ["money_added"] * 2


# Slow handlers


SHORT = {**SETTINGS, "LEASE_SECONDS": 0.3}


@committing
def test_a_handler_that_takes_longer_than_the_lease_is_not_run_beside_itself() -> None:
    runs: list[int | None] = []

    @subscriber(NAME, MoneyAdded)
    def slow(event: MoneyAdded, recorded: RecordedEvent) -> None:
        runs.append(recorded.version)
        time.sleep(0.9)

    wallet(adds=2)

    def work() -> None:
        end = time.monotonic() + 10
        while time.monotonic() < end and not Segment.objects.filter(subscription=NAME, checkpoint=newest()).exists():
            drain(seconds=0.2)
            time.sleep(0.02)

    with override_settings(EVENTSOURCING=SHORT):
        workers = [threading.Thread(target=in_own_connection(work)) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert runs == [2, 3]


@committing
def test_processes_leave_a_handler_that_takes_longer_than_the_lease_to_the_one_that_runs_it(
    children: Children,
) -> None:
    opened = wallet(adds=2)
    slow = {"REACTIONS_LEASE": 0.3, "REACTIONS_SECONDS": 1.0, "REACTIONS_PROJECTIONS": 0}
    for _ in range(2):
        children.manage("run_subscriptions", **slow)
    done = Segment.objects.filter(subscription="reactions.journal_0", checkpoint__gte=position_of(opened, 3))
    until(done.exists, what="both events are handled")
    assert children.versions(0, opened) == [2, 3]


# Handlers that leave something behind


def _open_transaction(times: int = 1) -> None:
    for _ in range(times):
        transaction.atomic().__enter__()


def _open_transaction_and_fail() -> None:
    _open_transaction()
    raise ZeroDivisionError


DISORDER: dict[str, Callable[[], object]] = {
    "autocommit off": lambda: transaction.set_autocommit(False),
    "a transaction": _open_transaction,
    "two transactions": lambda: _open_transaction(2),
    "a transaction and an error": _open_transaction_and_fail,
    "a connection that is closed": lambda: connection.close(),  # noqa: PLW0108 - of whichever connection is the present one
    "an order to stop": mock.Mock(side_effect=asyncio.CancelledError),
}


@committing
@pytest.mark.parametrize("left", DISORDER)
@pytest.mark.parametrize("transactional", [False, True])
def test_a_handler_that_leaves_disorder_behind_fails_alone(left: str, transactional: bool) -> None:
    @subscriber("t.a", MoneyAdded, transactional=transactional)
    def disorder(event: MoneyAdded, recorded: RecordedEvent) -> None:
        if transactional:
            count_it("disorder", event.amount)
        DISORDER[left]()

    @subscriber("t.b", MoneyAdded, transactional=True)
    def projection(event: MoneyAdded, recorded: RecordedEvent) -> None:
        count_it("order", event.amount)

    got = listen("t.c", MoneyAdded)
    for round_ in (1, 2):
        wallet(adds=2)
        drain()
        assert elsewhere(lambda: [segment(name).checkpoint for name in ("t.b", "t.c")]) == [newest()] * 2
        assert elsewhere(lambda: total("order")) == (2 * round_, Decimal(2 * round_))
        assert len(got) == 2 * round_
    if transactional or "closed" not in left:
        assert [(row.state, row.attempts) for row in parked("t.a")] == [("failed", 1), ("behind", 0)] * 2
        assert elsewhere(lambda: total("disorder")) == NOTHING
    assert (connection.get_autocommit(), connection.in_atomic_block) == (True, False)


@committing
def test_the_loop_refuses_to_run_with_autocommit_off() -> None:
    got = listen(NAME, MoneyAdded)
    transaction.set_autocommit(False)
    try:
        with transaction.atomic():
            wallet(adds=1)
        with pytest.raises(LogUnsafe, match="inside a transaction"):
            drain()
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert got == []


def test_a_handler_inherits_nothing_of_whoever_happens_to_run_it() -> None:
    seen = []

    @subscriber(NAME, WalletOpened)
    def look(event: WalletOpened, recorded: RecordedEvent) -> None:
        seen.append((current().resolve_actor(), current().metadata, current().causation_id))
        Wallet.objects.perform(recorded.stream_key, Wallet.label, labels=["x"])

    with override_settings(EVENTSOURCING={"DISPATCHER": "sync"}):
        opened = wallet(adds=0)
        with context(actor="user:7", request_id="R7", reason="of user 7"):
            deliver()
            assert current().metadata == {"request_id": "R7", "reason": "of user 7"}
    caused, effect = opened.history()
    assert seen == [(f"subscription:{NAME}", {"causation_depth": 1}, caused.event_id)]
    assert (effect.metadata, effect.actor) == ({"causation_depth": 1}, f"subscription:{NAME}")


# Waiting


@pytest.mark.needs_postgres
@committing
def test_a_loop_that_only_waits_ends_when_somebody_else_was_asked() -> None:
    got = listen(NAME, MoneyAdded)
    relieved = mock.Mock(side_effect=[False, True])
    with held_elsewhere(lambda: wallet(adds=1)):
        assert drain(relieved=relieved, seconds=10).finished
    assert (relieved.call_count, got) == (2, [])
    assert drain(relieved=relieved).finished  # which is not asked while there is something to do
    assert (relieved.call_count, got) == (2, ["money_added"])
