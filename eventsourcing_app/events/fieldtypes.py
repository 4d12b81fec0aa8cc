"""Field types of events: for each annotation, how its values are checked, written and read.

    str, bool, int, float, Decimal      as they are declared: no bool for an int, no int for a Decimal; an int for a
                                        float becomes one. Decimal keeps its digits: 1.50 is stored as "1.50".
    date, time, timedelta, UUID         text. A time has no offset; a datetime must have one and is stored in UTC.
    Enum, Literal                       by value: all str or all int; a Literal also bool and None
    list, tuple, dict[str, …], set      arrays, objects; sets are sorted. Other containers have no type to read back.
    X | None, dataclasses               also nested and recursive; a subclass is not its base: it would lose fields

Subclasses of scalar types are stored as the plain value (``SafeString``, ``IntEnum``).
"""

from __future__ import annotations

import dataclasses
import math
from datetime import datetime, time
from decimal import Decimal
from enum import Enum, EnumMeta, Flag
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, cast, get_args, get_origin

import msgspec
from django.core.exceptions import ImproperlyConfigured

from eventsourcing_app.events.canonical import MAX_INT, Refusal
from eventsourcing_app.events.containers import CONTAINERS
from eventsourcing_app.events.declare import advice, field_types, unwrapped
from eventsourcing_app.events.kinds import Kind, Unsupported
from eventsourcing_app.events.scalars import SCALARS, expected, read_decimal

if TYPE_CHECKING:
    from collections.abc import Callable

_encoder = msgspec.json.Encoder(order="sorted")
_WIRE: dict[object, object] = {
    int: Annotated[int, msgspec.Meta(ge=-MAX_INT, le=MAX_INT)],
    Decimal: str,
    datetime: Annotated[datetime, msgspec.Meta(tz=True)],
    time: Annotated[time, msgspec.Meta(tz=False)],
}


