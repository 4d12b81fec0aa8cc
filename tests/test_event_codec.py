"""An event is stored as canonical text and read back equal, or it is refused with the place of what is wrong."""

from __future__ import annotations

import decimal
import json
from dataclasses import InitVar, dataclass, field, make_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag, StrEnum
from typing import Any, Literal, NewType, Optional, Union
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import rfc8785
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import lazystr
from django.utils.safestring import mark_safe
from hypothesis import given
from hypothesis import strategies as st

from eventsourcing_app.events.codec import decode, encode, problems
from eventsourcing_app.events.declare import declaration_of, event
from eventsourcing_app.exceptions import EventRefused, EventUnreadable

MAX = 2**53 - 1
Code = NewType("Code", str)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Word(StrEnum):
    YES = "yes"


class Mixed(Enum):
    A = "a"
    B = 1


class Bits(IntFlag):
    A = 1


@dataclass(frozen=True)
class Line:
    amount: Decimal
    count: int = 1


@dataclass
class Node:
    name: str
    children: list[Node] = field(default_factory=list)
    by_name: dict[str, Optional[Node]] = field(default_factory=dict)  # noqa: UP045 - both spellings are read


@event("codec.order")
class Order:
    lines: list[Line] = field(default_factory=list)
    rates: dict[str, Decimal] = field(default_factory=dict)
    pair: tuple[int, Decimal] = (0, Decimal(0))
    root: Node | None = None
    text: str = ""
    flag: bool = False
    number: int = 0
    real: float | None = None
    amount: Decimal = Decimal("0.00")
    day: date | None = None
    at: datetime | None = None
    clock: time | None = None
    took: timedelta | None = None
    key: UUID | None = None
    colour: Colour | None = None
    kind: Literal["a", 1, True, None] = None
    tags: set[str] = field(default_factory=set)


@event("codec.plain")
class Plain:
    amount: Decimal
    text: str
    key: UUID
    at: datetime
    rates: dict[str, int] = field(default_factory=dict)


@event("codec.empty")
class Empty:
    pass


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
INTEGERS = st.integers(-MAX, MAX)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)
OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.just(UTC) | OFFSETS)  # noqa: DTZ001
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
LINES = st.builds(Line, amount=DECIMALS, count=INTEGERS)
NODES = st.recursive(
    st.builds(Node, name=TEXT, children=st.just([]), by_name=st.just({})),
    lambda inner: st.builds(
        Node,
        name=TEXT,
        children=st.lists(inner, max_size=2),
        by_name=st.dictionaries(TEXT, st.none() | inner, max_size=2),
    ),
    max_leaves=5,
)
FIELDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "str": (str, TEXT),
    "bool": (bool, st.booleans()),
    "int": (int, INTEGERS),
    "float": (float, FLOATS | INTEGERS),
    "Decimal": (Decimal, DECIMALS),
    "date": (date, st.dates()),
    "datetime": (datetime, MOMENTS),
    "time": (time, st.times()),
    "timedelta": (timedelta, st.timedeltas()),
    "UUID": (UUID, st.uuids()),
    "Enum": (Colour, st.sampled_from(Colour)),
    "IntEnum": (Level, st.sampled_from(Level)),
    "Literal": (Literal["a", 1, True, None], st.sampled_from(["a", 1, True, None])),
    "Literal of str": (Literal["a", "b"], st.sampled_from(["a", "b"])),
    "Optional": (Optional[Decimal], st.none() | DECIMALS),  # noqa: UP045
    "NewType": (Code, TEXT),
    "list": (list[Decimal], st.lists(DECIMALS)),
    "list of list": (list[list[int]], st.lists(st.lists(INTEGERS))),
    "tuple": (tuple[str, Decimal, datetime], st.tuples(TEXT, DECIMALS, MOMENTS)),
    "variadic tuple": (tuple[Line, ...], st.lists(LINES).map(tuple)),
    "dict": (dict[str, list[UUID]], st.dictionaries(TEXT, st.lists(st.uuids()))),
    "dict of float": (dict[str, float], st.dictionaries(TEXT, FLOATS)),
    "dict of Decimal": (dict[str, Decimal], st.dictionaries(TEXT, DECIMALS)),
    "set of str": (set[str], st.sets(TEXT)),
    "set of int": (frozenset[int], st.frozensets(INTEGERS)),
    "set of Decimal": (set[Decimal], st.sets(DECIMALS)),
    "set of datetime": (frozenset[datetime], st.frozensets(MOMENTS)),
    "set of tuple": (set[tuple[str, int]], st.sets(st.tuples(TEXT, INTEGERS))),
    "set of dataclass": (set[Line], st.sets(LINES)),
    "dataclass": (Line, LINES),
    "recursive dataclass": (Node, NODES),
}


