"""A declared event is an immutable dataclass with one stable wire name; a declaration that cannot work is refused."""

from __future__ import annotations

import dataclasses
import importlib
import sys
import textwrap
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from django.core.exceptions import ImproperlyConfigured

from eventsourcing_app.events import codec
from eventsourcing_app.events.declare import declaration_of, event
from eventsourcing_app.events.registry import Declaration, Registry, registry
from eventsourcing_app.exceptions import EventUnreadable, UnknownEventType

if TYPE_CHECKING:
    from pathlib import Path


@event("declarations.opened", version=2, ends=True, aliases=["declarations.started"], upcasters={1: lambda data: data})
class Opened:
    colours: ClassVar[int] = 3
    owner: str
    note: str = ""
    tags: list[str] = dataclasses.field(default_factory=list)


def declared(name: str, place: str, *aliases: str) -> Declaration:
    cls = type(place, (), {"__module__": "somewhere"})
    return Declaration(name=name, cls=cls, aliases=aliases)


def test_an_event_is_frozen_keyword_only_and_slotted() -> None:
    made = Opened(owner="Ada")
    assert made == Opened(owner="Ada", note="", tags=[])
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.owner = "Eve"  # type: ignore[misc]
    with pytest.raises(TypeError):
        Opened("Ada")  # type: ignore[call-arg]
    assert not hasattr(made, "__dict__")


def test_a_declaration_holds_what_was_said() -> None:
    declaration = declaration_of(Opened)
    assert declaration is declaration_of(Opened(owner="Ada"))
    assert (declaration.name, declaration.version, declaration.ends) == ("declarations.opened", 2, True)
    assert declaration.cls is Opened
    assert list(declaration.upcasters) == [1]


def test_an_event_is_found_by_its_name_and_by_its_alias() -> None:
    declaration = declaration_of(Opened)
    assert registry.find("declarations.opened") is declaration
    assert registry.get("declarations.started") is declaration
    assert registry.names_of(Opened) == ("declarations.opened", "declarations.started")
    assert declaration in registry.all()


def test_an_unknown_name_is_not_found() -> None:
    assert registry.find("declarations.never") is None
    with pytest.raises(UnknownEventType, match=r"declarations\.never"):
        registry.get("declarations.never")


def test_what_is_not_declared_has_no_declaration() -> None:
    class Sub(Opened):
        pass

    for other in (object(), str, Sub, Sub(owner="Ada")):
        with pytest.raises(TypeError, match="not a declared event"):
            declaration_of(other)
    assert registry.names_of(Sub) == ()


@pytest.mark.parametrize("name", ["", "a.", ".a", "a..b", "a b", "ä", "a\n", "a/b", "x" * 201, None])
def test_a_name_that_is_no_wire_name_is_refused(name: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="wire name"):
        event(name)
    with pytest.raises(ImproperlyConfigured, match="wire name"):
        event("fine", aliases=[name])


@pytest.mark.parametrize("name", ["a", "a.b-c.D_1", "x" * 200])
def test_a_wire_name_is_accepted(name: str) -> None:
    event(name)


@pytest.mark.parametrize(
    "options",
    [
        {"version": 0},
        {"version": True},
        {"aliases": ["a.b"]},
        {"aliases": ["c", "c"]},
        {"version": 2, "upcasters": {2: dict}},
        {"version": 2, "upcasters": {0: dict}},
        {"version": 2, "upcasters": {"1": dict}},
        {"version": 2, "upcasters": {1: None}},
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ImproperlyConfigured):
        event("a.b", **options)


def test_a_class_that_cannot_be_read_back_is_refused() -> None:
    class Computed:
        total: int = dataclasses.field(init=False, default=0)

    class Base:
        owner: str

    for cls in (Computed, dataclasses.dataclass(Base), Opened, "no class"):
        with pytest.raises(ImproperlyConfigured):
            event("a.b")(cls)  # type: ignore[arg-type]


def test_a_name_claimed_by_two_classes_is_reported_and_not_usable() -> None:
    several = Registry()
    first, second, third = declared("a", "First"), declared("b", "Second", "a"), declared("c", "Third")
    for each in (first, second, third):
        several.add(each)
    assert several.duplicates() == {"a": (first, second)}
    with pytest.raises(ImproperlyConfigured, match=r"somewhere\.First, somewhere\.Second"):
        several.find("a")
    with pytest.raises(ImproperlyConfigured):
        several.get("a")
    assert several.get("b") is second
    assert several.all() == (first, second, third)


def test_an_ambiguous_event_is_neither_written_nor_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "ambiguous", frozenset({"declarations.opened"}))
    with pytest.raises(ImproperlyConfigured, match=r"declarations\.opened"):
        codec.encode(Opened(owner="Ada"))
    with pytest.raises(EventUnreadable, match=r"declarations\.opened"):
        codec.decode(declaration_of(Opened), '{"owner":"Ada"}')


def test_a_module_that_is_loaded_again_replaces_its_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for slot in ("_by_place", "_by_name", "ambiguous"):
        monkeypatch.setattr(registry, slot, getattr(registry, slot))
    registry._by_place = dict(registry._by_place)
    source = tmp_path / "reloaded_events.py"
    text = """
        from eventsourcing_app.events.declare import event

        @event("reloaded.{name}")
        class Happened:
            what: str
    """
    source.write_text(textwrap.dedent(text.format(name="before")))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = importlib.import_module("reloaded_events")
    monkeypatch.delitem(sys.modules, "reloaded_events", raising=False)
    sys.modules["reloaded_events"] = module
    old = module.Happened(what="x")
    again = importlib.reload(module)
    assert registry.duplicates() == {}
    assert registry.get("reloaded.before").cls is again.Happened is not type(old)
    assert codec.encode(old) == '{"what":"x"}'
    source.write_text(textwrap.dedent(text.format(name="after_a_rename")))
    importlib.reload(module)
    assert registry.find("reloaded.before") is None
    assert registry.get("reloaded.after_a_rename").cls is module.Happened
