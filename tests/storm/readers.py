"""How not to read: ``python -m tests.storm.readers '{"kind": "naive", "dsn": "…"}'``.

A reader says that it is ready, reads until its input is closed and everything has been read, and then tells which
windows of positions it went through and how many events it saw in each.
"""

from __future__ import annotations

import json
import select
import sys
from typing import TYPE_CHECKING

import psycopg

from tests.storm.sql import HOLDERS, LOG, READ, SEQUENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BEYOND = 2**62
LAST_VALUES = 10


class Seen:
    """What a reader went through; it checks that the versions of each stream come in order."""

    def __init__(self, checkpoint: int) -> None:
        self.checkpoint = checkpoint
        self.windows: list[tuple[int, int, int]] = []
        self.disorder = 0
        self._versions: dict[str, int] = {}

    def add(self, rows: Iterable[tuple[int, str, int]], upto: int | None = None) -> None:
        count = 0
        position = self.checkpoint
        for position, stream, version in rows:  # noqa: B007  the last one is where the naive reader goes on
            self.disorder += version != self._versions.get(stream, 0) + 1
            self._versions[stream] = version
            count += 1
        self.move(position if upto is None else upto, count)

    def move(self, upto: int, count: int) -> None:
        if upto > self.checkpoint:
            self.windows.append((self.checkpoint, upto, count))
            self.checkpoint = upto


def follow(seen: Seen, step: Callable[[Seen], bool]) -> None:
    """Run ``step`` until the input is closed and it has nothing more to read."""
    print("ready", flush=True)
    done = False
    while step(seen) or not done:
        done = done or bool(select.select([sys.stdin], [], [], 0)[0])
    print(json.dumps({"windows": seen.windows, "disorder": seen.disorder}))


def main() -> None:
    given = json.loads(sys.argv[1])
    with psycopg.connect(given["dsn"], autocommit=True) as connection:
        newest = connection.execute(f"SELECT coalesce(max(position), 0) FROM {LOG}").fetchone()
        reader = {"naive": naive, "last_value": last_value}[given["kind"]]
        follow(Seen(newest[0] if newest else 0), reader(connection))


def naive(connection: psycopg.Connection) -> Callable[[Seen], bool]:
    """Go on after the last position that was seen."""

    def step(seen: Seen) -> bool:
        before = seen.checkpoint
        seen.add(connection.execute(READ, [seen.checkpoint, BEYOND]).fetchall())
        select.select([sys.stdin], [], [], 0.002)
        return seen.checkpoint > before

    return step


def last_value(connection: psycopg.Connection) -> Callable[[Seen], bool]:
    """Do as the library does, but take the candidate by ``SELECT last_value``.

    Left alone, that is wrong once in some ten thousand reads. Two things make it frequent enough for a test: a
    condition that is always true but gives the server some work between finding the sequence's row and reading its
    value, and that the newest of several reads is taken.
    """
    once = f"SELECT last_value FROM {SEQUENCE} WHERE repeat(random()::text, 2000) IS NOT NULL"
    candidate = f"SELECT max(last_value) FROM ({' UNION ALL '.join([once] * LAST_VALUES)}) AS reads"
    count = f"SELECT count(*) FROM {LOG} WHERE position > %s AND position <= %s"

    def step(seen: Seen) -> bool:
        upto = connection.execute(candidate).fetchall()[0][0]
        waiting = {name for (name,) in connection.execute(HOLDERS)}
        while waiting:
            waiting &= {name for (name,) in connection.execute(HOLDERS)}
        before = seen.checkpoint
        seen.move(upto, connection.execute(count, [before, upto]).fetchall()[0][0])
        return seen.checkpoint > before

    return step


if __name__ == "__main__":
    main()
