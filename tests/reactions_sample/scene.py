"""What the tests of subscriptions share: wallets, the state of a subscription, and children that react."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from unittest import mock

from django.db import connections, transaction
from django.db.models.functions import Now

from eventsourcing_app.events.canonical import dumps
from eventsourcing_app.log import clock
from eventsourcing_app.log.append import NewEvent, append
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent
from eventsourcing_app.subscriptions import claim
from eventsourcing_app.subscriptions.definitions import ensure
from eventsourcing_app.subscriptions.drain import Drained, drain
from eventsourcing_app.subscriptions.hurry import hurry
from eventsourcing_app.subscriptions.look import look
from eventsourcing_app.subscriptions.registry import registry
from eventsourcing_app.subscriptions.work import work
from eventsourcing_app.subscriptions.worker import Worker
from tests.conftest import ROOT
from tests.samples.models import OwnerTotal, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from eventsourcing_app.subscriptions.turn import Turn


@contextmanager
def no_subscriptions() -> Iterator[None]:
    """Let a test declare its own; the installed apps' are back afterwards."""
    with mock.patch.dict(registry._by_name, clear=True):
        yield


def wallet(*, adds: int = 3, reference: str = "r") -> Wallet:
    """Open a wallet (version 1) and put 1 in ``adds`` times (versions 2, 3, …), in one commit."""
    opened = Wallet()
    opened.open(owner="Ada")
    for _ in range(adds):
        opened.add(Decimal(1), reference=reference)
    opened.save()
    return opened


def position_of(opened: Wallet, version: int) -> int:
    """Where an event of a wallet is in the log."""
    return StoredEvent.objects.get(stream_key=str(opened.pk), version=version).position


def append_raw(
    type: str, data: dict[str, object], *, schema_version: int = 1, key: str = "raw", version: int = 1
) -> int:
    """Store an event as other code, older or newer, would have written it."""
    new = NewEvent("samples.wallet", key, version, type, schema_version, dumps(data))
    appended = append([new], recorded_at=clock.now())
    assert appended is not None
    return appended.position


NOTHING = (0, Decimal(0))
"""The total of what was never counted."""


class _RollBack(Exception):
    pass


@contextmanager
def rolled_back() -> Iterator[None]:
    """A transaction, or a savepoint in one, that comes to nothing."""
    with suppress(_RollBack), transaction.atomic():
        yield
        raise _RollBack


def deliver() -> Drained:
    """Run the loop as a worker does, also in a test that is one transaction."""
    return drain(inside_transaction=True)


def segment(name: str) -> Segment:
    return Segment.objects.get(subscription=name)


def parked(name: str) -> list[ParkedEvent]:
    """What a subscription has failed on, or waits behind that, in the order of the log."""
    return list(ParkedEvent.objects.filter(segment__subscription=name).order_by("position"))


def failed(name: str) -> ParkedEvent:
    """The one event that a subscription has failed on."""
    (row,) = (row for row in parked(name) if row.state != ParkedEvent.State.BEHIND)
    return row


def let_retry(name: str) -> None:
    """Let the wait after a failure be over."""
    hurry([name])


def release(claimed: claim.Claim) -> None:
    """Give a segment back as far as it has come."""
    claim.release([claimed], token=claimed.token)


def take_turn(claimed: claim.Claim, worker: Worker) -> Turn:
    """Handle what is next for a claimed segment, and give it back."""
    definition = registry.get(claimed.subscription)
    assert definition is not None
    worker.begin_turn()
    turn = work(worker, definition, claimed)
    if not turn.is_over:
        release(claimed)
    return turn


def let_lease_end(name: str) -> None:
    """Let the time be over that a worker may go without a sign of life."""
    ended = Segment.objects.filter(subscription=name, token__isnull=False)
    assert ended.update(claimed_until=Now() - timedelta(seconds=1)) == 1


def try_to_claim(name: str, worker: Worker | None = None) -> claim.Claim | None:
    """Claim a subscription up to the end of the log, as a worker does, if it is free."""
    until = StoredEvent.objects.latest("position").position
    wanted = look(until, only=[name])
    claims = claim.claim(wanted, token=(worker or Worker()).token, until=until) if wanted else []
    return claims[0] if claims else None


def claimed(name: str, worker: Worker | None = None) -> claim.Claim:
    """Claim a subscription that is free."""
    ensure(registry.all())
    taken = try_to_claim(name, worker)
    assert taken is not None
    return taken


def total(reference: str = "r") -> tuple[int, Decimal]:
    """What a projection has counted: events and their sum."""
    row = OwnerTotal.objects.filter(reference=reference).first()
    return (row.events, row.total) if row else NOTHING


def count_it(reference: str, amount: Decimal) -> None:
    """What the projections of the tests do: a read, then a write, so that a repetition shows."""
    row, _ = OwnerTotal.objects.get_or_create(reference=reference)
    row.events += 1
    row.total += amount
    row.save()


def in_own_connection(work: Callable[[], object]) -> Callable[[], None]:
    """Wrap what a thread does, so that its connections are closed at its end."""

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    return run


def until(reached: Callable[[], object], *, seconds: float = 20, what: str = "") -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.03)


class Children:
    """Starts processes that react, and sees to it that none outlives its test."""

    def __init__(self, env: Mapping[str, str], journal: Path) -> None:
        self.env = {**env, "DJANGO_SETTINGS_MODULE": "tests.settings_reactions", "REACTIONS_JOURNAL": str(journal)}
        self.journal = journal
        self._output = journal.with_suffix(".output")
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str, **env: object) -> subprocess.Popen[bytes]:
        with self._output.open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-W", "ignore", *arguments],
                cwd=ROOT,
                env={**self.env, **{name: str(value) for name, value in env.items()}},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._started.append(child)
        return child

    def program(self, name: str, **env: object) -> subprocess.Popen[bytes]:
        """Start one of the programs of this package."""
        return self.start("-m", "tests.reactions_sample.program", name, **env)

    def manage(self, command: str, **env: object) -> subprocess.Popen[bytes]:
        """Start a management command. The project has been checked by the tests themselves."""
        return self.start("manage.py", command, "--skip-checks", **env)

    def kill(self, child: subprocess.Popen[bytes]) -> None:
        """Kill a process and all that it started: its session is its own."""
        # Also if it has ended itself: what it started may be there still, and would go on in the database of others.
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()

    def kill_all(self) -> None:
        """Kill what still runs, and print what all have said, for the report of a test that failed."""
        for child in self._started:
            self.kill(child)
        if self._started:
            print(self._output.read_text())

    def lines(self) -> list[str]:
        """What subscribers and projections have written down."""
        return self.journal.read_text().splitlines() if self.journal.exists() else []

    def has_reacted(self, child: subprocess.Popen[bytes]) -> bool:
        """Whether a subscriber was given an event in this process, or in one that it has started."""
        return self.journal.with_suffix(f".{child.pid}").exists()

    def versions(self, number: int, opened: Wallet) -> list[int]:
        """The versions of a wallet that subscriber ``number`` was given, in that order."""
        mine = f"{number} {opened.pk} "
        return [int(line.removeprefix(mine)) for line in self.lines() if line.startswith(mine)]
