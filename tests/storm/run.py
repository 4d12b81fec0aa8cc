"""Starts writers and readers, waits for them and counts what each reader skipped."""

from __future__ import annotations

import json
import subprocess
import sys
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import connection
from psycopg.conninfo import make_conninfo

from tests.storm.sql import LOG

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How one reader came through the storm."""

    reads: int
    events: int
    skipped: int
    disorder: int
    """How many events did not follow the one before in their stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    stored: int
    writers: Counter[str]
    readings: tuple[Reading, ...]


def dsn() -> str:
    """Where the tests' database is; what is left empty comes from the ``PG*`` variables."""
    given = connection.settings_dict
    names = {"dbname": "NAME", "host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD"}
    return make_conninfo(**{key: str(given[name]) for key, name in names.items() if given.get(name)})


def program(name: str, **given: object) -> tuple[str, str]:
    """Name a program of the storm with its argument."""
    return f"tests.storm.{name}", json.dumps(given)


def storm(*, writers: Sequence[tuple[str, str]], readers: Sequence[tuple[str, str]], env: Mapping[str, str]) -> Outcome:
    """Let ``readers`` follow while ``writers`` run, then compare with what is stored."""
    before = set(_positions())
    following = [_start(reader, env) for reader in readers]
    writing = []
    try:
        for process in following:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        writing = [_start(writer, env) for writer in writers]
        counts = sum((Counter[str](json.loads(_finish(process))) for process in writing), Counter[str]())
        reports = [json.loads(_finish(process)) for process in following]
    finally:
        for process in (*writing, *following):
            process.kill()
            process.communicate()
    positions = [position for position in _positions() if position not in before]
    readings = tuple(_reading(report["windows"], report["disorder"], positions) for report in reports)
    return Outcome(stored=len(positions), writers=counts, readings=readings)


def _start(what: tuple[str, str], env: Mapping[str, str]) -> subprocess.Popen[str]:
    module, argument = what
    return subprocess.Popen(
        [sys.executable, "-m", module, argument],
        cwd=ROOT,
        env=dict(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _finish(process: subprocess.Popen[str]) -> str:
    """Close its input, which tells a reader to come to its end, and return its report."""
    printed, _ = process.communicate(timeout=100)
    assert process.returncode == 0
    return printed


def _positions() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT position FROM {LOG} ORDER BY position")
        return [position for (position,) in cursor.fetchall()]


def _reading(windows: Sequence[Sequence[int]], disorder: int, positions: list[int]) -> Reading:
    stored = [bisect_right(positions, upto) - bisect_right(positions, after) for after, upto, _ in windows]
    events = sum(count for _, _, count in windows)
    beyond = len(positions) - sum(stored)
    return Reading(reads=len(windows), events=events, skipped=sum(stored) - events + beyond, disorder=disorder)
