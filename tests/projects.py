"""Fresh Django projects, each in a directory and a database of its own, for tests of what a team does step by step."""

from __future__ import annotations

import doctest
import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import connection

from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOOSELY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
SETTINGS = """
import json, os
DATABASES = json.loads(os.environ["PROJECT_DATABASES"])
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
SHELL = """
import doctest, pathlib, sys
flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
text = pathlib.Path("shell.txt").read_text(encoding="utf-8")
test = doctest.DocTestParser().get_doctest(text, {}, "page", "page", 0)
sys.exit(bool(doctest.DocTestRunner(optionflags=flags).run(test).failed))
"""


class Project:
    """A fresh Django project. Each step runs in a process of its own, as it would at a prompt."""

    def __init__(self, place: Path, app: str, database: dict[str, Any]) -> None:
        self._place = place
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
            "PYTHONPATH": str(ROOT),
            "PROJECT_DATABASES": json.dumps({"default": database}),
        }
        self.run("-m", "django", "startproject", "mysite", ".")
        self.run("-m", "django", "startapp", app)
        self._append("mysite/settings.py", f"{SETTINGS}INSTALLED_APPS += [{app!r}]\n")

    def run(self, *arguments: str) -> str:
        """Run Python in the project and return its result (that of checks is on stderr); warnings are errors."""
        done = subprocess.run(
            [sys.executable, "-W", "error", *arguments],
            cwd=self._place,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done.stdout + (done.stderr if arguments[1] == "check" else "")

    def do(self, place: str, text: str) -> None:
        """Do one step: write a file (lines of the settings are added), type commands, or run doctests in a shell.

        A command stands after ``$ ``; what it must print, if anything is to be compared, in the lines below it.
        """
        if place == "console":
            self._type(text)
        elif place == "shell":
            (self._place / "shell.txt").write_text(text, encoding="utf-8")
            self.run("manage.py", "shell", "--verbosity", "0", "--command", SHELL)
        elif place == "mysite/settings.py":
            self._append(place, text)
        else:
            (self._place / place).write_text(text, encoding="utf-8")

    def _type(self, text: str) -> None:
        for command in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            line, _, expected = command.partition("\n")
            program, *arguments = shlex.split(line)
            assert program == "python"
            printed = self.run(*arguments)
            if expected:
                assert doctest.OutputChecker().check_output(expected, printed, LOOSELY), f"{line}:\n{printed}"

    def _append(self, place: str, text: str) -> None:
        with (self._place / place).open("a", encoding="utf-8") as file:
            file.write(f"\n{text}")


@contextmanager
def fresh_project(place: Path, *, app: str) -> Iterator[Project]:
    """A project with one app, in the kind of database that the tests run on."""
    if connection.vendor == "sqlite":
        options = {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
        }
        sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3", "OPTIONS": options}
        yield Project(place, app, sqlite)
        return
    name = f"project_{os.getpid()}"
    wanted = {key: connection.settings_dict[key] for key in ("ENGINE", "USER", "PASSWORD", "HOST", "PORT")}
    with connection._nodb_cursor() as cursor:  # as Django makes its test databases
        cursor.execute(f"CREATE DATABASE {name}")
    try:
        yield Project(place, app, {**wanted, "NAME": name})
    finally:
        with connection._nodb_cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
