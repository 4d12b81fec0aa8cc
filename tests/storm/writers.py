"""One writer process: ``python -m tests.storm.writers '{"kind": "mixed", "dsn": "…", "seed": 1, "seconds": 5}'``.

``mixed`` does what applications do to an order: it waits before and after it appends, takes its transaction id early,
rolls back, rolls back savepoints, appends several events at once, prepares. ``dense`` draws positions as fast as it
can.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter

import psycopg

from tests.storm.sql import APPEND, LOG

STREAMS = 12


def main() -> None:
    given = json.loads(sys.argv[1])
    run = {"mixed": mixed, "dense": dense}[given["kind"]]
    with psycopg.connect(given["dsn"], autocommit=True) as connection:
        counts = run(connection, given)
    print(json.dumps(counts))


def mixed(connection: psycopg.Connection, given: dict[str, float]) -> Counter[str]:
    """Transactions of every shape on streams that the writers share."""
    chance, counts, end = random.Random(given["seed"]), Counter[str](), time.monotonic() + given["seconds"]
    while time.monotonic() < end:
        connection.execute("BEGIN")
        try:
            events = _append(connection, chance, counts)
        except psycopg.errors.UniqueViolation:
            connection.execute("ROLLBACK")
            counts["conflicts"] += 1
            continue
        time.sleep(chance.expovariate(200))
        how = _end(connection, chance, f"storm-{given['seed']}" if given["prepare"] else None)
        counts[how] += 1
        if "commit" in how:
            counts["events"] += events
    return counts


def _append(connection: psycopg.Connection, chance: random.Random, counts: Counter[str]) -> int:
    if chance.random() < 0.4:
        connection.execute("SELECT txid_current()")
        time.sleep(chance.expovariate(500))
        counts["early ids"] += 1
    if chance.random() < 0.2:
        connection.execute("SAVEPOINT attempt")
        rows = chance.randint(1, 3)
        connection.execute(APPEND, {"stream": f"undone-{chance.random()}", "version": 0, "rows": rows})
        connection.execute("ROLLBACK TO SAVEPOINT attempt")
        counts["savepoints"] += 1
    stream, rows = f"stream-{chance.randrange(STREAMS)}", chance.choice((1, 1, 1, 2, 5))
    version = connection.execute(
        f"SELECT coalesce(max(version), 0) FROM {LOG} WHERE stream_type = 'storm' AND stream_key = %s", [stream]
    ).fetchone()
    connection.execute(APPEND, {"stream": stream, "version": version and version[0], "rows": rows})
    return rows


def _end(connection: psycopg.Connection, chance: random.Random, gid: str | None) -> str:
    last = "ROLLBACK" if chance.random() < 0.15 else "COMMIT"
    if gid is None or chance.random() < 0.8:
        connection.execute(last)
        return last.lower()
    connection.execute(f"PREPARE TRANSACTION '{gid}'")
    time.sleep(chance.expovariate(200))
    connection.execute(f"{last} PREPARED '{gid}'")
    return f"{last.lower()} prepared"


def dense(connection: psycopg.Connection, given: dict[str, float]) -> Counter[str]:
    """Short transactions of many events, each on a stream of its own."""
    chance, counts, end = random.Random(given["seed"]), Counter[str](), time.monotonic() + given["seconds"]
    connection.execute("SET synchronous_commit = off")
    while time.monotonic() < end:
        rows, stream = chance.randint(1, 40), f"{given['seed']}-{counts['commit']}"
        connection.execute(APPEND.replace("RETURNING position", ""), {"stream": stream, "version": 0, "rows": rows})
        counts["commit"] += 1
        counts["events"] += rows
    return counts


if __name__ == "__main__":
    main()