class Compiler:
    """Compiles one event class with everything nested in it."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.floats = False
        self.keyed = False
        """Whether a key can hold more than ASCII."""
        self._classes: dict[type, Kind] = {}

    def kind(self, annotation: Any) -> Kind:
        """Compile one annotation."""
        annotation = unwrapped(annotation)
        if isinstance(annotation, type) and annotation in SCALARS:
            return self._scalar(annotation)
        origin, args = get_origin(annotation), get_args(annotation)
        if origin in (Union, UnionType):
            return self._optional(args)
        if origin is Literal:
            return _literal(args)
        if origin in CONTAINERS and args:
            return CONTAINERS[origin](self, args)
        if isinstance(annotation, EnumMeta):
            return _enum(cast("type[Enum]", annotation))
        if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
            return self.dataclass(annotation)
        raise Unsupported(advice(annotation))

    def dataclass(self, cls: type) -> Kind:
        """Compile a dataclass; what cannot be stored is added to ``problems``."""
        known = self._classes.get(cls)
        if known is not None:
            return _late(known)
        kind = self._classes[cls] = Kind(dump=_unfinished, wire=None, depth=math.inf, hashable=cls.__hash__ is not None)
        try:
            types = field_types(cls)
            if not cls.__dataclass_params__.init:  # type: ignore[attr-defined]
                raise ImproperlyConfigured(f"{cls.__qualname__} is a dataclass with init=False.")
        except ImproperlyConfigured as error:
            self.problems.append(str(error))
            return kind
        optional = {
            spec.name
            for spec in dataclasses.fields(cls)
            if spec.default is not dataclasses.MISSING or spec.default_factory is not dataclasses.MISSING
        }
        columns = [(name, Any, msgspec.UNSET) if name in optional else (name, Any) for name in types]
        kind.wire = msgspec.defstruct(cls.__name__, columns, kw_only=True, forbid_unknown_fields=True)
        fields: dict[str, Kind] = {}
        for name, annotation in types.items():
            try:
                fields[name] = self.kind(annotation)
            except Unsupported as error:
                self.problems.append(f"{cls.__qualname__}.{name}: {error}")
            except RecursionError:
                self.problems.append(f"{cls.__qualname__}.{name}: its type alias contains itself.")
        # msgspec looks at the annotations when the decoder is made; by then recursive classes are complete.
        kind.wire.__annotations__ = {
            name: field.wire | msgspec.UnsetType if name in optional else field.wire for name, field in fields.items()
        }
        self.keyed = self.keyed or not all(map(str.isascii, types))
        kind.dump = _object_dumper(cls, {name: field.dump for name, field in fields.items()})
        kind.build = _object_builder(cls, optional, {name: f.build for name, f in fields.items() if f.build})
        kind.depth = 1 + max((field.depth for field in fields.values()), default=0)
        return kind

    def _scalar(self, cls: type) -> Kind:
        self.floats = self.floats or cls is float
        build = read_decimal if cls is Decimal else None
        # Datetimes may be written as text: see there. They sort by it, too, but not beside the others.
        sortable = cls in (str, bool, int, float, Decimal)
        return Kind(SCALARS[cls], _WIRE.get(cls, cls), build, sortable=sortable)

    def _optional(self, args: tuple[Any, ...]) -> Kind:
        some = [each for each in args if each is not NoneType]
        if len(some) != 1 or len(args) != 2:
            raise Unsupported("a union of several types cannot be read back; declare one type, or X | None.")
        inner = self.kind(some[0])
        dump, build = inner.dump, inner.build
        return Kind(
            dump=lambda value: None if value is None else dump(value),
            wire=inner.wire | None,
            build=build and (lambda value: None if value is None else build(value)),
            depth=inner.depth,
            hashable=inner.hashable,
        )


def _enum(cls: type[Enum]) -> Kind:
    values = [member.value for member in cls]
    if issubclass(cls, Flag) or {type(value) for value in values} not in ({str}, {int}):
        raise Unsupported(f"the values of {cls.__qualname__} must be all str or all int, and it can be no Flag.")
    if any(type(value) is int and abs(value) > MAX_INT for value in values):
        raise Unsupported(f"a value of {cls.__qualname__} is beyond ±(2^53 - 1).")

    def dump(value: Any) -> object:
        if type(value) is cls:
            return value._value_
        raise expected(f"a member of {cls.__qualname__}", value)

    return Kind(dump, cls, sortable=True)


def _literal(values: tuple[Any, ...]) -> Kind:
    if any(type(value) not in (str, int, bool, NoneType) for value in values):
        raise Unsupported("a Literal may hold str, int, bool and None.")
    if any(type(value) is int and abs(value) > MAX_INT for value in values):
        raise Unsupported("a Literal holds an integer beyond ±(2^53 - 1).")
    allowed = {(type(value), value) for value in values}
    shown = f"one of {', '.join(map(repr, values))}"
    others = tuple(value for value in values if type(value) is not bool)

    def check(value: object) -> object:
        plain = str.__str__(value) if isinstance(value, str) else value
        if isinstance(plain, str | int | None) and (type(plain), plain) in allowed:
            return plain
        raise expected(shown, value)

    if len(others) == len(values):
        return Kind(check, Literal[values])
    # msgspec knows no Literal of bool, so its reading is checked as well.
    return Kind(check, bool | Literal[others] if others else bool, check)


def _object_dumper(cls: type, fields: dict[str, Callable[[Any], object]]) -> Callable[[Any], object]:
    items = tuple(fields.items())

    def dump(value: object) -> dict[str, object]:
        if type(value) is not cls:
            if isinstance(value, cls):
                raise Refusal(f"{type(value).__name__} is a subclass and would be read back as {cls.__name__}")
            raise expected(cls.__name__, value)
        made: dict[str, object] = {}
        try:
            for name, write in items:
                made[name] = write(getattr(value, name))
        except Refusal as refusal:
            refusal.at(name)
            raise
        return made

    return dump


def _object_builder(
    cls: type, optional: set[str], fields: dict[str, Callable[[Any], object]]
) -> Callable[[Any], object]:
    items = tuple(fields.items())
    defaults = tuple(sorted(optional))

    def build(decoded: msgspec.Struct) -> object:
        values = msgspec.structs.asdict(decoded)
        for name in defaults:
            if values[name] is msgspec.UNSET:
                del values[name]
        try:
            for name, make in items:
                if name in values:
                    values[name] = make(values[name])
        except Refusal as refusal:
            refusal.at(name)
            raise
        return cls(**values)

    return build


def _late(kind: Kind) -> Kind:
    """Stands for a class that may still be in the making: looks at it only when it is used."""

    def dump(value: Any) -> object:
        return kind.dump(value)

    def build(decoded: Any) -> object:
        return cast("Callable[[Any], object]", kind.build)(decoded)

    return dataclasses.replace(kind, dump=dump, build=build)


def _unfinished(value: object) -> object:
    raise AssertionError("a recursive class was used before it was compiled")
