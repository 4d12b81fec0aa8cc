"""Walks through docs/tutorial.md in an empty folder, step by step, as a reader would type it.

An HTML comment before a fenced block says what the reader does with it:

    <!-- example: bank/models.py -->  writes it into this file; lines for ``mysite/settings.py`` are added at its end
    <!-- add: bank/models.py -->      adds it at the end of this file
    <!-- example: shell -->           types it into ``manage.py shell``, what follows at once into the same one; after
                                      ``>>>`` the results are compared
    <!-- run -->                      types it into a terminal
    <!-- run: background -->          types it into another terminal and leaves it running; again, it is started anew
    <!-- output -->                   sees this in the terminal; "..." stands for anything
    <!-- output: background -->       sees this, among other things, in the terminal that was left running last
    <!-- seen: /address/ -->          opens this page of the running server, logged in, and sees what is in the table

Only what no reader would type the same is replaced: the port of the server, and the password that is asked for.
A page that is given with ``--after docs/tutorial.md`` goes on from the app ``bank`` of the tutorial.
"""

from __future__ import annotations

import argparse
import doctest
import html
import http.cookiejar
import itertools
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from readme_example import PROJECT, SHELL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK = re.compile(
    r"^<!-- (?P<what>example|add|run|output|seen)(?:: (?P<place>\S+))? -->\n+"
    r"(?:(?P<fence>`{3,})\w*\n(?P<text>.*?)^(?P=fence)$|(?P<table>(?:\|[^\n]*\n)+))",
    re.MULTILINE | re.DOTALL,
)
SETTINGS: Final = f"{PROJECT}/settings.py"
USER, PASSWORD = "ada", "correct horse battery"
PATIENCE: Final = 60.0
"""Seconds to wait for what a process says or serves, before the walk is given up."""


@dataclass(frozen=True)
class Step:
    """One thing that the reader does or sees."""

    what: str
    place: str
    text: str


def steps(page: str) -> list[Step]:
    """The steps of a tutorial, in order."""
    found = [
        Step(match["what"], match["place"] or "", match["text"] or match["table"]) for match in BLOCK.finditer(page)
    ]
    marked = len(re.findall(r"^<!-- (?:example|add|run|output|seen)\b", page, re.MULTILINE))
    if not found or len(found) != marked:
        raise SystemExit(f"{marked} marks, but {len(found)} with a block or a table after them")
    return list(_one_session(found))


def _one_session(found: list[Step]) -> Iterator[Step]:
    """Join what is typed into one shell without anything in between."""
    for typed, group in itertools.groupby(found, key=lambda step: step.place == "shell"):
        together = list(group)
        if typed:
            yield Step("example", "shell", "\n".join(step.text for step in together))
        else:
            yield from together


def files(page: str) -> dict[str, str]:
    """What the reader has at the end: the text of each file; of the settings only what the first step adds."""
    written: dict[str, str] = {}
    for step in steps(page):
        if step.what == "add" and step.place != SETTINGS:
            written[step.place] += f"\n\n{step.text}"
        elif step.what == "example" and step.place != "shell":
            written[step.place] = step.text
    return written


BASE: Final = (SETTINGS, "bank/events.py", "bank/models.py", "bank/reactions.py")
"""The files of the tutorial that other pages go on from."""


