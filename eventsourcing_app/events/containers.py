"""Containers of event fields: lists, sets, tuples and dicts of what can itself be stored."""

from __future__ import annotations

import functools
from types import GenericAlias
from typing import TYPE_CHECKING, Any, cast

import msgspec

from eventsourcing_app.events.canonical import Refusal, check_key
from eventsourcing_app.events.declare import unwrapped
from eventsourcing_app.events.kinds import Kind, Unsupported
from eventsourcing_app.events.scalars import expected

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventsourcing_app.events.fieldtypes import Compiler

_encoder = msgspec.json.Encoder(order="sorted")


def _array(origin: type, compiler: Compiler, args: tuple[Any, ...]) -> Kind:
    """list, set, frozenset and tuple[X, ...]: any number of one type."""
    item = compiler.kind(args[0])
    is_set = origin in (set, frozenset)
    if is_set and not item.hashable:
        raise Unsupported("what is in a set must be hashable; use a list, tuples or frozen dataclasses.")
    dump, build = item.dump, item.build
    by_text = None if item.sortable else _encoder.encode

    def dump_array(values: object) -> list[Any]:
        if not isinstance(values, origin):
            raise expected(origin.__name__, values)
        made: list[Any] = []
        try:
            for value in cast("list[Any]", values):
                made.append(dump(value))  # noqa: PERF401 - its length is the place of a refusal
        except Refusal as refusal:
            if not is_set:
                refusal.at(len(made))
            raise
        return _sorted(made, by_text) if is_set else made

    def build_array(values: list[Any]) -> Any:
        made: list[Any] = []
        try:
            for value in values:
                made.append(cast("Callable[[Any], object]", build)(value))  # noqa: PERF401
        except Refusal as refusal:
            refusal.at(len(made))
            raise
        return made if origin is list else origin(made)

    # What msgspec decodes is rebuilt where it is not yet the value; until then it need not be hashable.
    wire_args = (item.wire, ...) if origin is tuple else (item.wire,)
    wire = GenericAlias(list, (item.wire,)) if build else GenericAlias(origin, wire_args)
    hashable = origin is frozenset or (origin is tuple and item.hashable)
    return Kind(dump_array, wire, build and build_array, depth=1 + item.depth, hashable=hashable)


def _sorted(values: list[Any], key: Callable[[Any], bytes] | None) -> list[Any]:
    try:
        return sorted(values, key=key)
    except UnicodeEncodeError:
        raise Refusal("contains a lone surrogate, which has no UTF-8 form") from None


def _tuple(compiler: Compiler, args: tuple[Any, ...]) -> Kind:
    if len(args) == 2 and args[1] is Ellipsis:
        return _array(tuple, compiler, args[:1])
    items = [compiler.kind(each) for each in args]
    dumps = [item.dump for item in items]
    builds = [(place, item.build) for place, item in enumerate(items) if item.build]

    def dump_tuple(values: object) -> list[object]:
        if not isinstance(values, tuple):
            raise expected("tuple", values)
        if len(values) != len(dumps):
            raise Refusal(f"expected {len(dumps)} items, got {len(values)}")
        made: list[object] = []
        try:
            for dump, value in zip(dumps, values, strict=True):
                made.append(dump(value))
        except Refusal as refusal:
            refusal.at(len(made))
            raise
        return made

    def build_tuple(values: tuple[Any, ...]) -> tuple[Any, ...]:
        made = list(values)
        try:
            for place, build in builds:
                made[place] = build(made[place])
        except Refusal as refusal:
            refusal.at(place)
            raise
        return tuple(made)

    depth = 1 + max(item.depth for item in items)
    hashable = all(item.hashable for item in items)
    wire = GenericAlias(tuple, tuple(item.wire for item in items))
    return Kind(dump_tuple, wire, build_tuple if builds else None, depth=depth, hashable=hashable)


def _dict(compiler: Compiler, args: tuple[Any, ...]) -> Kind:
    if unwrapped(args[0]) is not str:
        raise Unsupported("the keys of a dict must be str, as they are in JSON.")
    item = compiler.kind(args[1])
    compiler.keyed = True
    dump, build = item.dump, item.build

    def dump_dict(values: object) -> dict[str, object]:
        if not isinstance(values, dict):
            raise expected("dict", values)
        made: dict[str, object] = {}
        for key, value in values.items():
            name = key if type(key) is str else check_key(key)
            try:
                made[name] = dump(value)
            except Refusal as refusal:
                refusal.at(name)
                raise
        return made

    def build_dict(values: dict[str, Any]) -> dict[str, Any]:
        try:
            for name, value in values.items():
                values[name] = cast("Callable[[Any], object]", build)(value)
        except Refusal as refusal:
            refusal.at(name)
            raise
        return values

    wire = GenericAlias(dict, (str, item.wire))
    return Kind(dump_dict, wire, build and build_dict, depth=1 + item.depth, hashable=False)


CONTAINERS: dict[object, Callable[[Compiler, tuple[Any, ...]], Kind]] = {
    list: functools.partial(_array, list),
    set: functools.partial(_array, set),
    frozenset: functools.partial(_array, frozenset),
    tuple: _tuple,
    dict: _dict,
}
"""How each container is compiled, by its origin."""
