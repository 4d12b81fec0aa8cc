"""The tutorial works as it stands: each file, command, page and result of it, in an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("bash", "curl")


@pytest.mark.needs_sqlite  # a fresh project has SQLite
def test_the_tutorial_can_be_typed_as_it_stands() -> None:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"the tutorial is typed into a terminal: install {' and '.join(missing)}")
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "walkthrough.py", ROOT / "docs" / "tutorial.md"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
