"""A process of its own that lets eight others transfer money in a ring while it observes, until enough was seen.

Run by a test. Prints one JSON object: what was observed, and how each of the eight ended.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import django

django.setup()

from django.db import connection  # noqa: E402

from demo_bank.models import Account  # noqa: E402
from demo_bank.transfers import transfer  # noqa: E402
from eventsourcing_app import CommandRejected  # noqa: E402

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.sharedctypes import Synchronized
    from multiprocessing.synchronize import Event

PROCESSES = 8


class Shared(NamedTuple):
    """What the processes share."""

    transfers: Synchronized[int]
    enough: Event
    outcomes: Queue[dict[str, Any]]


def pass_on(index: int, accounts: list[UUID], shared: Shared) -> None:
    """Transfer to the next one of the ring and to the one before, by turns, so that neighbours lock the same pairs."""
    chance, parent = random.Random(index), os.getppid()
    done = refused = 0
    error = ""
    try:
        while not shared.enough.is_set() and os.getppid() == parent:
            here = chance.randrange(len(accounts)) if chance.random() < 0.5 else index % len(accounts)
            there = (here + chance.choice((1, -1))) % len(accounts)
            try:
                transfer(accounts[here], accounts[there], Decimal(chance.randint(1, 4000)).scaleb(-2))
                done += 1
                with shared.transfers:
                    shared.transfers.value += 1
            except CommandRejected:
                refused += 1
    except BaseException as caught:  # noqa: BLE001 - whatever escapes is what the test asks for
        error = f"{type(caught).__name__}: {caught}"
    shared.outcomes.put({"done": done, "refused": refused, "error": error})


def observe(accounts: list[UUID]) -> tuple[Decimal, Decimal]:
    """Return the sum of all balances and the smallest one, of one moment: it is one statement."""
    balances = list(Account.objects.filter(pk__in=accounts).values_list("balance", flat=True))
    return sum(balances, Decimal(0)), min(balances)


def main(transfers: int, observations: int, keys: list[str]) -> None:
    """Run the ring over these accounts until so many transfers are done and so many states were observed."""
    accounts = [UUID(key) for key in keys]
    connection.close()  # nothing of this process may be shared with those forked from it
    fork = multiprocessing.get_context("fork")
    shared = Shared(fork.Value("q", 0), fork.Event(), fork.Queue())
    ring = [fork.Process(target=pass_on, args=(index, accounts, shared)) for index in range(PROCESSES)]
    for process in ring:
        process.start()
    states: dict[str, int] = {}
    least = Decimal(0)
    observed = 0
    while observed < observations or shared.transfers.value < transfers:
        total, smallest = observe(accounts)
        states[str(total)] = states.get(str(total), 0) + 1
        least = min(least, smallest)
        observed += 1
        if not all(process.is_alive() for process in ring):
            break  # what has ended it is among the outcomes
    shared.enough.set()
    ended = [shared.outcomes.get(timeout=30) for _ in ring]
    for process in ring:
        process.join()
    print(json.dumps({"states": states, "least": str(least), "observations": observed, "ended": ended}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
