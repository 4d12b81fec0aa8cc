"""What a failing assertion prints: which events differ, and in which fields, instead of two long lines to compare."""

from __future__ import annotations

import dataclasses
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from eventsourcing_app.events.codec import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

_ABSENT = "nothing"


def shown(event: object) -> str:
    """Write an event as its call, without the module or function that its class is declared in."""
    return f"{type(event).__name__}({shown_arguments((), _fields(event))})"


def shown_arguments(args: Sequence[object], kwargs: Mapping[str, object]) -> str:
    """Write the arguments of a call."""
    return ", ".join([*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())])


def event_differences(expected: Sequence[object], found: Sequence[object], *, was: str = "recorded") -> str:
    """Return how two sequences of events differ, field by field; empty if they are equal. ``was`` is said of ``found``.

    Equal events are told by their text first and then by their type, so that a missing one does not shift the rest.
    """
    if list(expected) == list(found):
        return ""
    lines: list[str] = []
    for same, left, right in _aligned(expected, found, key=_identity):
        if same:
            lines += [f"    {shown(event)}" for event in right]
        else:
            lines += _unequal(left, right, was)
    return "\n".join(lines)


def state_differences(expected: Mapping[str, object], found: Mapping[str, object]) -> str:
    """Return how the fields of a state differ; empty if they are equal."""
    return "\n".join(_field_lines(_differences(expected, found, ""), "found", indent="  "))


def _unequal(expected: Sequence[object], found: Sequence[object], was: str) -> Iterator[str]:
    for same, left, right in _aligned(expected, found, key=type):
        if not same:
            yield from (f"  - {shown(event)} was expected, but not {was}" for event in left)
            yield from (f"  + {shown(event)} was {was}, but not expected" for event in right)
            continue
        for one, other in zip(left, right, strict=True):
            if one == other:
                yield f"    {shown(other)}"
            else:
                yield f"  ~ {type(other).__name__}"
                yield from _field_lines(_differences(_fields(one), _fields(other), ""), was)


def _aligned(
    expected: Sequence[object], found: Sequence[object], *, key: Callable[[object], Hashable]
) -> Iterator[tuple[bool, Sequence[object], Sequence[object]]]:
    keys = [key(event) for event in expected], [key(event) for event in found]
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, *keys, autojunk=False).get_opcodes():
        yield tag == "equal", expected[i1:i2], found[j1:j2]


def _identity(event: object) -> tuple[type, str]:
    return type(event), encode(event)


def _fields(value: Any) -> dict[str, object]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _differences(expected: Any, found: Any, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield path, expectation and finding of each difference: the innermost that can be told."""
    if expected == found:
        return
    if type(expected) is type(found) and dataclasses.is_dataclass(expected):
        expected, found = _fields(expected), _fields(found)
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in [*expected, *(name for name in found if name not in expected)]:
            place = f"{path}.{name}" if path else f"{name}"
            if name in expected and name in found:
                yield from _differences(expected[name], found[name], place)
            else:
                yield place, _value_or_absent(expected, name), _value_or_absent(found, name)
    elif isinstance(expected, list | tuple) and type(expected) is type(found) and len(expected) == len(found):
        for index, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from _differences(one, other, f"{path}[{index}]")
    else:
        yield path, repr(expected), repr(found)


def _value_or_absent(values: Mapping[str, object], name: str) -> str:
    return repr(values[name]) if name in values else _ABSENT


def _field_lines(differences: Iterator[tuple[str, str, str]], was: str, *, indent: str = "      ") -> Iterator[str]:
    width = max(len("expected"), len(was))
    for path, expected, found in differences:
        yield f"{indent}{path}"
        yield f"{indent}  {'expected':<{width}} {expected}"
        yield f"{indent}  {was:<{width}} {found}"
