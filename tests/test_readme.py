"""The README's example is run as a stranger would: in a fresh project, file by file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.needs_sqlite  # a fresh project has SQLite
def test_the_example_of_the_readme_runs_in_a_fresh_project() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "readme_example.py", ROOT / "README.md"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
