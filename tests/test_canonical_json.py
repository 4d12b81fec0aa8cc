"""Canonical JSON text is exactly RFC 8785, and what JSON cannot hold is refused with its place."""

from __future__ import annotations

import json
import math

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from eventsourcing_app.events.canonical import MAX_INT, dumps, loads
from eventsourcing_app.exceptions import EventRefused, EventUnreadable

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
SCALARS = (
    st.none() | st.booleans() | st.integers(-MAX_INT, MAX_INT) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=15)


class Label(str):
    """A str that is not exactly one."""

    __slots__ = ()


@given(VALUES)
def test_text_is_what_the_rfc8785_package_writes(value: object) -> None:
    text = dumps(value)
    assert text.encode() == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(VALUES)
def test_text_read_and_written_again_stays_the_same(value: object) -> None:
    text = dumps(value)
    assert loads(text) == value
    assert dumps(loads(text)) == text


def test_keys_are_sorted_by_utf16_units_even_beyond_the_basic_plane() -> None:
    assert dumps({"\ufb33": 1, "\U0001f600": 2, "a": 3}) == '{"a":3,"\U0001f600":2,"\ufb33":1}'


@pytest.mark.parametrize("number", [1e16, 1e20, -1e20, 1e21, 5e-324, 2.0**53, 1.7976931348623157e308])
def test_a_large_float_is_read_back_as_the_same_number(number: float) -> None:
    assert loads(dumps([number])) == [number]
    assert dumps(loads(dumps([number]))) == dumps([number])


@pytest.mark.parametrize(
    "text",
    ['{"b":1,"a":2}', '{"a": 1}', '{"a":1,"a":1}', "[1.0]", "[1e2]", '["\\u0041"]', "[9007199254740993]", "[-0]"],
)
def test_text_that_is_not_canonical_is_noticed(text: str) -> None:
    assert dumps(loads(text)) != text


@pytest.mark.parametrize(
    "text", ["", "{", "[NaN]", "[Infinity]", "[1e400]", "[1] 2", "{'a':1}", "[" * 100_000, "\ud800"]
)
def test_what_is_not_json_is_unreadable(text: str) -> None:
    with pytest.raises(EventUnreadable):
        loads(text)


@pytest.mark.parametrize(
    ("value", "path", "why"),
    [
        ({"a": [0, math.nan]}, "a[1]", "finite"),
        ({"a": {"b": math.inf}}, "a.b", "finite"),
        ({"a": ["x", {"b": "\0"}]}, "a[1].b", "NUL"),
        (["\ud800"], "[0]", "surrogate"),
        ({"a b": MAX_INT + 1}, '["a b"]', "2^53"),
        ({"a": -MAX_INT - 1}, "a", "2^53"),
        ({"a": {1: 2}}, "a", "key of type int"),
        ({"a": {"\0": 2}}, "a", "NUL"),
        ({"a": {"\ud800": 2}}, "a", "surrogate"),
        ({"a": b""}, "a", "bytes is not a JSON value"),
        ({"a": {1}}, "a", "set is not a JSON value"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_path(value: object, path: str, why: str) -> None:
    with pytest.raises(EventRefused, match=r"^metadata refused") as caught:
        dumps(value, subject="metadata")
    assert caught.value.path == path
    assert why in caught.value.why


def test_the_largest_integers_are_kept() -> None:
    assert dumps([MAX_INT, -MAX_INT]) == "[9007199254740991,-9007199254740991]"
    assert loads(dumps([MAX_INT, -MAX_INT])) == [MAX_INT, -MAX_INT]


def test_subclasses_become_plain_values_and_tuples_arrays() -> None:
    assert dumps({Label("k"): (Label("v"), True)}) == '{"k":["v",true]}'


def test_depth_is_limited_and_counts_containers() -> None:
    assert dumps([[1]], max_depth=2) == "[[1]]"
    with pytest.raises(EventRefused) as caught:
        dumps({"a": [[1]]}, max_depth=2)
    assert caught.value.path == "a[0]"


@pytest.mark.parametrize("limit", [None, 32])
def test_a_value_that_contains_itself_is_refused(limit: int | None) -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(EventRefused, match="contains itself"):
        dumps({"a": endless}, max_depth=limit)


def test_size_is_limited_in_bytes_of_utf8() -> None:
    assert dumps("ä", max_bytes=4) == '"ä"'
    with pytest.raises(EventRefused, match="4 bytes, more than the 3 allowed"):
        dumps("ä", max_bytes=3)


def test_values_that_are_written_are_judged_by_the_independent_package() -> None:
    text = dumps({"é": 1.5, "z": ["\u2028", "\x7f", "\b\x1f"]})
    assert rfc8785.dumps(json.loads(text)) == text.encode()