class Walk:
    """A reader at work in one folder."""

    def __init__(self, project: Path) -> None:
        self._project = project
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._address = f"127.0.0.1:{free.getsockname()[1]}"
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._terminals = itertools.count(1)
        self._said = ""
        self._terminal = project  # the file that holds what the last one says
        self._browser: urllib.request.OpenerDirector | None = None

    def take(self, step: Step) -> None:
        """Do what a step says. What does not come out as it says ends the process."""
        {
            "example": self._shell if step.place == "shell" else self._write,
            "add": self._write,
            "run": self._leave_running if step.place == "background" else self._run,
            "output": self._compare,
            "seen": self._look,
        }[step.what](step)

    def go_on_from(self, tutorial: str) -> None:
        """Make the project and the app that a tutorial ends with."""
        self._call(["django-admin", "startproject", PROJECT, "."])
        self._call(["python", "manage.py", "startapp", "bank"])
        written = files(tutorial)
        for place in BASE:
            self._write(Step("example", place, written[place]))
        self._call(["python", "manage.py", "makemigrations", "bank"])
        self._call(["python", "manage.py", "migrate"])

    def end(self) -> None:
        """End what was left running, with everything that it has started."""
        for command in list(self._running):
            self._stop(command)

    def _stop(self, command: str) -> None:
        process = self._running.pop(command)
        process.terminate()  # it ends its own children, as at Ctrl-C
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _write(self, step: Step) -> None:
        path = self._project / step.place
        adds = step.what == "add" or step.place == SETTINGS
        before = f"{path.read_text(encoding='utf-8')}\n\n" if adds else ""
        path.write_text(before + step.text, encoding="utf-8")

    def _shell(self, step: Step) -> None:
        (self._project / "shell.json").write_text(json.dumps([step.text]), encoding="utf-8")
        self._said = self._call(["python", "manage.py", "shell", "--verbosity", "0", "--command", SHELL])

    def _run(self, step: Step) -> None:
        self._said = self._call(["bash", "-euo", "pipefail", "-c", self._typed(step.text)])

    def _leave_running(self, step: Step) -> None:
        command = self._typed(step.text).strip()
        if command in self._running:
            self._stop(command)
        self._terminal = self._project / f"terminal-{next(self._terminals)}.out"
        with self._terminal.open("w", encoding="utf-8") as stream:
            self._running[command] = subprocess.Popen(
                shlex.split(command),
                cwd=self._project,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        if "runserver" in command:
            self._until(self._serves, f"{command} does not answer")

    def _typed(self, text: str) -> str:
        text = text.replace("runserver", f"runserver --noreload {self._address}")
        text = text.replace("127.0.0.1:8000", self._address)
        text = text.replace("createsuperuser", "createsuperuser --noinput")
        return text.replace(f"-u {USER} ", f"-u {shlex.quote(f'{USER}:{PASSWORD}')} ")

    def _compare(self, step: Step) -> None:
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        check = doctest.OutputChecker().check_output
        if step.place == "background":

            def said() -> bool:
                return check(f"...{step.text}...", self._terminal.read_text(encoding="utf-8"), flags)

            self._until(said, f"no terminal shows:\n{step.text}")
        elif not check(step.text, self._said, flags):
            raise SystemExit(f"the tutorial shows:\n{step.text}\nbut the terminal:\n{self._said}")

    def _look(self, step: Step) -> None:
        address = step.place
        if "ID" in address:
            start, _, _rest = address.partition("ID")
            (key,) = set(re.findall(rf'href="{re.escape(start)}([^/"]+)/change/', self._page(start)))
            address = address.replace("ID", key)
        page = self._page(address).replace("<wbr>", "")  # where a narrow column may break a name
        text = html.unescape(re.sub(r"<[^>]*>", " ", page))
        seen = " ".join(text.split())
        for row in step.text.splitlines():
            for cell in (cell.strip().strip("`") for cell in row.strip("|").split("|")):
                pattern = ".*?".join(map(re.escape, cell.split("…")))
                if not re.fullmatch(r":?-+:?", cell) and not re.search(pattern, seen):
                    raise SystemExit(f"{address} does not show {cell!r}, but: {seen}")

    def _page(self, address: str) -> str:
        if self._browser is None:
            jar = http.cookiejar.CookieJar()
            self._browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
            login = f"http://{self._address}/admin/login/"
            self._browser.open(login, timeout=PATIENCE).close()
            (token,) = [cookie.value for cookie in jar if cookie.name == "csrftoken"]
            form = {"username": USER, "password": PASSWORD, "csrfmiddlewaretoken": token or "", "next": "/admin/"}
            self._browser.open(login, urllib.parse.urlencode(form).encode(), timeout=PATIENCE).close()
        with self._browser.open(f"http://{self._address}{address}", timeout=PATIENCE) as answer:
            content: bytes = answer.read()
        return content.decode()

    def _serves(self) -> bool:
        try:
            urllib.request.urlopen(f"http://{self._address}/admin/login/", timeout=PATIENCE).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def _until(self, happened: Callable[[], bool], complaint: str) -> None:
        end = time.monotonic() + PATIENCE
        while not happened():
            if time.monotonic() > end or any(process.poll() is not None for process in self._running.values()):
                raise SystemExit(f"{complaint}\nbut:\n{self._terminal.read_text(encoding='utf-8')}")
            time.sleep(0.1)

    def _call(self, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=self._project,
            env={**self._environment(), "PYTHONWARNINGS": "error"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=110,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)[:300]} failed ({done.returncode}):\n{done.stdout}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        """That of whoever runs this, with its interpreter first, and without its settings of Django."""
        foreign = {"DJANGO_SETTINGS_MODULE", "DATABASE_URL", "TEST_DATABASE_NAME"}
        kept = {name: value for name, value in os.environ.items() if name not in foreign}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
        return {**kept, "PATH": path, "PYTHONUNBUFFERED": "1", "DJANGO_SUPERUSER_PASSWORD": PASSWORD}


def main() -> None:
    parser = argparse.ArgumentParser(description="Walk through a page in an empty folder.")
    parser.add_argument("page", type=Path)
    parser.add_argument("--after", type=Path, metavar="TUTORIAL", help="go on from the app of this tutorial")
    options = parser.parse_args()
    found = steps(options.page.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="walk-") as made:
        walk = Walk(Path(made))
        try:
            if options.after is not None:
                walk.go_on_from(options.after.read_text(encoding="utf-8"))
            for step in found:
                walk.take(step)
        finally:
            walk.end()
    print(f"{options.page.name} works: {len(found)} steps.")


if __name__ == "__main__":
    main()
