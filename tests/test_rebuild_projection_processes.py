"""A rebuild of a projection in processes of its own: killed anywhere it goes on, and what serves is never half."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.db import connection, transaction

from eventsourcing_app.aggregates.rebuild import exclusion
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent, Subscription
from tests.reactions_sample.scene import Children, no_subscriptions, total, until, wallet
from tests.samples.models import OwnerTotal, Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.samples.models import Wallet as Opened

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "reactions.tally_0"
COMMAND = ("manage.py", "rebuild_projection", "--skip-checks", NAME, "--reason", "it drifted")
ONLY = {"REACTIONS_SUBSCRIBERS": 0, "REACTIONS_SEGMENTS": 4, "REACTIONS_LEASE": 60}


@pytest.fixture
def children(child_env: dict[str, str], tmp_path: Path) -> Iterator[Children]:
    children = Children(child_env, tmp_path / "journal")
    with no_subscriptions():
        yield children
    children.kill_all()


def rebuild(children: Children, *arguments: str, **env: object) -> int:
    """Run the command to its end, and return its exit code."""
    return children.start(*COMMAND, *arguments, **ONLY, **env).wait(60)


def drifted(children: Children) -> list[Opened]:
    """Wallets whose totals have been counted, and then spoilt."""
    opened = [wallet(adds=30) for _ in range(12)]
    assert children.program("drain", **ONLY).wait(60) == 0
    OwnerTotal.objects.update(events=7)
    return opened


def counted(opened: list[Opened]) -> set[tuple[int, Decimal]]:
    return {total(f"0 {each.pk}") for each in opened}


@pytest.mark.parametrize("processes", ["1", "3"])
def test_killed_in_the_middle_it_goes_on_until_it_is_what_its_events_say(children: Children, processes: str) -> None:
    opened = drifted(children)
    codes = []
    for _ in range(20):
        codes.append(rebuild(children, "--processes", processes, EVENTSOURCING_FAILPOINTS="rebuild.batch:0.4"))
        if codes[-1] == 0:
            break
        # What serves is the old one, whole.
        assert {row.events for row in OwnerTotal.objects.all()} == {7}
    else:
        assert rebuild(children, "--processes", processes) == 0
    assert counted(opened) == {(30, Decimal(30))}
    assert not Subscription.objects.filter(kind="rebuild").exists()
    assert not [line for line in children.lines() if line.startswith("disorder")]


def test_beside_writers_and_workers_nothing_is_counted_twice_or_left_out(children: Children) -> None:
    opened = drifted(children)
    worker = children.manage("run_subscriptions", **ONLY)
    running = children.start(*COMMAND, "--processes", "2", **ONLY, REACTIONS_SECONDS=0)
    adds = 30
    while running.poll() is None and adds < 50:
        for each in opened:
            Wallet.objects.perform(each.pk, Wallet.add, Decimal(1))
        adds += 1
    assert running.wait(60) == 0

    def caught_up() -> bool:
        newest = StoredEvent.objects.filter(type="samples.money_added").latest("position").position
        return not Segment.objects.filter(subscription=NAME, checkpoint__lt=newest).exists()

    until(caught_up, what="the live one has caught up")
    assert counted(opened) == {(adds, Decimal(adds))}
    worker.terminate()
    assert worker.wait(20) == 0


def test_a_second_one_is_refused_while_one_is_under_way(children: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    drifted(children)
    monkeypatch.setattr(exclusion, "_LOOKS", 1)
    with exclusion.exclusive(f"projection {NAME}"):
        assert rebuild(children) == 1
    assert {row.events for row in OwnerTotal.objects.all()} == {7}
    assert rebuild(children) == 0


def read_anew(sql: str, *params: str) -> int:
    """Read one number on a new connection, which does not wait for long."""
    reader = connection.copy()
    try:
        with reader.cursor() as cursor:
            cursor.execute("SET statement_timeout = '5s'")
            cursor.execute(sql, params)
            found: int = cursor.fetchone()[0]
    finally:
        reader.close()
    return found


def swaps_that_wait() -> int:
    """How many wait for the table, to exchange it."""
    return read_anew(
        "SELECT count(*) FROM pg_locks WHERE relation = %s::regclass AND mode = 'AccessExclusiveLock' AND NOT granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        OwnerTotal._meta.db_table,
    )


@pytest.mark.needs_postgres
@pytest.mark.parametrize("hang", ["python", "c"])
def test_a_handler_that_never_returns_is_ended_and_its_event_told(children: Children, hang: str) -> None:
    drifted(children)
    wallet(adds=33)
    hanging = {"REACTIONS_HANG_IN": "projection", "REACTIONS_HANG": f"{hang} 33", "REACTIONS_HANDLER_SECONDS": 1.5}
    running = children.start(*COMMAND, "--processes", "2", **{**ONLY, **hanging})
    assert running.wait(50) == 1
    assert {row.events for row in OwnerTotal.objects.all()} == {7}  # what serves
    dead = ParkedEvent.objects.get(segment__subscription=f"{NAME}~rebuild", state="dead")
    assert "died" in dead.reason


@pytest.mark.needs_postgres
def test_a_handler_that_never_returns_does_not_keep_it_from_being_stopped(children: Children) -> None:
    drifted(children)
    wallet(adds=33)
    hanging = {"REACTIONS_HANG_IN": "projection", "REACTIONS_HANG": "python 33", "REACTIONS_HANDLER_SECONDS": 3}
    running = children.start(*COMMAND, "--processes", "2", **{**ONLY, **hanging})
    until(lambda: any(line == "hangs 33" for line in children.lines()), what="it hangs")
    running.terminate()
    assert running.wait(20) == 128 + 15


@pytest.mark.needs_postgres
def test_it_does_not_make_readers_wait_for_a_reader(children: Children) -> None:
    """The swap gives up its place in the queue of locks and comes again, so that others can read meanwhile."""
    opened = drifted(children)
    with transaction.atomic():
        assert OwnerTotal.objects.count() == len(opened)  # reads, and keeps the table until the end of the block
        running = children.start(*COMMAND, **ONLY)
        for _ in range(2):
            until(swaps_that_wait, what="the swap waits for the reader")
            assert read_anew(f'SELECT count(*) FROM "{OwnerTotal._meta.db_table}"') == len(opened)
        assert running.poll() is None
    assert running.wait(60) == 0
    assert counted(opened) == {(30, Decimal(30))}
