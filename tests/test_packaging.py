"""What the distribution says of itself agrees with the tree; the wheel itself is tried by `make wheel-test`."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

import eventsourcing_app

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "eventsourcing_app"


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_version_has_one_home_and_is_a_version(pyproject: dict[str, Any]) -> None:
    assert pyproject["project"]["dynamic"] == ["version"]
    assert pyproject["tool"]["hatch"]["version"]["path"] == "eventsourcing_app/__init__.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc|\.dev)\d+)?", eventsourcing_app.__version__)


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_the_requirements_take_in_every_extra(pyproject: dict[str, Any]) -> None:
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    found = re.search(r"^-e \.\[(.+)\]$", requirements, re.MULTILINE)
    assert found is not None
    assert set(found[1].split(",")) == set(pyproject["project"]["optional-dependencies"])


def test_the_pytest_plugin_is_where_the_entry_point_says(pyproject: dict[str, Any]) -> None:
    plugin = pyproject["project"]["entry-points"]["pytest11"]["eventsourcing_app"]
    assert importlib.import_module(plugin)


def test_the_plugin_is_active_once_in_this_run(pytestconfig: pytest.Config, pyproject: dict[str, Any]) -> None:
    module = pyproject["project"]["entry-points"]["pytest11"]["eventsourcing_app"]
    active = [getattr(plugin, "__name__", "") for plugin in pytestconfig.pluginmanager.get_plugins()]
    assert active.count(module) == 1


def test_every_folder_of_code_is_a_package() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder.relative_to(ROOT).as_posix() for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_no_committed_text_holds_a_path_of_somebodys_machine() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: nothing is committed here")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    home = re.compile(rb"(?<![\w.])/(home|Users|root|work)/\w")
    files = [ROOT / name for name in listed.split("\0") if name and name != "tests/test_packaging.py"]
    found = [file.relative_to(ROOT).as_posix() for file in files if file.is_file() and home.search(file.read_bytes())]
    assert found == []
