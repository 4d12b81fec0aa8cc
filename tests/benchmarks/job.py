"""What one process of the benchmark is told to do: passed in the environment, so that no password is in ``ps``."""

from __future__ import annotations

import os
from typing import Any

import msgspec

VARIABLE = "BENCHMARK_JOB"


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything there is."""

    seconds: float
    """How long one sample of small commands takes."""
    accounts: int
    """Aggregates that commands choose from: so many that their streams stay short."""
    log: int
    """Events of the large log."""
    aggregates: int
    """Aggregates of the large log."""
    small_log: int
    """Events of the small log."""
    sqlite_log: int
    """Events of the large log on SQLite."""
    stream: int
    """Events of the long stream."""
    short_stream: int
    """Events of the stream that the long one is compared with."""
    workers: int
    """Processes that write at the same time, where there are several."""
    subscriptions: int
    """How many there are, where there are many."""
    backlog: int
    """Events that they are behind, where they are many."""
    deliveries: int
    """Events that one subscription is behind, where the log is the large one."""
    tasks: int
    """Tasks on the queue of django-q2."""
    trail: int
    """Events of the longest stream that a page tells of."""
    short_trail: int
    """Events of the stream that it is compared with."""
    parked: int
    """Parked events, where they are many."""
    watched: float
    """For how many seconds something is watched that goes on by itself."""


FULL = Scale(
    seconds=2.0,
    accounts=10_000,
    log=1_000_000,
    aggregates=10_000,
    small_log=1_000,
    sqlite_log=200_000,
    stream=100_000,
    short_stream=256,
    workers=4,
    subscriptions=1_000,
    backlog=1_000,
    deliveries=100_000,
    tasks=5_000,
    trail=10_100,
    short_trail=100,
    parked=10_000,
    watched=20.0,
)
QUICK = Scale(
    seconds=0.05,
    accounts=100,
    log=2_000,
    aggregates=20,
    small_log=200,
    sqlite_log=1_000,
    stream=1_000,
    short_stream=16,
    workers=2,
    subscriptions=30,
    backlog=100,
    deliveries=1_000,
    tasks=200,
    trail=600,
    short_trail=100,
    parked=150,
    watched=1.0,
)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A database."""

    engine: str
    """``postgresql`` or ``sqlite3``, as Django calls them."""
    name: str
    host: str = ""
    port: str = ""
    user: str = ""
    password: str = ""

    def libpq(self) -> dict[str, str]:
        """Its parameters as psycopg takes them."""
        return {
            "dbname": self.name,
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
        }

    def django(self, *, prepared: bool) -> dict[str, Any]:
        """Its entry of ``DATABASES``; ``prepared`` lets statements be prepared, as docs/operating.md recommends it.

        Then the package prepares its own hot ones; by Django's default, nothing is.
        """
        options: dict[str, Any] = {}
        if self.engine == "sqlite3":
            options = {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",
            }
        elif prepared:
            options = {"prepare_threshold": 5}
        return {
            "ENGINE": f"django.db.backends.{self.engine}",
            "NAME": self.name,
            "HOST": self.host,
            "PORT": self.port,
            "USER": self.user,
            "PASSWORD": self.password,
            "OPTIONS": options,
        }


class Reactions(msgspec.Struct, frozen=True, kw_only=True):
    """The subscriptions of a process and of those that it starts."""

    handler: str = "nothing"
    """A function of ``tests.benchmarks.reactions.handlers`` that makes the handler of one subscription."""
    count: int = 0
    """How many; 0: as many as the scale says."""
    less: int = 0
    """So many fewer."""
    batch: int = 0
    """How long the list is that a handler gets at most, if it takes lists."""
    counted: bool = False
    """Whether every query of the processes in which they run is written down."""
    slow: int = 0
    """How many more there are that take a second for an event."""
    failing: int = 0
    """How many more there are that fail on every event."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A process's work."""

    work: str
    """Module and function in ``tests.benchmarks.sides``, such as ``ours.command``."""
    place: Place
    scale: Scale
    worker: int = 0
    workers: int = 1
    dispatcher: str = "none"
    prepared: bool = False
    reactions: Reactions | None = None
    cluster: str = ""
    """Which settings of django-q2 in ``tests.benchmarks.settings``."""

    @property
    def side(self) -> str:
        """The module of its work."""
        return self.work.partition(".")[0]

    def environment(self) -> dict[str, str]:
        """The environment of its process."""
        return {
            **os.environ,
            VARIABLE: msgspec.json.encode(self).decode(),
            "DJANGO_SETTINGS_MODULE": "tests.benchmarks.settings",
        }


def given() -> Job:
    """The job of this process."""
    return msgspec.json.decode(os.environ[VARIABLE], type=Job)
