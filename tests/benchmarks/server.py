"""The PostgreSQL server that is measured: the one that the environment names, else one that is started for the run.

Every side gets databases of its own on it, under the same settings, and they are dropped afterwards.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dj_database_url
import psycopg
from psycopg.sql import SQL, Identifier

from tests import postgres
from tests.benchmarks.job import Place

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

SHOWN = ("fsync", "synchronous_commit", "full_page_writes", "wal_level", "shared_buffers")


class ServerUnfit(Exception):
    """There is no server, or it would measure something else."""


class Server:
    """Makes databases, and drops them at its end. Also keeps the files of SQLite."""

    def __init__(self, *, must_be_durable: bool) -> None:
        token = secrets.token_hex(3)
        self._prefix = f"benchmark_{token}"
        self._made: list[str] = []
        self._directory = _directory(token)
        self._admin = psycopg.connect(**_parameters(self._directory), autocommit=True)
        print(f"databases: {self._prefix}_*", file=sys.stderr, flush=True)
        self.settings = {name: self._show(name) for name in SHOWN}
        self.version = self._show("server_version")
        if must_be_durable and self.settings["fsync"] != "on":
            raise ServerUnfit(
                "The server runs with fsync off: what it commits may be lost, so figures would mean nothing. Switch "
                "fsync on, or let the benchmark start a server of its own (no DATABASE_URL, no PG* variables)."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self._made:
            self._drop(name)
        self._admin.close()

    def create(self, label: str, *, template: Place | None = None) -> Place:
        """Make a database, as a copy of ``template`` if given."""
        name = f"{self._prefix}_{label}"
        copied = SQL(" TEMPLATE {}").format(Identifier(template.name)) if template else SQL("")
        self._made.append(name)
        self._drop(name)  # half made by an attempt that failed
        self._admin.execute(SQL("CREATE DATABASE {}").format(Identifier(name)) + copied)
        where = self._admin.info
        return Place(
            engine="postgresql",
            name=name,
            host=where.host,
            port=str(where.port),
            user=where.user,
            password=where.password,
        )

    def create_file(self, label: str, *, template: Place | None = None) -> Place:
        """Make an SQLite database, as a copy of ``template`` if given."""
        path = self._directory / f"{label}.sqlite3"
        if template:
            shutil.copyfile(template.name, path)
        return Place(engine="sqlite3", name=str(path))

    def settle(self, place: Place) -> None:
        """Let the server do now what it would else do while it is measured."""
        if place.engine == "postgresql":
            with psycopg.connect(**place.libpq(), autocommit=True) as connection:  # type: ignore[arg-type]  # text only
                connection.execute("VACUUM (ANALYZE)")
                connection.execute("CHECKPOINT")

    def _drop(self, name: str) -> None:
        self._admin.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))

    def _show(self, name: str) -> str:
        found = self._admin.execute(SQL("SHOW {}").format(Identifier(name))).fetchone()
        assert found is not None
        return str(found[0])


def _directory(token: str) -> Path:
    made = Path(tempfile.gettempdir()).resolve() / f"es-bench-{token}"  # short, because the path of a socket must be
    made.mkdir(mode=0o755)
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def _parameters(directory: Path) -> dict[str, Any]:
    if url := os.environ.get("DATABASE_URL"):
        given: dict[str, Any] = dict(dj_database_url.parse(url))
        if given["ENGINE"] != "django.db.backends.postgresql":
            raise ServerUnfit("The benchmark needs a DATABASE_URL that starts with postgres://, or none.")
        names = {"dbname": "NAME", "host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD"}
        return {name: str(given[key]) for name, key in names.items() if given.get(key)}
    if not postgres.is_given():
        postgres.start_embedded(directory / "pg", durable=True)
        if reason := os.environ.get(postgres.MISSING):
            raise ServerUnfit(reason)
    return {} if "PGDATABASE" in os.environ else {"dbname": "postgres"}
