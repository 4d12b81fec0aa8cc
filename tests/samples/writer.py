"""Writers at work: ``python -m tests.samples.writer '{"wallets": ["…"], "writers": 8, "commands": 20}'``.

Each of them is a process, which adds money in every way that applications do. Printed is, a writer a line, what it was
told: for each wallet the sum and the number of what was acknowledged, and how often a race was lost.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import sys
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import django
from django.db import connections

if TYPE_CHECKING:
    from multiprocessing import Queue
    from multiprocessing.synchronize import Barrier

    from tests.samples.models import Wallet as WalletModel


def main() -> None:
    given = json.loads(sys.argv[1])
    django.setup()
    _wallet()
    fork = multiprocessing.get_context("fork")  # no process has a connection yet
    start, outcomes = fork.Barrier(given["writers"]), fork.Queue()
    writers = [fork.Process(target=_write, args=(given, seed, start, outcomes)) for seed in range(given["writers"])]
    for writer in writers:
        writer.start()
    for _ in writers:
        print(outcomes.get(timeout=60))
    for writer in writers:
        writer.join()
    sys.exit(any(writer.exitcode for writer in writers))


def _write(given: dict[str, Any], seed: int, start: Barrier, outcomes: Queue[str]) -> None:
    chance = random.Random(seed)
    told: dict[str, Counter[str]] = {key: Counter() for key in given["wallets"]}
    start.wait(60)
    for number in range(given["commands"]):
        key, amount = chance.choice(given["wallets"]), chance.randint(1, 100)
        way = (_perform, _save, _locked)[number % 3]
        told[key]["lost"] += way(key, Decimal(amount))
        told[key]["sum"] += amount
        told[key]["events"] += 1
    connections.close_all()
    outcomes.put(json.dumps(told))


def _wallet() -> type[WalletModel]:
    from tests.samples.models import Wallet  # only after Django is set up

    return Wallet


def _perform(key: str, amount: Decimal) -> int:
    _wallet().objects.perform(key, _wallet().add, amount)
    return 0


def _locked(key: str, amount: Decimal) -> int:
    with _wallet().objects.locked([key]) as (wallet,):
        wallet.add(amount)
    return 0


def _save(key: str, amount: Decimal) -> int:
    """Without a lock: whoever loses the race loads again."""
    from eventsourcing_app.exceptions import ConcurrencyError

    for lost in range(10_000):
        wallet = _wallet().objects.get(pk=key)
        wallet.add(amount)
        try:
            wallet.save()
        except ConcurrencyError:
            continue
        return lost
    raise TimeoutError(key)


if __name__ == "__main__":
    main()
