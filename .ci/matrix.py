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
    "delivery_storm",
    "storm_bugs",
    "settled_storm",
    "queue_abuse",
    "rebuild_processes",
    "rebuild_projection_processes",
    "admin_forged",
    "admin_masks",
    "admin_query_counts",
    "admin_roles",
    "adopt",
    "adopting",
    "api_docs",
    "api_guide",
    "api_hostile",
    "api_masks",
    "api_races",
    "api_roles",
    "api_schemathesis",
    "api_stream_restart",
    "benchmarks",
    "browser_commands",
    "browser_event",
    "browser_german",
    "browser_log",
    "browser_operate",
    "browser_travel",
    "export",
    "rebuild_after_migration",
    "run_subscriptions",
    "runner",
    "stopping",
    "stream_aliases",
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
        suite += [f"--ignore=tests/test_{name}.py" for name in LEFT_OUT]
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
