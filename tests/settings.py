"""The demo's settings with a database for tests; ``TEST_DATABASE`` chooses it: ``sqlite`` (default) or ``postgres``.

A run makes one directory for its files and at most one database server; workers of pytest-xdist and child processes
find both in the environment. A child process that shall see the data of the running test gets the name of its
database in ``TEST_DATABASE_NAME`` (fixture ``child_env``).
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from demo_bank.settings import *  # noqa: F403
from demo_bank.settings import INSTALLED_APPS as DEMO_APPS
from demo_bank.settings import Q_CLUSTER as DEMO_CLUSTER
from tests import postgres


def run_directory() -> Path:
    """Where this run keeps its files: made by the first who writes there, removed by the process that named it."""
    given = os.environ.get("TEST_RUN_DIRECTORY")
    if given:
        return Path(given)
    # Only named here: tools that import settings and never end in order would leave a directory behind each time.
    # The name is short because the path of a socket must be.
    named = Path(tempfile.gettempdir()).resolve() / f"es-tests-{secrets.token_hex(4)}"
    os.environ["TEST_RUN_DIRECTORY"] = str(named)
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(named, ignore_errors=True)

    atexit.register(remove)
    return named


def sqlite_database() -> dict[str, Any]:
    """A file, not memory: several threads and processes connect to it."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(RUN_DIRECTORY / "main.sqlite3"),
        "TEST": {"NAME": str(RUN_DIRECTORY / "test.sqlite3")},
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
        },
    }


def postgres_database() -> dict[str, Any]:
    """``DATABASE_URL`` or the ``PG*`` variables if given, else a server that this run starts."""
    if url := os.environ.get("DATABASE_URL"):
        database: dict[str, Any] = dict(dj_database_url.parse(url))
        if database["ENGINE"] != "django.db.backends.postgresql":
            raise ImproperlyConfigured("TEST_DATABASE=postgres needs a DATABASE_URL that starts with postgres://.")
        return database
    if not postgres.is_given():
        postgres.start_embedded(RUN_DIRECTORY / "pg")
    # Host, port, user and password are left empty: libpq reads PGHOST and the others by itself.
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ.get("PGDATABASE", "eventsourcing"),
        # With and without prepared statements: the runs of `make matrix` have them.
        "OPTIONS": {"prepare_threshold": 0} if os.environ.get("TEST_PREPARED") else {},
    }


RUN_DIRECTORY = run_directory()
TEST_DATABASE = os.environ.get("TEST_DATABASE", "sqlite")
MAKERS = {"sqlite": sqlite_database, "postgres": postgres_database}
if TEST_DATABASE not in MAKERS:
    raise ImproperlyConfigured(f"TEST_DATABASE is {TEST_DATABASE!r}, but must be one of: {', '.join(MAKERS)}.")
DATABASES = {"default": MAKERS[TEST_DATABASE]()}
if database_name := os.environ.get("TEST_DATABASE_NAME"):
    DATABASES["default"]["NAME"] = database_name

INSTALLED_APPS = list(DEMO_APPS)
INSTALLED_APPS += [app for app in ("tests.samples", "tests.storm") if find_spec(app)]

EVENTSOURCING = {"DISPATCHER": "none"}
Q_CLUSTER = {**DEMO_CLUSTER, "name": "tests"}

DEBUG = False
SECRET_KEY = "of-the-tests"
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STATIC_ROOT = RUN_DIRECTORY / "static"
