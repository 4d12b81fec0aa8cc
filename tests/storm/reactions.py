"""The storm's subscriptions, one of each kind, and what each of them should get: said here once more, for the checker.

They are declared by ``declare``, so that whoever imports this module does not subscribe to anything.
"""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING, NamedTuple

from demo_bank.events import TransferReceived, TransferSent
from eventsourcing_app import Projection, RecordedEvent, handles, publish, subscriber
from eventsourcing_app.exceptions import RetryLater
from tests.storm.bank import Dosed, Echoed, Noted
from tests.storm.checker import fold
from tests.storm.history import History
from tests.storm.models import Entry, RebuiltTally, Tally

if TYPE_CHECKING:
    from pathlib import Path

    from tests.storm.models import Folded

POISON_ATTEMPTS = 3
FLAKY_ATTEMPTS = 50
MOVES = {"bank.money_deposited", "bank.transfer_sent", "bank.transfer_received"}
EVERYTHING = {"bank.account_opened", *MOVES, "storm.noted", "storm.echoed", "storm.dosed"}


class Promise(NamedTuple):
    """What a subscription should get, and how the checker learns what it did."""

    types: frozenset[str]
    once: bool = False
    folds: type[Folded] | None = None
    entries: bool = False
    lines: bool = False
    max_attempts: int = 8
    publishes: str = ""


PROMISES = {
    "storm.sent": Promise(frozenset({"bank.transfer_sent"}), once=True, folds=Tally),
    "storm.journal": Promise(frozenset(EVERYTHING), once=True, entries=True),
    "storm.outside": Promise(frozenset({"bank.account_opened", *MOVES}), lines=True),
    "storm.lists": Promise(
        frozenset({"storm.noted", "storm.echoed", "storm.dosed", "bank.transfer_received"}), lines=True
    ),
    "storm.echo": Promise(frozenset({"storm.noted"}), lines=True, publishes="storm.echoed"),
    "storm.flaky": Promise(frozenset({"storm.noted", "storm.echoed"}), lines=True, max_attempts=FLAKY_ATTEMPTS),
    "storm.flaky_fold": Promise(frozenset({"storm.noted"}), once=True, folds=Tally, max_attempts=FLAKY_ATTEMPTS),
    "storm.rebuilt": Promise(frozenset({"storm.noted"}), once=True, folds=RebuiltTally),
    "storm.poison": Promise(frozenset({"storm.dosed"}), lines=True, max_attempts=POISON_ATTEMPTS),
    "storm.poison_fold": Promise(frozenset({"storm.dosed"}), once=True, folds=Tally, max_attempts=POISON_ATTEMPTS),
}


class Traces:
    """The files in which subscribers leave what they did. One process writes through one of these."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._histories: dict[str, History] = {}

    def did(self, name: str, *positions: int) -> None:
        """An effect in the world: it is there as soon as this returns, and cannot be undone."""
        self._history(f"{name}.lines").add_all([{"position": each, "process": os.getpid()} for each in positions])

    def die(self, name: str, position: int) -> None:
        """End this process as the kernel's out-of-memory killer would."""
        self._history(f"{name}.deaths").add(position=position, process=os.getpid())
        os.kill(os.getpid(), signal.SIGKILL)

    def _history(self, name: str) -> History:
        if name not in self._histories:
            self._histories[name] = History(self.folder / name)
        return self._histories[name]


def tally(name: str, recorded: RecordedEvent, amount: int, *, table: type[Folded] = Tally) -> None:
    """What projections do: read, then write, so that a repetition shows."""
    row, _ = table._default_manager.get_or_create(
        subscription=name, stream=f"{recorded.stream_type} {recorded.stream_key}", defaults={"folded": ""}
    )
    row.folded = fold(row.folded, str(recorded.event_id), amount)
    row.save(update_fields=["folded"])


