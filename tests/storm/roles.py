"""What the processes of a storm do until they are told to end, or killed: pay, spread, observe, consume, rebuild.

What was killed in the middle of a payment is paid again by who comes after it, with the same key, as a client would.
"""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import DatabaseError, InterfaceError, connections

from eventsourcing_app import CommandRejected
from eventsourcing_app.exceptions import KeyInFlight, RebuildFailed, RebuildRunning
from eventsourcing_app.projections.rebuilding import Wishes, rebuild
from eventsourcing_app.subscriptions import child
from eventsourcing_app.subscriptions.drain import drain
from tests.storm import bank
from tests.storm.history import History, read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from uuid import UUID

FATAL = 0.004
"""How many of the doses kill."""
AWAY = (DatabaseError, InterfaceError, KeyInFlight)
"""What a client is told when the database went away, was too busy, or is still at it: the outcome is unknown."""


class Post(NamedTuple):
    """Where a process stands."""

    name: str
    incarnation: int
    folder: Path
    accounts: Sequence[UUID]
    chance: random.Random
    token: UUID
    at: Any
    since: Any

    @property
    def history(self) -> Path:
        """Its file; that of those who stood here before, too."""
        return self.folder / f"{self.name}.history"


class Told:
    """Whether the process was told to end, or its parent is gone."""

    def __init__(self) -> None:
        self._told, self._parent = False, os.getppid()
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_signal: object) -> None:
        self._told = True

    def __call__(self) -> bool:
        return self._told or os.getppid() != self._parent


def pay(post: Post) -> None:
    """Small transactions of three events, each with a key; now and then doses, some of them fatal."""
    told, work = Told(), _Work(post)
    work.repeat_last()
    while not told():
        if post.chance.random() < 0.1:
            fatal = [post.chance.random() < FATAL for _ in range(post.chance.randint(1, 4))]
            # A new key for every few: all that comes after a fatal one waits behind it.
            work.do(kind="dose", key=f"{post.name} {post.incarnation}", fatal=fatal, events=len(fatal))
        else:
            source, target = post.chance.sample(range(len(post.accounts)), 2)
            # Some are refused: there is not that much in any account.
            amount = str(Decimal(post.chance.choice((1, 50, 99, 100, 9_999_999_00))).scaleb(-2))
            work.do(kind="pay", source=source, target=target, amount=amount, events=3)
        time.sleep(post.chance.random() / 25)


def spread(post: Post) -> None:
    """Large transactions: many accounts that pay each other."""
    told, work = Told(), _Work(post)
    while not told():
        among = post.chance.sample(range(len(post.accounts)), post.chance.randint(2, 9))
        rounds = post.chance.choice((1, 4, 8, 12))
        work.do(
            kind="spread",
            among=among,
            rounds=rounds,
            amount=str(Decimal(post.chance.randint(1, 50)).scaleb(-2)),
            events=bank.events_of_spread(post.accounts[: len(among)], rounds),
        )
        time.sleep(post.chance.random() / 8)


class _Work:
    """Does operations, and writes down each before it begins and after it has ended."""

    def __init__(self, post: Post) -> None:
        self._post, self._history, self._number = post, History(post.history), 0

    def do(self, **operation: Any) -> None:
        """Do a new one. If its outcome is unknown and it has a key, do it again until it is known."""
        self._number += 1
        self._attempt(f"{self._post.name}.{self._post.incarnation}.{self._number}", operation)

    def repeat_last(self) -> None:
        """Do again what whoever stood here before was killed in, or gave up."""
        last: dict[str, Any] | None = None
        for line in read(self._post.history):
            if line["phase"] == "invoke":
                last = line
            elif line["outcome"] != "unknown":
                last = None
        if last is not None and last["kind"] == "pay":
            ident, _ = last.pop("id"), last.pop("phase")
            self._attempt(ident, last)

    def _attempt(self, ident: str, operation: dict[str, Any]) -> None:
        for _ in range(20):
            self._history.add(phase="invoke", id=ident, **operation)
            outcome, position = self._outcome(ident, operation)
            self._history.add(phase="told", id=ident, outcome=outcome, position=position)
            if outcome != "unknown" or operation["kind"] != "pay":
                return

    def _outcome(self, ident: str, operation: dict[str, Any]) -> tuple[str, int | None]:
        try:
            return "ok", _DO[operation["kind"]](self._post, ident, operation)
        except CommandRejected:
            return "refused", None
        except AWAY:
            connections.close_all()
            time.sleep(self._post.chance.random() / 10)
            return "unknown", None


def _do_pay(post: Post, ident: str, operation: dict[str, Any]) -> int | None:
    source, target = post.accounts[operation["source"]], post.accounts[operation["target"]]
    answer = bank.pay.once(ident).receipt(source, target, Decimal(operation["amount"]), reference=ident)
    return answer.position


def _do_spread(post: Post, ident: str, operation: dict[str, Any]) -> None:
    among = [post.accounts[each] for each in operation["among"]]
    bank.spread(among, Decimal(operation["amount"]), operation["rounds"], reference=ident)


def _do_dose(_post: Post, ident: str, operation: dict[str, Any]) -> int:
    return bank.dose(operation["key"], operation["fatal"], reference=ident)


_DO: dict[str, Callable[[Post, str, dict[str, Any]], int | None]] = {
    "pay": _do_pay,
    "spread": _do_spread,
    "dose": _do_dose,
}


def observe(post: Post) -> None:
    """Look at all the money again and again, and write down what was seen, each time that it is something else."""
    told, history, seen = Told(), History(post.history), None
    while not told():
        with suppress(*AWAY):
            now = bank.observe(post.accounts)
            if now != seen:
                history.add(phase="observed", accounts=now.accounts, total=now.total)
                seen = now
            time.sleep(0.01)
            continue
        connections.close_all()
        time.sleep(0.1)


def consume(post: Post) -> None:
    """Be a worker of ``run_subscriptions``."""
    child.main(post.token, post.at, post.since, os.getppid())


def drain_again(post: Post) -> None:
    """Be a queue's worker: run the loop to its end, again and again, a new worker each time."""
    told = Told()
    while not told():
        try:
            drain(stop=told, seconds=post.chance.random() * 2)
        except AWAY:
            connections.close_all()
        time.sleep(0.02)


def rebuild_again(post: Post) -> None:
    """Rebuild a projection while it serves, and put the new one in its place; and again."""
    # Who goes on where another one was killed goes one event at a time; some begin anew, with whole batches.
    told, anew = Told(), post.chance.random() < 0.4
    while not told():
        try:
            rebuild("storm.rebuilt", Wishes(stop=told, restart=anew, compare=post.chance.random() < 0.5))
            anew = True
        except RebuildFailed:
            anew = True  # whoever was here before was killed at an event, which then has no attempt left
        except (*AWAY, RebuildRunning):
            anew = False
            connections.close_all()
        time.sleep(0.1)


ROLES: dict[str, Callable[[Post], None]] = {
    "pay": pay,
    "spread": spread,
    "observe": observe,
    "consume": consume,
    "drain": drain_again,
    "rebuild": rebuild_again,
}
