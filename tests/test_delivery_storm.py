"""Whatever is killed, nothing is lost, nothing happens twice here, and each stream arrives in order.

Processes that pay, observe and react are killed at random and at failpoints, frozen, and their PostgreSQL crashes under
them; then one checker judges what is left. ``STORM_SECONDS`` sets for how long, ``STORM_SEED`` which storm. It has a
server of its own, since others could not stand what happens to it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT, missing

pytestmark = pytest.mark.needs_postgres

SECONDS = float(os.environ.get("STORM_SECONDS", "30"))
IS_LONG = SECONDS >= 600
KILLS_A_MINUTE = 150 if IS_LONG else 100
FAILPOINTS = {"append.inserted", "commit.wake", "work.attempt", "work.effect", "rebuild.batch"}


@pytest.mark.timeout(600 + 3 * SECONDS)
def test_no_kill_makes_the_library_break_a_promise() -> None:
    storm = subprocess.Popen(
        [sys.executable, "-m", "tests.storm.delivery", json.dumps({"seconds": SECONDS})],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    printed = []
    try:
        assert storm.stdout is not None
        for line in storm.stdout:
            print(line, end="", flush=True)
            printed.append(line)
    finally:
        storm.terminate()  # so that its server ends with it
        storm.communicate()
    report = json.loads(printed[-1])
    if "missing" in report:
        missing(report["missing"])
    assert (report["violations"], report["at_rest"], storm.returncode) == (0, True, 0)
    # Which of them a short storm meets is chance; each has directed tests as well.
    met = report["failpoints"].keys()
    assert met >= FAILPOINTS if IS_LONG else len(met) >= 2
    assert report["restarts"] >= 1
    assert report["rebuilds"] >= 1 or not IS_LONG
    assert report["kills"] >= KILLS_A_MINUTE * SECONDS / 60
    if IS_LONG:
        assert report["events"] >= 200_000