def event_with(annotation: Any) -> Any:
    """An event class with one field of this type; a new declaration replaces the one before."""
    return event("codec.one_field")(type("OneField", (), {"__annotations__": {"value": annotation}}))


CLASSES = {name: event_with(annotation) for name, (annotation, _) in FIELDS.items()}


@pytest.mark.parametrize("name", FIELDS)
@given(data=st.data())
def test_every_type_is_stored_canonically_and_read_back_equal(name: str, data: st.DataObject) -> None:
    cls = CLASSES[name]
    made = cls(value=data.draw(FIELDS[name][1]))
    text = encode(made)
    assert rfc8785.dumps(json.loads(text, parse_int=_as_rfc8785_reads)) == text.encode()
    read = decode(declaration_of(cls), text)
    assert read == made
    assert encode(read) == text
    assert type(read.value) is type(made.value) or name in ("float", "NewType")  # type: ignore[attr-defined]


def _as_rfc8785_reads(digits: str) -> int | float:
    return int(digits) if abs(int(digits)) <= MAX else float(digits)


def plain(**changes: Any) -> Plain:
    facts: dict[str, Any] = {
        "amount": Decimal("1.50"),
        "text": "ä",
        "key": UUID(int=1),
        "at": datetime(2024, 5, 1, 12, tzinfo=UTC),
    }
    return Plain(**facts | changes)


def test_the_stored_text_of_each_type_is_fixed() -> None:
    made = Order(
        lines=[Line(amount=Decimal("1.50"))],
        rates={"é": Decimal("1E+3")},
        real=1e20,
        day=date(2024, 2, 29),
        at=datetime(2024, 1, 1, 1, 30, 0, 5, tzinfo=timezone(timedelta(hours=2))),
        clock=time(23, 59),
        took=timedelta(microseconds=-5),
        key=UUID(int=1),
        colour=Colour.RED,
        kind=True,
        tags={"b", "a"},
    )
    assert encode(made) == (
        '{"amount":"0.00","at":"2023-12-31T23:30:00.000005Z","clock":"23:59:00","colour":"red","day":"2024-02-29",'
        '"flag":false,"key":"00000000-0000-0000-0000-000000000001","kind":true,"lines":[{"amount":"1.50","count":1}],'
        '"number":0,"pair":[0,"0"],"rates":{"é":"1E+3"},"real":100000000000000000000,"root":null,"tags":["a","b"],'
        '"text":"","took":"-PT0.000005S"}'
    )
    assert decode(declaration_of(Order), encode(made)) == made
    assert encode(Empty()) == "{}"
    assert decode(declaration_of(Empty), "{}") == Empty()


def test_a_decimal_keeps_its_digits_whatever_the_context() -> None:
    for text in ("1.50", "-0.00", "1E+3", "0E-7", "1" * 60):
        with decimal.localcontext(decimal.Context(capitals=0, prec=2, traps=[])):
            stored = encode(plain(amount=Decimal(text)))
            read = decode(declaration_of(Plain), stored)
        assert f'"amount":"{text}"' in stored
        assert str(read.amount) == text  # type: ignore[attr-defined]


def test_the_same_moment_has_one_text() -> None:
    berlin = datetime(2024, 5, 1, 14, tzinfo=ZoneInfo("Europe/Berlin"))
    assert encode(plain(at=berlin)) == encode(plain())


def test_the_second_two_oclock_of_an_autumn_night_is_an_hour_later() -> None:
    first = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    assert '"at":"2024-10-27T00:30:00Z"' in encode(plain(at=first))
    assert '"at":"2024-10-27T01:30:00Z"' in encode(plain(at=first.replace(fold=1)))


def test_keys_beyond_ascii_are_sorted_as_rfc8785_sorts_them() -> None:
    text = encode(plain(rates={"\ufb33": 1, "\U0001f600": 2}))
    assert text.index("\U0001f600") < text.index("\ufb33")
    assert rfc8785.dumps(json.loads(text)) == text.encode()


