"""Runs the example of README.md in a fresh Django project, with the interpreter and the packages that run this file.

A block of the README belongs to the example if an HTML comment stands before its fence:

    <!-- example: bank/models.py -->     a file of the app ``bank``, written as it is
    <!-- example: mysite/settings.py --> lines added to the settings that ``startproject`` makes
    <!-- example: shell -->              code for ``manage.py shell``; with ``>>>`` its results are compared too

Files are written first, then migrations are made and applied, then all shell blocks run in order in one shell.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(
    r"^<!-- example: (?P<place>\S+) -->\n+(?P<fence>`{3,})\w*\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL
)
PROJECT = "mysite"
APPS = f"""
INSTALLED_APPS += ["rest_framework", "django_q", "eventsourcing_app", "bank"]
Q_CLUSTER = {{"name": "{PROJECT}", "orm": "default", "timeout": 60, "retry": 120}}
"""
SHELL = """
import doctest, json, sys
for text in json.load(open("shell.json", encoding="utf-8")):
    if ">>> " in text:
        test = doctest.DocTestParser().get_doctest(text, globals(), "example", "example", 0)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        if runner.run(test, clear_globs=False).failed:
            sys.exit("The example gave another result.")
        globals().update(test.globs)
    else:
        exec(compile(text, "example", "exec"), globals())
"""


def blocks(readme: str) -> list[tuple[str, str]]:
    """The example's blocks in order, as (place, text)."""
    found = [(match["place"], match["text"]) for match in BLOCK.finditer(readme)]
    marked = readme.count("<!-- example: ")
    if not found or len(found) != marked:
        raise SystemExit(f"README.md: {marked} example marks, but {len(found)} with a fenced block after them")
    return found


def run(readme: Path) -> None:
    """Run the example; a failure ends the process with what was printed."""
    example = blocks(readme.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="readme-") as made:
        project = Path(made)
        _call(project, "-m", "django", "startproject", PROJECT, ".")
        _call(project, "-m", "django", "startapp", "bank")
        _write(project, example)
        for command in (["makemigrations", "bank"], ["migrate"], ["check", "--fail-level", "ERROR"]):
            _call(project, "manage.py", *command, "--verbosity", "0")
        (project / "shell.json").write_text(json.dumps([text for place, text in example if place == "shell"]))
        _call(project, "manage.py", "shell", "--verbosity", "0", "--command", SHELL)
        _call(project, "manage.py", "makemigrations", "--check", "--dry-run")


def _write(project: Path, example: list[tuple[str, str]]) -> None:
    settings = project / PROJECT / "settings.py"
    if not any(place == f"{PROJECT}/settings.py" for place, _text in example):
        settings.write_text(settings.read_text() + APPS)
    for place, text in example:
        path = (project / place).resolve()
        if place == "shell":
            continue
        if project.resolve() not in path.parents:
            raise SystemExit(f"README.md: {place} is outside of the project")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path == settings.resolve():
            text = f"{path.read_text()}\n{text}"  # noqa: PLW2901
        path.write_text(text, encoding="utf-8")


def _call(project: Path, *arguments: str) -> None:
    """Warnings are errors here too; the settings of whoever runs this must not leak in."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"DJANGO_SETTINGS_MODULE", "DATABASE_URL", "TEST_DATABASE_NAME"}
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments[:2])} failed ({done.returncode}):\n{done.stdout}{done.stderr}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the example of a README in a fresh Django project.")
    parser.add_argument("readme", type=Path)
    run(parser.parse_args().readme)
    print("The README's example runs.")


if __name__ == "__main__":
    main()
