"""The documentation is true: its examples run, and its links lead somewhere.

Examples in ``docs/`` are marked as in the README. They go on from the app ``bank`` of the tutorial: a file that they
name again replaces the tutorial's. Shell blocks run after all files are written; a page marked ``<!-- in order -->``
is walked through step by step instead. Files that hold tests are run too, by Django's runner or by pytest. What the
tutorial and the reference say is held true by tests of their own.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django import db
from django.core.management import get_commands
from django.urls import Resolver404, resolve

from eventsourcing_app import exceptions

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"
DOCS = tuple(sorted((ROOT / "docs").rglob("*.md")))
PAGES = (README, *DOCS, ROOT / "CHANGELOG.md")
IN_ORDER = "<!-- in order -->"
"""Stands in a page that is walked through step by step, as the tutorial is."""
ERRORS = r"\w+(?:Error|Refused|Rejected|Change|Recorded|Instance|Reused|InFlight|Version|Type|Unreadable|Unsafe)"
"""How the names of errors end."""

DJANGO_RUNNER = """
from django.core.management import call_command
call_command("test", "bank", verbosity=0, interactive=False)
"""
PYTEST = """
import importlib.metadata, subprocess, sys
plugin = "eventsourcing_app.testing.plugin"
installed = any(found.value == plugin for found in importlib.metadata.entry_points(group="pytest11"))
named = [] if installed else ["-p", plugin]
done = subprocess.run([sys.executable, "-m", "pytest", "-q", "--ds=mysite.settings", *named, "bank/"], check=False)
sys.exit(done.returncode)
"""


def tool(name: str) -> ModuleType:
    """A script of ``.ci``, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where the scripts look for one another, and dataclasses for their module
    spec.loader.exec_module(module)
    return module


EXAMPLES = tool("readme_example")
WALKTHROUGH = tool("walkthrough")


def example_of(page: Path) -> str:
    """The example of a page as one text: the tutorial's app, what the page adds, and a run of the tests among it."""
    written = WALKTHROUGH.files(TUTORIAL.read_text("utf-8"))
    files = [(place, written[place]) for place in WALKTHROUGH.BASE]
    added = EXAMPLES.blocks(page.read_text("utf-8"))
    places = {place for place, _ in added}
    shell = []
    if "bank/tests.py" in places:
        shell.append(("shell", DJANGO_RUNNER))
    if any(re.fullmatch(r"bank/test_\w+\.py", place) for place in places):
        shell.append(("shell", PYTEST))
    return "\n".join(f"<!-- example: {place} -->\n````python\n{text}````\n" for place, text in [*files, *added, *shell])


def with_examples() -> list[Path]:
    return [page for page in DOCS if page != TUTORIAL and "<!-- example: " in page.read_text("utf-8")]


@pytest.mark.needs_sqlite  # a fresh project has SQLite
@pytest.mark.parametrize("page", with_examples(), ids=lambda page: page.name)
def test_the_examples_of_a_page_run_in_a_fresh_project(page: Path, tmp_path: Path) -> None:
    text = tmp_path / page.name
    command: list[str | Path] = [sys.executable, ROOT / ".ci" / "readme_example.py", text]
    if IN_ORDER in page.read_text("utf-8"):
        command = [sys.executable, ROOT / ".ci" / "walkthrough.py", page, "--after", TUTORIAL]
    else:
        text.write_text(example_of(page), encoding="utf-8")
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# Every page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_links_only_to_what_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if target.startswith(("https://", "http://")):
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_only_what_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    for test in re.findall(r"\btests/[\w/]+\.py\b", text):
        assert (ROOT / test).is_file(), f"{page.name} names {test}"
    for name in re.findall(r"\bmanage\.py ([a-z]\w*)", text):
        assert name in get_commands(), f"{page.name} names manage.py {name}"
    for name in re.findall(rf"`({ERRORS})`", text):
        assert any(hasattr(module, name) for module in (exceptions, db, db.models)), f"{page.name} names {name}"


def test_the_addresses_of_the_demo_exist() -> None:
    for path in re.findall(r'"\$BASE(/[^"?]+)', (ROOT / "docs" / "demo.md").read_text("utf-8")):
        try:
            resolve(path.replace("$ID", "00000000-0000-7000-8000-000000000000"))
        except Resolver404:
            pytest.fail(f"demo.md names {path}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_lines_that_can_be_read_anywhere(page: Path) -> None:
    lines = page.read_text("utf-8").splitlines()
    assert not [line for line in lines if len(line) > 120 and not line.startswith("| ")]  # rows cannot be wrapped