def test_subclasses_of_scalars_are_stored_as_plain_values() -> None:
    class Moment(datetime):
        pass

    made = plain(
        text=mark_safe("<b>"),
        at=Moment(2024, 5, 1, 12, tzinfo=UTC),
        amount=type("Money", (Decimal,), {})("1.5"),
        rates={Word.YES: Level.HIGH},
    )
    read: Any = decode(declaration_of(Plain), encode(made))
    assert read == made
    assert (type(read.text), type(read.at), type(read.amount)) == (str, datetime, Decimal)
    assert {type(key): type(value) for key, value in read.rates.items()} == {str: int}
    assert '"text":"yes"' in encode(plain(text=Word.YES))


def test_what_looks_like_an_escaped_nul_is_stored() -> None:
    made = plain(text="\\u0000")
    assert decode(declaration_of(Plain), encode(made)) == made


def test_the_order_of_a_set_does_not_matter() -> None:
    words = [f"w{n}" for n in range(50)]
    backwards = list(reversed(words))
    assert encode(Order(tags=set(words))) == encode(Order(tags=set(backwards)))


@pytest.mark.parametrize(
    ("changes", "path", "why"),
    [
        ({"lines": [Line(Decimal(1)), Line(Decimal(1)), Line(1)]}, "lines[2].amount", "expected Decimal, got int"),  # type: ignore[arg-type]
        ({"lines": (Line(Decimal(1)),)}, "lines", "expected list, got tuple"),
        ({"lines": [Line(Decimal("NaN"))]}, "lines[0].amount", "not finite"),
        ({"lines": [type("Sub", (Line,), {})(Decimal(1))]}, "lines[0]", "subclass"),
        ({"lines": [None]}, "lines[0]", "expected Line, got None"),
        ({"lines": None}, "lines", "expected list, got None"),
        ({"rates": {"EUR": Decimal(1), "a b": "1"}}, 'rates["a b"]', "expected Decimal, got str"),
        ({"rates": {1: Decimal(1)}}, "rates", "key of type int"),
        ({"rates": {"\0": Decimal(1)}}, "rates", "NUL"),
        ({"rates": {"\ud800": Decimal(1)}}, "rates", "surrogate"),
        ({"rates": []}, "rates", "expected dict, got list"),
        ({"pair": (1, 1)}, "pair[1]", "expected Decimal, got int"),
        ({"pair": (1,)}, "pair", "expected 2 items, got 1"),
        ({"pair": [1, Decimal(1)]}, "pair", "expected tuple, got list"),
        ({"root": Node("a", [Node("b"), Node(3)])}, "root.children[1].name", "expected str, got int"),  # type: ignore[arg-type]
        ({"root": Node("a", by_name={"x": Node("\0")})}, "root.by_name.x.name", "NUL"),
        ({"text": 1}, "text", "expected str, got int"),
        ({"text": None}, "text", "expected str, got None"),
        ({"text": b"a"}, "text", "expected str, got bytes"),
        ({"text": "a\0"}, "text", "NUL"),
        ({"text": "\ud800"}, "text", "surrogate"),
        ({"text": lazystr("a")}, "text", "lazy translation"),
        ({"flag": 1}, "flag", "expected bool, got int"),
        ({"number": True}, "number", "expected int, got bool"),
        ({"number": 1.0}, "number", "expected int, got float"),
        ({"number": MAX + 1}, "number", "2^53"),
        ({"number": -MAX - 1}, "number", "2^53"),
        ({"real": float("nan")}, "real", "not finite"),
        ({"real": float("-inf")}, "real", "not finite"),
        ({"real": True}, "real", "expected float, got bool"),
        ({"real": 10**400}, "real", "2^53"),
        ({"real": Decimal(1)}, "real", "expected float, got Decimal"),
        ({"amount": 1.5}, "amount", "expected Decimal, got float"),
        ({"amount": "1.5"}, "amount", "expected Decimal, got str"),
        ({"amount": Decimal("-Infinity")}, "amount", "not finite"),
        ({"amount": Decimal("sNaN")}, "amount", "not finite"),
        ({"day": datetime(2024, 1, 1, tzinfo=UTC)}, "day", "expected date, got datetime"),
        ({"at": datetime(2024, 1, 1)}, "at", "naive"),  # noqa: DTZ001
        ({"at": date(2024, 1, 1)}, "at", "expected datetime, got date"),
        ({"at": datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))}, "at", "years 1 to 9999"),
        ({"clock": time(1, tzinfo=UTC)}, "clock", "time zone"),
        ({"took": 5}, "took", "expected timedelta, got int"),
        ({"key": str(UUID(int=1))}, "key", "expected UUID, got str"),
        ({"colour": "red"}, "colour", "expected a member of Colour, got str"),
        ({"colour": Level.LOW}, "colour", "expected a member of Colour, got Level"),
        ({"kind": "b"}, "kind", "one of 'a', 1, True, None"),
        ({"kind": 1.0}, "kind", "got float"),
        ({"kind": []}, "kind", "got list"),
        ({"tags": ["a"]}, "tags", "expected set, got list"),
        ({"tags": {"a", "\0"}}, "tags[0]", "NUL"),
    ],
)
def test_a_value_that_would_not_be_read_back_is_refused_with_its_path(
    changes: dict[str, Any], path: str, why: str
) -> None:
    with pytest.raises(EventRefused, match=r"^codec\.order refused") as caught:
        encode(Order(**changes))
    assert caught.value.path == path
    assert why in caught.value.why


