"""One rebuild of a model or projection at a time. What excludes others ends with its process, however that ends."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from django.core.files import locks

from eventsourcing_app.exceptions import RebuildRunning
from eventsourcing_app.log.connection import log_connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

_LOOKS, _PAUSE = 25, 0.2
"""How often it is looked whether the lock is free, and the seconds in between."""


@contextmanager
def exclusive(label: str) -> Iterator[None]:
    """Keep other rebuilds of the same out for the block. Raises ``RebuildRunning`` if one is under way."""
    connection = log_connection()
    exclude = _by_advisory_lock if connection.vendor == "postgresql" else _by_file
    with exclude(connection, label):
        yield


def _refused(label: str) -> RebuildRunning:
    return RebuildRunning(
        f"A rebuild of {label} is under way in another process. Wait for it, or end it; the next one goes on where it "
        "was."
    )


@contextmanager
def _by_advisory_lock(connection: BaseDatabaseWrapper, label: str) -> Iterator[None]:
    """Take a lock of the session: the server drops it as soon as the connection is gone."""
    # Inside a transaction (a test) it is one of the transaction, which would end with it if it failed.
    kind = "pg_try_advisory_xact_lock" if connection.in_atomic_block else "pg_try_advisory_lock"
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        name = f"eventsourcing_app rebuild {cursor.fetchone()[0]} {label}"
        number = int.from_bytes(sha256(name.encode()).digest()[:8], signed=True)
        # The server takes a moment to notice that a process was killed, which had the lock.
        for last in (*[False] * (0 if connection.in_atomic_block else _LOOKS), True):
            cursor.execute(f"SELECT {kind}(%s)", [number])
            if cursor.fetchone() == (True,):
                break
            if last:
                raise _refused(label)
            time.sleep(_PAUSE)
    try:
        yield
    finally:
        if not connection.in_atomic_block and connection.is_usable():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [number])


@contextmanager
def _by_file(connection: BaseDatabaseWrapper, label: str) -> Iterator[None]:
    """Lock a file beside the database: the operating system drops the lock as soon as the process is gone."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT file FROM pragma_database_list WHERE name = 'main'")
        (database,) = cursor.fetchone()
    if not database:  # in memory: nobody else sees it
        yield
        return
    path = Path(f"{database}-rebuild-{quote(label, safe='')}")
    lock = _locked(path)
    if lock is None:
        raise _refused(label)
    try:
        yield
    finally:
        with suppress(OSError):  # where an open file cannot be removed, it stays, and does no harm
            path.unlink()
        lock.close()


def _locked(path: Path) -> IO[bytes] | None:
    while True:
        file = path.open("ab")
        if not locks.lock(file, locks.LOCK_EX | locks.LOCK_NB):
            file.close()
            return None
        # Whoever had the lock may have removed the file between our opening and locking it; then it is nobody's.
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()
