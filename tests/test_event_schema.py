"""The JSON Schema of an event says what the codec writes, and lets nothing else pass.

Judged by ``jsonschema-rs``, which checks formats, too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any, Literal, NewType, Optional, get_args, get_origin
from zoneinfo import ZoneInfo

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator, meta

from demo_bank import events as bank_events
from demo_bank import payments
from eventsourcing_app.events.codec import decode, encode
from eventsourcing_app.events.containers import CONTAINERS
from eventsourcing_app.events.declare import declaration_of, event, field_types
from eventsourcing_app.events.registry import Declaration, registry
from eventsourcing_app.events.scalars import SCALARS
from eventsourcing_app.events.schema import DIALECT, SCALAR_SCHEMAS, description_of, schema_of
from tests.samples.events import EverythingHappened
from tests.test_event_codec import DECIMALS, FIELDS, FLOATS, INTEGERS, MOMENTS, NODES, TEXT, Colour, Node

INSTALLED = [each for each in registry.all() if each.cls.__module__.split(".")[0] in ("demo_bank", "eventsourcing_app")]
SAMPLES = [each for each in registry.all() if each.cls.__module__.startswith("tests.samples.")]
"""The declarations that a project would have; test modules declare others, some of them wrong on purpose."""

Code = NewType("Code", str)


@dataclass(frozen=True)
class Same:
    """One of two classes of one name."""

    number: int


FirstSame = Same


@dataclass(frozen=True)
class Same:  # type: ignore[no-redef]
    """The other."""

    text: str


SecondSame = Same


@dataclass(frozen=True, eq=False)
class ByIdentity:
    """Two of them are never equal."""

    number: int


class NoDataclass:
    pass


@event("schema.folder")
class Folder:
    """A folder.

    With folders in it, and things of all kinds.
    """

    name: Code
    nodes: list[Node]
    one: FirstSame
    other: SecondSame | None = None
    amount: Decimal = Decimal("1.50")
    since: datetime = datetime(2026, 11, 1, tzinfo=UTC)
    colour: Colour = Colour.RED
    seen: list[str] = field(default_factory=list)


MORE: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "Node": (Node, NODES),
    "set of Decimal": (set[Decimal], st.sets(DECIMALS)),
    "set of datetime": (set[datetime], st.sets(MOMENTS)),
    "set of Enum": (set[Colour], st.sets(st.sampled_from(Colour))),
    "frozenset of tuple": (frozenset[tuple[int, str]], st.frozensets(st.tuples(INTEGERS, TEXT))),
    "frozenset of objects": (frozenset[ByIdentity], st.frozensets(st.builds(ByIdentity, number=INTEGERS))),
    "dict of floats": (dict[str, float], st.dictionaries(TEXT, FLOATS)),
    "dict of Optional": (dict[str, Optional[int]], st.dictionaries(TEXT, st.none() | INTEGERS)),  # noqa: UP045
}
KINDS = {**FIELDS, **MORE}
VALUES = {name: values for name, (_, values) in KINDS.items()}


@cache
def event_of(kind: str) -> type:
    """An event with one field of this kind."""
    body = {"__annotations__": {"value": KINDS[kind][0]}, "__module__": __name__, "__doc__": "One value."}
    made: type = event(f"schema.{kind.replace(' ', '_')}")(type(kind.title().replace(" ", ""), (), body))
    return made


@cache
def judge(declaration: Declaration) -> Draft202012Validator:
    return Draft202012Validator(schema_of(declaration), validate_formats=True)


def judge_of(kind: str) -> Draft202012Validator:
    return judge(declaration_of(event_of(kind)))


def written(kind: str, value: object) -> str:
    return encode(event_of(kind)(value=value))


# What is written passes


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(data=st.data())
def test_whatever_the_codec_writes_passes(kind: str, data: st.DataObject) -> None:
    text = written(kind, data.draw(VALUES[kind]))
    judge_of(kind).validate(json.loads(text))


SCALAR_VALUES: dict[Any, st.SearchStrategy[Any]] = {
    annotation: values for annotation, values in FIELDS.values() if annotation in SCALARS
}


@pytest.mark.parametrize("declaration", [*INSTALLED, *SAMPLES], ids=lambda declaration: declaration.name)
@settings(max_examples=20)
@given(data=st.data())
def test_every_declared_event_passes_its_own_schema(declaration: Declaration, data: st.DataObject) -> None:
    values = {name: data.draw(a_value_of(annotation)) for name, annotation in field_types(declaration.cls).items()}
    found = json.loads(encode(declaration.cls(**values)))
    judge(declaration).validate(found)
    # With a field more it is another event, and so it is without one that it needs.
    assert not judge(declaration).is_valid({**found, "more": 1})
    for name in schema_of(declaration)["required"]:  # type: ignore[attr-defined]
        assert not judge(declaration).is_valid({key: value for key, value in found.items() if key != name})


def a_value_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Any value that an event can hold in a field of this type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in SCALAR_VALUES:
        return SCALAR_VALUES[annotation]
    if origin is Literal:
        return st.sampled_from(arguments)
    if type(None) in arguments:
        return st.none() | a_value_of(arguments[0])
    if origin is dict:
        return st.dictionaries(TEXT, a_value_of(arguments[1]), max_size=3)
    if origin is tuple and arguments[-1] is not Ellipsis:
        return st.tuples(*map(a_value_of, arguments))
    if origin is not None:
        return st.lists(a_value_of(arguments[0]), max_size=3, unique=origin in (set, frozenset)).map(origin)
    if isinstance(annotation, type) and is_dataclass(annotation):
        fields = {name: a_value_of(each) for name, each in field_types(annotation).items()}
        return st.fixed_dictionaries(fields).map(lambda values: annotation(**values))
    return st.sampled_from(annotation)


def test_what_a_set_tells_apart_and_the_text_does_not_passes_too() -> None:
    # One moment, which no two zones of which one turns its clock back agree on (PEP 495).
    berlin = datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
    moments = {berlin, datetime(2026, 10, 25, 1, 30, tzinfo=UTC)}
    things = frozenset({ByIdentity(number=1), ByIdentity(number=1)})
    for kind, values in (("set of datetime", moments), ("frozenset of objects", things)):
        text = written(kind, values)
        assert len(json.loads(text)["value"]) == 2
        judge_of(kind).validate(json.loads(text))


# Nothing else passes


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(data=st.data())
def test_what_passes_can_be_read(kind: str, data: st.DataObject) -> None:
    other = data.draw(st.sampled_from(sorted(KINDS)))
    text = written(other, data.draw(VALUES[other]))
    if judge_of(kind).is_valid(json.loads(text)):
        decode(declaration_of(event_of(kind)), text)


WRONG: dict[str, list[object]] = {
    "str": [1, None, ["a"]],
    "bool": [0, 1, "true", None],
    "int": [1.5, "1", True, 2**53, -(2**53), None],
    "float": ["1.0", True, None],
    "Decimal": [1.5, 1, "", "1,5", "1.", ".5", "01", "+1", "1e5", "1E5", "1E+05", "NaN", "Infinity", "1.5\n", "١"],
    "date": ["2026-13-01", "2026-02-30", "2026-1-1", "20260101", "2026-01-01T00:00:00Z", 20260101],
    "datetime": [
        *("2026-01-01T00:00:00", "2026-01-01T00:00:00+00:00", "2026-01-01 00:00:00Z", "2026-01-01T24:00:00Z"),
        *("2026-01-01T00:00:60Z", "2026-01-01T00:00Z", "2026-01-01T00:00:00.5Z", "2026-02-30T00:00:00Z", 1767225600),
    ],
    "time": ["24:00:00", "12:00", "12:00:00Z", "12:00:00+01:00", "12:60:00", "12:00:00.5"],
    "timedelta": ["1D", "P", "PT", "P1W", "P1Y", "PT1H", "-P0D", "P0DT1S", "PT1S1D", "P1DT", 86400],
    "UUID": ["0" * 32, "00000000-0000-0000-0000-00000000000", "0000000A-0000-0000-0000-00000000000A", 0],
    "Enum": ["RED", "green", 0, None],
    "IntEnum": [3, "1", "LOW"],
    "Literal": ["b", 2, False, "1"],
    "Optional": ["x", 1],
    "list": ["1.5", {"0": "1.5"}, [1.5], [None]],
    "tuple": [[], ["a", "1"], ["a", "1", "2026-01-01T00:00:00Z", 1], ["a", 1, "2026-01-01T00:00:00Z"]],
    "dict": [[], {"a": ["x"]}, {"a": None}],
    "set of Decimal": [["1", "1"], ["x"]],
    "set of Enum": [["red", "red"]],
    "variadic tuple": [[{"amount": "1"}, {"amount": 1}], [{"amount": "1", "more": 1}], [{}]],
    "Node": [{"name": "a", "children": [{"name": 1}]}, {"name": "a", "by_name": {"b": {"children": []}}}, "a"],
}


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in WRONG.items() for value in values])
def test_what_the_codec_would_not_write_does_not_pass(kind: str, value: object) -> None:
    assert not judge_of(kind).is_valid({"value": value})


# What it says


def test_every_type_that_the_codec_knows_has_a_schema() -> None:
    assert set(SCALAR_SCHEMAS) == set(SCALARS)
    assert set(CONTAINERS) == {list, set, frozenset, tuple, dict}


def test_a_schema_is_of_the_draft_that_it_names() -> None:
    for declaration in [*INSTALLED, *SAMPLES, declaration_of(Folder)]:
        schema = schema_of(declaration)
        assert schema["$schema"] == DIALECT
        meta.validate(schema)


def test_it_tells_names_docstrings_and_defaults_and_which_fields_may_be_missing() -> None:
    schema: Any = schema_of(declaration_of(Folder))
    assert (schema["title"], schema["description"]) == (
        "Folder",
        "A folder.\n\nWith folders in it, and things of all kinds.",
    )
    assert schema["required"] == ["name", "nodes", "one"]
    assert schema["additionalProperties"] is False
    defaults = {name: told["default"] for name, told in schema["properties"].items() if "default" in told}
    assert defaults == {"other": None, "amount": "1.50", "since": "2026-11-01T00:00:00Z", "colour": "red"}
    judge(declaration_of(Folder)).validate({"name": "a", "nodes": [], "one": {"number": 1}})


def test_two_classes_of_one_name_are_told_apart() -> None:
    schema: Any = schema_of(declaration_of(Folder))
    assert sorted(schema["$defs"]) == ["Node", "Same", "Same2"]
    assert schema["properties"]["one"] == {"$ref": "#/$defs/Same"}
    assert list(schema["$defs"]["Same2"]["properties"]) == ["text"]


def test_the_docstring_that_dataclass_makes_up_is_none() -> None:
    @event("schema.bare")
    class Bare:
        number: int

    assert description_of(Bare) == ""
    assert description_of(EverythingHappened) == "One field of each type that an event may have."
    assert "description" not in schema_of(declaration_of(Bare))


def test_an_event_that_cannot_be_stored_has_no_schema() -> None:
    @event("schema.wrong")
    class Wrong:
        what: NoDataclass

    with pytest.raises(ImproperlyConfigured, match=r"schema\.wrong"):
        schema_of(declaration_of(Wrong))


def test_a_schema_is_the_same_each_time() -> None:
    for declaration in [*INSTALLED, *SAMPLES]:
        assert json.dumps(schema_of(declaration)) == json.dumps(schema_of(declaration))


def test_the_installed_events_are_among_those_judged() -> None:
    assert apps.ready
    judged = {each.cls for each in [*INSTALLED, *SAMPLES]}
    assert EverythingHappened in judged
    declared = [
        value
        for module in (bank_events, payments)
        for value in vars(module).values()
        if isinstance(value, type) and "__event__" in vars(value)
    ]
    assert declared
    assert judged >= set(declared)