@pytest.mark.parametrize(
    ("changes", "path"), [({"text": "\0"}, "text"), ({"text": "\udfff"}, "text"), ({"rates": {"\0": 1}}, "rates")]
)
def test_the_fast_path_refuses_the_same_text(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(EventRefused) as caught:
        encode(plain(**changes))
    assert caught.value.path == path


def test_a_literal_tells_bool_from_int() -> None:
    cls = event_with(Literal[1, 2])
    assert encode(cls(value=1)) == '{"value":1}'
    with pytest.raises(EventRefused, match="got bool"):
        encode(cls(value=True))


def test_what_is_refused_is_not_repeated_in_the_message() -> None:
    with pytest.raises(EventRefused) as caught:
        encode(Order(amount="secret"))  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


def test_an_event_that_contains_itself_is_refused() -> None:
    node = Node("a")
    node.children.append(node)
    with pytest.raises(EventRefused, match="contains itself"):
        encode(Order(root=node))


def test_depth_and_size_are_limited_by_the_settings(settings: Any) -> None:
    root = Node("a", [Node("b", [Node("c")])])
    size = len(encode(plain()).encode())
    settings.EVENTSOURCING = {"MAX_EVENT_DEPTH": 5}
    with pytest.raises(EventRefused, match="5 levels"):
        encode(Order(root=root))
    settings.EVENTSOURCING = {"MAX_EVENT_DEPTH": 7}
    assert encode(Order(root=root))
    settings.EVENTSOURCING = {"MAX_EVENT_DEPTH": 1}
    with pytest.raises(EventRefused, match="1 levels") as caught:
        encode(plain(text="a", rates={"a": 1}))
    assert caught.value.path == "rates"
    settings.EVENTSOURCING = {"MAX_EVENT_BYTES": size}
    assert encode(plain())
    for made in (plain(text="ää"), plain(text="abc"), Order(text="x" * 200)):
        with pytest.raises(EventRefused, match="MAX_EVENT_BYTES"):
            encode(made)


GOOD = json.loads(encode(plain()))


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"amount": 1.5}, "at amount: Expected `str`, got `float`"),
        ({"amount": 1}, "at amount"),
        ({"amount": "NaN"}, "at amount: is not the text of a Decimal"),
        ({"amount": "1_000"}, "at amount"),
        ({"amount": " 1"}, "at amount"),
        ({"amount": "x"}, "at amount"),
        ({"at": "2024-05-01T12:00:00"}, "at at: Expected `datetime` with a timezone"),
        ({"at": 1714564800}, "at at"),
        ({"text": 1}, "at text"),
        ({"text": None}, "at text"),
        ({"text": "\0"}, "NUL"),
        ({"key": "1"}, "at key"),
        ({"rates": {"a": MAX + 1}}, r"at rates\[...\]"),
        ({"rates": {"a": True}}, "at rates"),
        ({"rates": {"a": 1.5}}, "at rates"),
        ({"other": 1}, "unknown field `other`"),
    ],
)
def test_stored_text_is_read_as_strictly_as_it_is_written(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(EventUnreadable, match=rf"^codec\.plain version 1 is unreadable.*{place}"):
        decode(declaration_of(Plain), json.dumps(GOOD | changes))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Enum", "green"),
        ("IntEnum", 3),
        ("Literal", "b"),
        ("Literal", 2),
        ("Literal", False),
        ("Literal of str", "c"),
        ("time", "10:00:00Z"),
        ("timedelta", 5),
        ("date", "2024-01-01T00:00:00Z"),
        ("bool", 1),
        ("int", True),
        ("int", 1.5),
        ("float", "1"),
        ("tuple", ["a"]),
        ("list", ["1", 2]),
        ("dataclass", {"amount": "1", "more": 1}),
        ("recursive dataclass", {"name": "a", "children": [{"name": 1}]}),
    ],
)
def test_a_value_of_another_type_is_not_read(name: str, value: object) -> None:
    with pytest.raises(EventUnreadable, match="value"):
        decode(declaration_of(CLASSES[name]), json.dumps({"value": value}))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"text":"a"}', "\ud800", '{"text":"\\ud800"}'])
