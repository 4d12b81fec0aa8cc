"""The least that the same work can cost: psycopg on the package's own tables, triggers and indexes included.

Statements are prepared by the server. What the package promises besides is left out: no check of what is stored, no
comparison with what was loaded but its version, a hash over the data only.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg

from eventsourcing_app.identifiers import uuid7
from tests.benchmarks.work import (
    AMOUNT,
    BULK_AGGREGATES,
    BULK_EVENTS,
    METADATA,
    REFERENCE,
    Sample,
    repeated,
    turns,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.job import Job

COLUMNS = (
    "event_id, stream_type, stream_key, version, type, schema_version, data, metadata, actor, correlation_id, "
    "causation_id, recorded_at, hash"
)
_SELECT = "SELECT id, version, changed_at, ended, owner, balance FROM bank_account WHERE id = %s"
_WRITE = f"""
WITH state AS (
    UPDATE bank_account SET version = %s, changed_at = %s, ended = %s, owner = %s, balance = %s
    WHERE id = %s AND version = %s RETURNING 1
)
INSERT INTO eventsourcing_app_storedevent ({COLUMNS})
SELECT %s::uuid, %s, %s, %s::bigint, %s, %s::smallint, %s::json, %s::json, %s, %s, %s::uuid, %s::timestamptz, %s::bytea
WHERE EXISTS (SELECT FROM state) RETURNING position
"""
_COPY = f"COPY eventsourcing_app_storedevent ({COLUMNS}) FROM STDIN"
_encode = msgspec.json.Encoder(order="sorted").encode
_METADATA = _encode(METADATA).decode()


def stored(job: Job) -> int:
    with _connect(job) as connection:
        found = connection.execute("SELECT count(*) FROM eventsourcing_app_storedevent").fetchone()
    assert found is not None
    count: int = found[0]
    return count


def command(job: Job) -> Sample:
    """One SELECT of the row, then one statement for row and event."""
    connection = _connect(job)
    keys = _keys(connection, job)

    def act() -> None:
        read = connection.execute(_SELECT, [next(keys)], prepare=True).fetchone()
        assert read is not None
        key, version, _, ended, owner, balance = read
        event = _event(str(key), version + 1)
        row = (version + 1, event[11], ended, owner, balance + AMOUNT, key, version)
        written = connection.execute(_WRITE, [*row, *event], prepare=True).fetchone()
        assert written is not None

    return repeated(act, job)


def copy(job: Job) -> Sample:
    """COPY of the events of one bulk, without their rows."""
    connection = _connect(job)
    keys = _keys(connection, job)
    streams = {str(next(keys)): 1 for _ in range(min(BULK_AGGREGATES, job.scale.accounts))}

    def act() -> None:
        with connection.transaction(), connection.cursor() as cursor, cursor.copy(_COPY) as copying:
            for _ in range(BULK_EVENTS // len(streams)):
                for key in streams:
                    streams[key] += 1
                    copying.write_row(_event(key, streams[key]))

    return repeated(act, job, units=BULK_EVENTS // len(streams) * len(streams))


def _event(key: str, version: int) -> tuple[Any, ...]:
    data = _encode({"amount": str(AMOUNT), "reference": REFERENCE})
    return (
        *(uuid7(), "bank.account", key, version, "bank.money_deposited", 1, data.decode(), _METADATA),
        *("user:7", METADATA["request_id"], None, datetime.now(UTC), sha256(data).digest()),
    )


def _connect(job: Job) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(**job.place.libpq(), autocommit=True)  # type: ignore[arg-type]  # text only


def _keys(connection: psycopg.Connection[tuple[Any, ...]], job: Job) -> Iterator[Any]:
    return turns([key for (key,) in connection.execute("SELECT id FROM bank_account ORDER BY id")], job)