def declare(folder: Path, *, failing: float) -> None:
    """Declare all of them; ``failing`` is how often the flaky ones fail."""
    traces = Traces(folder)
    _projections()
    _outside(traces)
    _flaky(traces, failing)
    _poisoned(traces)


def _projections() -> None:
    @subscriber("storm.sent", TransferSent, segments=4, batch=200, transactional=True)
    def sent(batch: list[tuple[TransferSent, RecordedEvent]]) -> None:
        streams = {f"{recorded.stream_type} {recorded.stream_key}" for _, recorded in batch}
        rows = {row.stream: row for row in Tally.objects.filter(subscription="storm.sent", stream__in=streams)}
        new = [Tally(subscription="storm.sent", stream=stream) for stream in sorted(streams - rows.keys())]
        rows.update({row.stream: row for row in Tally.objects.bulk_create(new)})
        for event, recorded in batch:
            row = rows[f"{recorded.stream_type} {recorded.stream_key}"]
            row.folded = fold(row.folded, str(recorded.event_id), -int(event.amount * 100))
        Tally.objects.bulk_update(rows.values(), ["folded"])

    class Rebuilt(Projection):
        name = "storm.rebuilt"
        models = (RebuiltTally,)
        segments = 2

        @handles(Noted)
        def noted(self, _event: Noted, recorded: RecordedEvent) -> None:
            tally(self.name, recorded, 0, table=RebuiltTally)

    @subscriber("storm.journal", "bank.#", "storm.#", segments=2, batch=300, transactional=True)
    def journal(batch: list[tuple[object, RecordedEvent]]) -> None:
        Entry.objects.bulk_create(
            Entry(subscription="storm.journal", position=recorded.position) for _, recorded in batch
        )


def _outside(traces: Traces) -> None:
    @subscriber("storm.outside", "bank.#", segments=3)
    def outside(_event: object, recorded: RecordedEvent) -> None:
        traces.did("storm.outside", recorded.position)

    @subscriber("storm.lists", "storm.*", TransferReceived, batch=100)
    def lists(batch: list[tuple[object, RecordedEvent]]) -> None:
        traces.did("storm.lists", *(recorded.position for _, recorded in batch))

    @subscriber("storm.echo", Noted)
    def echo(_event: Noted, recorded: RecordedEvent) -> None:
        publish(Echoed(account=recorded.stream_key), key=recorded.stream_key)
        traces.did("storm.echo", recorded.position)


def _flaky(traces: Traces, failing: float) -> None:
    def fail_at_random() -> None:
        if random.random() < failing:
            if random.random() < 0.3:
                raise RetryLater(after=random.random() / 5)
            raise RuntimeError("the world does not answer")

    @subscriber("storm.flaky", Noted, Echoed, segments=2, max_attempts=FLAKY_ATTEMPTS)
    def flaky(_event: Noted | Echoed, recorded: RecordedEvent) -> None:
        fail_at_random()
        traces.did("storm.flaky", recorded.position)

    class FlakyFold(Projection):
        name = "storm.flaky_fold"
        segments = 2
        max_attempts = FLAKY_ATTEMPTS

        @handles(Noted)
        def noted(self, _event: Noted, recorded: RecordedEvent) -> None:
            tally(self.name, recorded, 0)
            fail_at_random()


def _poisoned(traces: Traces) -> None:
    @subscriber("storm.poison", Dosed, max_attempts=POISON_ATTEMPTS)
    def poison(event: Dosed, recorded: RecordedEvent) -> None:
        if event.fatal:
            traces.die("storm.poison", recorded.position)
        traces.did("storm.poison", recorded.position)

    class PoisonFold(Projection):
        name = "storm.poison_fold"
        max_attempts = POISON_ATTEMPTS

        @handles(Dosed)
        def dosed(self, event: Dosed, recorded: RecordedEvent) -> None:
            tally(self.name, recorded, 0)
            if event.fatal:
                traces.die(self.name, recorded.position)
