"""The reference is whole: whatever the code has is in it, and what the code has no longer is not."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest
from django.core.management import BaseCommand, load_command_class

from eventsourcing_app import exceptions
from eventsourcing_app.aggregates.manager import EventSourcedManager
from eventsourcing_app.aggregates.model import EventSourcedModel
from eventsourcing_app.conf import NAMES, Settings
from tests.test_layers import PACKAGE, PUBLIC_MODULES

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
SOURCE = ROOT / PACKAGE


def text_of(page: str) -> str:
    return (REFERENCE / f"{page}.md").read_text("utf-8")


def section(page: str, title: str) -> str:
    """One section of a page, without those that follow on its level or above."""
    found = re.search(
        rf"^(#+) {re.escape(title)}\n(.*?)(?=^(?!\1#)#{{2,}} |\Z)", text_of(page), re.MULTILINE | re.DOTALL
    )
    assert found, f"docs/reference/{page}.md has no section {title!r}"
    return found[2]


def first_cells(table: str) -> list[str]:
    """What the first column of its tables names, one entry for each name."""
    cells = re.findall(r"^\| (`.+?`(?:, `.+?`)*) \|", table, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


# Settings


def test_every_setting_is_there_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| .+? \| `([^`]+)` \| ", text_of("settings"), re.MULTILINE))
    assert sorted(rows) == sorted(NAMES)
    assert rows == {field.name: repr(field.default).replace("'", '"') for field in fields(Settings)}


# Checks


def test_every_system_check_is_there_once() -> None:
    source = "".join(path.read_text("utf-8") for path in SOURCE.rglob("*.py"))
    ids = set(re.findall(rf"{PACKAGE}\.([EW]\d{{3}})\b", source))
    assert sorted(first_cells(text_of("checks"))) == sorted(ids)


# Commands


COMMANDS = sorted(path.stem for path in (SOURCE / "management" / "commands").glob("[a-z]*.py"))


def arguments_of(command: BaseCommand) -> set[str]:
    """The arguments that are its own: options by their long name, others by their name."""
    inherited = {action.dest for action in BaseCommand().create_parser("manage.py", "other")._actions}
    own = [action for action in command.create_parser("manage.py", "this")._actions if action.dest not in inherited]
    return {name for action in own for name in (action.option_strings[-1:] or [action.dest])}


def test_every_command_is_there_and_no_other() -> None:
    assert sorted(re.findall(r"^## (.+)$", text_of("commands"), re.MULTILINE)) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_of_a_command_is_there(name: str) -> None:
    told = section("commands", name)
    options, _, codes = told.partition("| Exit code |")
    assert set(first_cells(options)) == arguments_of(load_command_class(PACKAGE, name))
    usage = re.search(rf"^manage\.py {name}\b(.*?)^```$", told, re.MULTILINE | re.DOTALL)
    assert usage
    for option in first_cells(options):
        assert option.startswith("--") <= (option in usage[1])
    assert "| 0 |" in codes


# Words


def words_of(module: ModuleType) -> set[str]:
    """What a public module offers: what it lists, or else what it defines."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return set(listed)
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (getattr(value, "__module__", None) == module.__name__ or type(value).__name__ == "Signal")
        and not isinstance(value, ModuleType)
    }


@pytest.mark.parametrize("name", ["", *sorted(set(PUBLIC_MODULES) - {"exceptions"})])
def test_every_public_word_is_there_and_no_other(name: str) -> None:
    dotted = f"{PACKAGE}.{name}".rstrip(".")
    told = section("words", dotted).partition("\n### ")[0]
    assert {cell.partition("(")[0] for cell in first_cells(told)} == words_of(importlib.import_module(dotted))


def test_whatever_a_manager_can_do_is_there() -> None:
    told = {cell.partition("(")[0] for cell in first_cells(section("words", "On its manager"))}
    own = {name for name, value in vars(EventSourcedManager).items() if inspect.isfunction(value) and name[0] != "_"}
    of_django = {"get_queryset", "get"}  # they do what they do on any manager
    assert told == own - of_django


def test_whatever_a_model_can_do_is_there() -> None:
    told = {cell.partition("(")[0] for cell in first_cells(section("words", "On a model"))}
    of_django = {"Meta", "save_base", "from_db", "objects"}
    own = {name for name in vars(EventSourcedModel) if name[0] != "_"}
    own |= {field.name for field in EventSourcedModel._meta.local_fields} | {"stream_type"}
    assert told == own - of_django


# Errors


def test_every_error_is_there_with_its_place_in_the_tree() -> None:
    errors = {
        name
        for name, value in vars(exceptions).items()
        if isinstance(value, type) and issubclass(value, exceptions.EventSourcingError)
    }
    assert sorted(first_cells(section("errors", "When it is raised, and what to do"))) == sorted(errors)
    tree = [re.sub(r"  .*", "", line.strip()) for line in (exceptions.__doc__ or "").splitlines() if "──" in line]
    assert tree
    for line in tree:
        assert line in text_of("errors")
