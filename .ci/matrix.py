"""Runs the suite with the other Pythons of this machine, each with the newest Django that it can have.

``all`` runs every one on SQLite and the newest on PostgreSQL too; ``newest`` runs only that one, on PostgreSQL.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ((3, 12), (3, 13), (3, 14))
# These take minutes to kill or to measure what no version of Python changes; the default suite runs them.
LEFT_OUT = (
    "test_admin_forged.py",
    "test_admin_masks.py",
    "test_admin_query_counts.py",
    "test_admin_roles.py",
    "test_adopt.py",
    "test_adopting.py",
    "test_api_docs.py",
    "test_api_guide.py",
    "test_api_hostile.py",
    "test_api_masks.py",
    "test_api_races.py",
    "test_api_roles.py",
    "test_api_schemathesis.py",
    "test_api_stream.py",
    "test_api_stream_restart.py",
    "test_benchmarks.py",
    "test_browser_commands.py",
    "test_browser_event.py",
    "test_browser_german.py",
    "test_browser_log.py",
    "test_browser_operate.py",
    "test_browser_travel.py",
    "test_concurrent_writers.py",
    "test_delivery_storm.py",
    "test_export.py",
    "test_parking.py",
    "test_past_changes.py",
    "test_past_lists.py",
    "test_queue_abuse.py",
    "test_rebuild_after_migration.py",
    "test_rebuild_processes.py",
    "test_rebuild_projection_processes.py",
    "test_run_subscriptions.py",
    "test_runner.py",
    "test_settled_storm.py",
    "test_stopping.py",
    "test_storm_bugs.py",
    "test_stream_aliases.py",
    "test_tutorial.py",
    "demo_bank/test_demo_command.py",
)


def interpreters() -> dict[tuple[int, int], str]:
    """Those that run, from PATH and from pyenv, without the one that the default suite has."""
    found: dict[tuple[int, int], str] = {}
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for major, minor in VERSIONS:
        name = f"python{major}.{minor}"
        candidates = [shutil.which(name), *sorted(map(str, pyenv.glob(f"{major}.{minor}.*/bin/{name}")))]
        for candidate in candidates:
            if (major, minor) != sys.version_info[:2] and candidate and works(candidate, f"({major}, {minor})"):
                found[major, minor] = candidate
                break
    return found


def works(python: str, version: str) -> bool:
    """Whether it is what its name says (a shim may not be) and can make venvs."""
    question = f"import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != {version})"
    return subprocess.run([python, "-c", question], check=False, capture_output=True).returncode == 0


def run(python: str, version: tuple[int, int], databases: list[str]) -> bool:
    """Install everything into a venv of its own and run the suite there."""
    place = ROOT / ".venvs" / f"{version[0]}.{version[1]}"
    own = str(place / "bin" / "python")
    subprocess.run([python, "-m", "venv", place], check=True)
    pip = [own, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--upgrade"]
    subprocess.run([*pip, "-r", "requirements.txt"], check=True, cwd=ROOT)
    passed = True
    for database in databases:
        print(f"== Python {version[0]}.{version[1]}, {database}", flush=True)
        suite = [own, "-m", "pytest", "-n", os.environ.get("WORKERS", "logical"), "--maxprocesses", "8"]
        suite += ["--dist", "worksteal"]
        suite += [f"--ignore=tests/{name}" for name in LEFT_OUT]
        # The default suite runs without prepared statements, as Django does by default; these run with them.
        environment = {**os.environ, "TEST_DATABASE": database, "TEST_PREPARED": "1"}
        done = subprocess.run(suite, check=False, cwd=ROOT, env=environment)
        passed = passed and done.returncode == 0
    return passed


def main() -> None:
    found = interpreters()
    if not found:
        here = ".".join(map(str, sys.version_info[:2]))
        names = ", ".join(".".join(map(str, version)) for version in VERSIONS)
        print(f"Nothing to do: besides the default {here} this machine has none of Python {names}.")
        return
    newest = max(found)
    chosen = [newest] if sys.argv[1:] == ["newest"] else sorted(found)
    on_newest = ["postgres"] if sys.argv[1:] == ["newest"] else ["sqlite", "postgres"]
    chosen_of = {version: on_newest if version == newest else ["sqlite"] for version in chosen}
    failed = [version for version, databases in chosen_of.items() if not run(found[version], version, databases)]
    if failed:
        raise SystemExit(f"failed on Python {', '.join('.'.join(map(str, version)) for version in failed)}")


if __name__ == "__main__":
    main()
