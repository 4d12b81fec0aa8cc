"""The benchmark runs, measures every row, and tells all of it. How fast anything is, no test says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.db import connection

from tests.benchmarks.report import Result, as_json, as_text
from tests.benchmarks.rows import ROWS
from tests.benchmarks.targets import (
    Faster,
    Figure,
    Memory,
    NoMore,
    NotBehind,
    RateOrShare,
    Slower,
    Verdict,
    Within,
)
from tests.conftest import ROOT
from tests.storm.run import dsn

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HEAD: dict[str, Any] = {"versions": {"Python": "3"}}


def figure(*rates: float, peak: float | None = None, **more: float) -> Figure:
    return Figure(who="somebody", dispatcher="none", rates=rates, cpu=1.0, peak=peak, more=more)


def left_behind(ended: subprocess.CompletedProcess[str]) -> list[str]:
    """The databases of a run that are still there."""
    said = re.search(r"databases: (benchmark_\w+)_", ended.stderr)
    assert said is not None
    with psycopg.connect(dsn()) as admin:
        found = admin.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [said[1]])
        return [name for (name,) in found]


def run(env: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *arguments],
        cwd=ROOT,
        env=dict(env),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.timeout(300)
@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_a_quick_run_measures_its_rows_and_leaves_no_database(child_env: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    # The pages of the admin are all of one kind: the first row of them stands for the others, which take a minute.
    rows = [row for row in ROWS if not row.name.startswith("admin-") or row.name == "admin-events"]
    ended = run(child_env, "--quick", "--ours", "--runs", "1", "--json", str(file), *(row.name for row in rows))
    assert ended.returncode == 0, ended.stderr
    assert left_behind(ended) == []
    told = json.loads(file.read_text())
    assert [row["name"] for row in told["rows"]] == [row.name for row in rows]
    for row, measured in zip(rows, told["rows"], strict=True):
        assert measured["error"] == ""
        assert set(measured["figures"]) == {each.key for each in row.contestants if not each.peer}
        assert all(each["median"] > 0 and each["rates"] for each in measured["figures"].values())
        assert f"`{row.name}`" in ended.stdout
    assert {"fsync", "synchronous_commit"} <= set(told["header"]["PostgreSQL settings"])
    assert told["header"]["versions"]["PostgreSQL"] in ended.stdout
    dispatchers = {each["dispatcher"] for each in told["rows"][0]["figures"].values()}
    assert dispatchers == {"none", "django_q", "–"}


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_a_row_that_cannot_be_measured_says_so(child_env: dict[str, str], tmp_path: Path) -> None:
    # Its processes end before they get to their work.
    broken = tmp_path / "sitecustomize.py"
    broken.write_text("import sys\nif 'tests.benchmarks.child' in sys.orig_argv: sys.exit('no work today')\n")
    path = f"{tmp_path}:{child_env['PYTHONPATH']}"
    ended = run(child_env | {"PYTHONPATH": path}, "at", "--quick", "--ours", "--runs", "1")
    assert ended.returncode == 2
    assert "NOT MEASURED" in ended.stdout
    assert "no work today" in ended.stdout
    assert left_behind(ended) == []


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_a_full_run_refuses_a_server_that_may_forget(child_env: dict[str, str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW fsync")
        if cursor.fetchone() != ("off",):
            pytest.skip("This server keeps what it commits.")
    ended = run(child_env, "at", "--ours")
    assert ended.returncode == 2
    assert "fsync" in ended.stderr


def test_targets_compare_medians_and_know_their_edge() -> None:
    figures = {
        ("row", "ours"): figure(1.0, 150.0, 900.0, peak=100.0),
        ("row", "peer"): figure(100.0),
        ("other", "ours"): figure(500.0),
    }
    assert Faster("peer", 1.5).judge("row", figures) == Verdict(target="≥ 1.5 ×", measured=1.5, met=True)
    assert Faster("peer", 1.51).judge("row", figures) == Verdict(target="≥ 1.51 ×", measured=1.5, met=False)
    assert Slower("peer", 0.6).judge("row", figures) == Verdict(
        target="≤ 0.6 × its time", measured=100 / 150, met=False
    )
    assert Slower("peer", 0.7).judge("row", figures) == Verdict(target="≤ 0.7 × its time", measured=100 / 150, met=True)
    assert Memory(100).judge("row", figures) == Verdict(target="≤ 100 MB", measured=100.0, met=True)
    assert Memory(99).judge("row", figures) == Verdict(target="≤ 99 MB", measured=100.0, met=False)
    met = [
        RateOrShare(rate, share, "other").judge("row", figures) for rate, share in ((150, 1), (200, 0.3), (151, 0.31))
    ]
    assert [verdict and verdict.met for verdict in met] == [True, True, False]


def test_targets_also_judge_what_else_was_measured_and_whom_they_name() -> None:
    figures = {
        ("row", "ours"): figure(2.0, p99=60.0),
        ("row", "lists"): figure(300.0),
        ("row", "peer"): figure(10.0, p99=30.0),
    }
    assert Faster("peer", 30, who="lists").judge("row", figures) == Verdict(
        target="lists ≥ 30 ×", measured=30.0, met=True
    )
    assert NoMore(2).judge("row", figures) == Verdict(target="≤ 2/s", measured=2.0, met=True)
    assert NoMore(1.9).judge("row", figures) == Verdict(target="≤ 1.9/s", measured=2.0, met=False)
    assert Within("p99", 60).judge("row", figures) == Verdict(target="p99 ≤ 60", measured=60.0, met=True)
    assert Within("p99", 29, "peer").judge("row", figures) == Verdict(target="p99 ≤ 29", measured=30.0, met=False)
    assert NotBehind("peer", "p99", 2).judge("row", figures) == Verdict(target="its p99 ≤ 2 ×", measured=2.0, met=True)
    assert NotBehind("peer", "p99", 1.9).judge("row", figures) == Verdict(
        target="its p99 ≤ 1.9 ×", measured=2.0, met=False
    )


def test_what_was_not_measured_is_judged_by_nobody() -> None:
    alone = {("row", "ours"): figure(150.0)}
    assert Faster("peer", 1.5).judge("row", alone) is None
    assert Slower("peer", 1.5).judge("row", alone) is None
    assert Memory(100).judge("row", alone) is None
    assert Memory(100).judge("row", {}) is None
    assert RateOrShare(100, 0.3, "other").judge("row", {}) is None
    assert Faster("peer", 1.5, who="lists").judge("row", alone | {("row", "peer"): figure(1.0)}) is None
    assert NoMore(2).judge("row", {}) is None
    assert Within("p99", 2).judge("row", alone) is None
    assert NotBehind("peer", "p99", 2).judge("row", alone | {("row", "peer"): figure(1.0, p99=1.0)}) is None


def test_a_missed_target_and_a_failed_row_cannot_be_overlooked() -> None:
    row = ROWS[0]
    missed = Verdict(target="≥ 1.5 ×", measured=1.25, met=False)
    measured = Result(row, {"ours": figure(250.0), "eventsourcing": figure(200.0)}, {"eventsourcing": [missed]})
    failed = Result(ROWS[1], error="it died")
    text = as_text(HEAD, [measured, failed])
    assert "≥ 1.5 ×: **MISSED** (1.25)" in text
    assert "**NOT MEASURED**: it died" in text
    assert f"1 targets missed. Not measured: {ROWS[1].name}." in text
    told = as_json(HEAD, [measured, failed])
    assert [each["error"] for each in told["rows"]] == ["", "it died"]
    assert told["rows"][0]["verdicts"] == [
        {"beside": "eventsourcing", "target": "≥ 1.5 ×", "measured": 1.25, "met": False}
    ]


def test_every_target_is_shown_beside_a_contestant_of_its_row() -> None:
    for row in ROWS:
        keys = [contestant.key for contestant in row.contestants]
        assert keys[0] == "ours"
        assert len(set(keys)) == len(keys)
        assert {target.beside for target in row.targets} <= set(keys)
