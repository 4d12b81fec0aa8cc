"""The documentation is true: its examples run, its reference names what the code has, and its links lead somewhere.

Examples in ``docs/`` are marked as in the README. They go on from the README's app ``bank``: a file that they name
again replaces the README's. Files that hold tests are run too, by Django's runner or by pytest.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django import db
from django.core.management import get_commands
from django.urls import Resolver404, resolve

import eventsourcing_app
from eventsourcing_app import exceptions
from eventsourcing_app.conf import Settings

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = tuple(sorted((ROOT / "docs").glob("*.md")))
PAGES = (README, *DOCS, ROOT / "CHANGELOG.md")
PACKAGE = ROOT / "eventsourcing_app"
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


def harness() -> ModuleType:
    """The runner of the README's example, which is no package."""
    spec = importlib.util.spec_from_file_location("readme_example", ROOT / ".ci" / "readme_example.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def example_of(page: Path) -> str:
    """The example of a page as one text: the README's files, what the page adds, and a run of the tests among it."""
    files = [(place, text) for place, text in harness().blocks(README.read_text("utf-8")) if place != "shell"]
    added = harness().blocks(page.read_text("utf-8"))
    places = {place for place, _ in added}
    shell = []
    if "bank/tests.py" in places:
        shell.append(("shell", DJANGO_RUNNER))
    if any(re.fullmatch(r"bank/test_\w+\.py", place) for place in places):
        shell.append(("shell", PYTEST))
    return "\n".join(f"<!-- example: {place} -->\n````python\n{text}````\n" for place, text in [*files, *added, *shell])


def with_examples() -> list[Path]:
    return [page for page in DOCS if "<!-- example: " in page.read_text("utf-8")]


@pytest.mark.needs_sqlite  # a fresh project has SQLite
@pytest.mark.parametrize("page", with_examples(), ids=lambda page: page.name)
def test_the_examples_of_a_page_run_in_a_fresh_project(page: Path, tmp_path: Path) -> None:
    text = tmp_path / page.name
    text.write_text(example_of(page), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "readme_example.py", text],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# The reference


def section(title: str) -> str:
    """A section of the README, up to the next heading of its level."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no section {title!r}"
    return found[1]


def test_the_reference_names_every_public_word() -> None:
    assert set(eventsourcing_app.__all__) <= set(re.findall(r"`([^`]+)`", section("Reference")))


def test_the_reference_names_every_setting_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| `([^`]+)` \|", section("Reference"), re.MULTILINE))
    assert rows == {field.name: repr(field.default).replace("'", '"') for field in fields(Settings)}


def test_the_reference_names_every_management_command_and_its_options() -> None:
    documented = dict(re.findall(r"^\| `([a-z_]+)((?: [^`]*)?)` \|", section("Reference"), re.MULTILINE))
    for path in (PACKAGE / "management" / "commands").glob("[a-z]*.py"):
        options = set(re.findall(r'"(--[a-z-]+)"', path.read_text("utf-8")))
        assert set(re.findall(r"--[a-z-]+", documented.get(path.stem, "missing"))) == options, path.stem
        assert path.stem in documented


def test_the_reference_names_every_system_check() -> None:
    source = "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    ids = set(re.findall(r"eventsourcing_app\.([EW]\d{3})\b", source))
    assert set(re.findall(r"`([EW]\d{3})`", section("Reference"))) == ids


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
    assert not [line for line in page.read_text("utf-8").splitlines() if len(line) > 120]
