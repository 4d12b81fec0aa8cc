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

from tests.conftest import ROOT

pytestmark = pytest.mark.needs_postgres

SECONDS = float(os.environ.get("STORM_SECONDS", "60"))
KILLS_A_MINUTE = 100
FAILPOINTS = {"append.inserted", "commit.wake", "work.attempt", "work.effect"}


@pytest.mark.timeout(600 + 3 * SECONDS)
def test_no_kill_makes_the_library_break_a_promise() -> None:
    storm = subprocess.Popen(
        [sys.executable, "-m", "tests.storm.delivery", json.dumps({"seconds": SECONDS})],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        printed, _ = storm.communicate()
    finally:
        storm.terminate()  # so that its server ends with it
        storm.wait()
    print(printed)
    report = json.loads(printed.splitlines()[-1])
    assert (report["violations"], report["at_rest"]) == (0, True), printed
    assert storm.returncode == 0
    assert report["kills"] >= KILLS_A_MINUTE * SECONDS / 60
    assert report["failpoints"].keys() >= FAILPOINTS
    assert report["restarts"] >= 1