def test_text_that_is_no_such_event_is_unreadable(text: str) -> None:
    with pytest.raises(EventUnreadable):
        decode(declaration_of(Plain), text)


def test_text_that_nests_without_end_is_unreadable() -> None:
    for levels in (400, 100_000):
        text = '{"value":' + '{"name":"a","children":[' * levels + "]}" * levels + "}"
        cls = CLASSES["recursive dataclass"]
        try:
            decode(declaration_of(cls), text)
        except EventUnreadable as error:
            assert "recursion" in str(error)  # noqa: PT017 - the smaller one may be read
        else:
            assert levels == 400


def test_places_inside_rebuilt_values_are_named() -> None:
    text = json.dumps({"lines": [{"amount": "1"}, {"amount": "NaN"}]})
    with pytest.raises(EventUnreadable, match=r"at lines\[1\]\.amount: is not the text"):
        decode(declaration_of(Order), text)
    with pytest.raises(EventUnreadable, match=r"at pair\[1\]"):
        decode(declaration_of(Order), '{"pair":[1,"x"]}')
    with pytest.raises(EventUnreadable, match=r"at rates\.EUR"):
        decode(declaration_of(Order), '{"rates":{"EUR":"x"}}')


def test_missing_fields_take_their_defaults() -> None:
    assert decode(declaration_of(Order), "{}") == Order()


def test_what_the_class_itself_refuses_is_unreadable() -> None:
    @event("codec.positive")
    class Positive:
        number: int

        def __post_init__(self) -> None:
            if self.number < 0:
                raise RuntimeError("must be positive")

    with pytest.raises(EventUnreadable, match="must be positive") as caught:
        decode(declaration_of(Positive), '{"number":-1}')
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_what_is_no_event_is_not_stored() -> None:
    with pytest.raises(TypeError, match="not a declared event"):
        encode(Line(amount=Decimal(1)))


@pytest.mark.parametrize(
    "annotation",
    [
        Any,
        object,
        None,
        bytes,
        list,
        dict,
        set,
        tuple,
        complex,
        int | str,
        Union[int, str, None],  # noqa: UP007
        dict[int, str],
        dict[Colour, str],
        set[list[int]],
        set[Node],
        frozenset[dict[str, int]],
        list[Any],
        Mixed,
        Bits,
        Literal[b"a"],
        Literal[2**53],
        Literal[Colour.RED],
        type[int],
        "Missing",
        InitVar[int],
        make_dataclass("Uninitialised", [("a", int, field(init=False, default=1))]),
        make_dataclass("Bad", [("a", bytes)]),
    ],
    ids=str,
)
def test_a_type_without_a_json_form_is_refused_by_name(annotation: Any) -> None:
    cls = event_with(annotation)
    assert len(problems(cls)) == 1
    with pytest.raises(ImproperlyConfigured, match=r"codec\.one_field"):
        encode(cls(value=1))
    with pytest.raises(EventUnreadable):
        decode(declaration_of(cls), '{"value":1}')


def test_every_problem_of_a_class_is_named_and_a_good_class_has_none() -> None:
    cls: Any = event("codec.many")(type("Many", (), {"__annotations__": {"a": bytes, "b": int, "c": list}}))
    assert [problem.split(":")[0] for problem in problems(cls)] == ["Many.a", "Many.c"]
    assert problems(Order) == []
