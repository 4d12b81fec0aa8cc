"""No reader that stops at the settled position skips an event or sees a stream out of order, whatever writers do.

``STORM_SECONDS`` sets how long each load lasts.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from django.db import connection

from tests.storm.readers import LAST_VALUES
from tests.storm.run import dsn, program, storm
from tests.storm.sessions import forget_prepared
from tests.storm.sql import APPEND

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.needs_postgres, pytest.mark.django_db(transaction=True)]

SECONDS = float(os.environ.get("STORM_SECONDS", "4"))


@pytest.fixture(autouse=True)
def no_prepared_transaction_stays(transactional_db: None) -> Iterator[None]:
    yield
    forget_prepared()


def prepared_transactions_are_allowed() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SHOW max_prepared_transactions")
        return bool(cursor.fetchone() != ("0",))


@pytest.mark.timeout(120 + 4 * SECONDS)
def test_the_settled_reader_skips_nothing_where_the_naive_reader_does(child_env: dict[str, str]) -> None:
    prepare = prepared_transactions_are_allowed()
    outcome = storm(
        writers=[
            program("writers", kind="mixed", dsn=dsn(), seed=seed, seconds=SECONDS, prepare=prepare)
            for seed in range(1, 7)
        ],
        readers=[
            program("settled_reader", pause=0.001),
            program("settled_reader", pause=0.003),
            program("readers", kind="naive", dsn=dsn()),
        ],
        env=child_env,
    )
    print(outcome)
    *settled, naive = outcome.readings
    for reading in settled:
        assert (reading.skipped, reading.disorder) == (0, 0)
        assert reading.events == outcome.stored == outcome.writers["events"]
    assert naive.skipped > 0
    shapes = ["early ids", "savepoints", "rollback", "commit"]
    shapes += ["rollback prepared", "commit prepared"] if prepare else []
    assert all(outcome.writers[shape] for shape in shapes)


@pytest.mark.timeout(120 + 10 * SECONDS)
def test_the_settled_reader_skips_nothing_where_a_reader_of_last_value_does(child_env: dict[str, str]) -> None:
    reads = 0
    with connection.cursor() as cursor:  # the last_value of a sequence never used is 1, which would count as a skip too
        cursor.execute(APPEND, {"stream": "first", "version": 0, "rows": 1})
    for round_ in range(4):
        outcome = storm(
            writers=[
                program("writers", kind="dense", dsn=dsn(), seed=10 * round_ + writer, seconds=SECONDS)
                for writer in (1, 2)
            ],
            readers=[program("settled_reader", pause=0), program("readers", kind="last_value", dsn=dsn())],
            env=child_env,
        )
        print(outcome)
        settled, last_value = outcome.readings
        assert (settled.skipped, settled.disorder, settled.events) == (0, 0, outcome.stored)
        reads += last_value.reads * LAST_VALUES
        if last_value.skipped:
            return
    pytest.skip(f"SELECT last_value read nothing torn in {reads} reads on this machine")
