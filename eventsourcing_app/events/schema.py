"""The JSON Schema of an event's data: what the codec writes at the current version, and nothing looser.

Source: JSON Schema, draft 2020-12 (Core and Validation). Where there is a ``format``, a ``pattern`` stands beside it,
because a validator may take a format for a remark; where the draft has no format for what is written (a time without
offset, a duration with a sign), there is the pattern alone. What no schema can say: that no text holds NUL or half a
character, and how large and deep the whole may be.
"""

from __future__ import annotations

import dataclasses
import inspect
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, EnumMeta
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, Union, get_args, get_origin
from uuid import UUID

import msgspec
from django.core.exceptions import ImproperlyConfigured

from eventsourcing_app.events.canonical import MAX_INT, Refusal
from eventsourcing_app.events.codec import problems
from eventsourcing_app.events.declare import field_types, unwrapped
from eventsourcing_app.events.fieldtypes import Compiler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventsourcing_app.events.registry import Declaration

Schema: TypeAlias = "dict[str, object]"
"""A JSON Schema, as plain JSON values."""

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_DATE = "[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{6})?"
_SECONDS = r"(?:0|[1-9][0-9]{0,4})(?:\.[0-9]{1,6})?S"
_DAYS = "[1-9][0-9]{0,8}D"

SCALAR_SCHEMAS: Final[Mapping[object, Schema]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer", "minimum": -MAX_INT, "maximum": MAX_INT},
    float: {"type": "number"},
    Decimal: {
        "type": "string",
        "pattern": r"^-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]+)?|[0-9](?:\.[0-9]+)?E[+-][1-9][0-9]*)$",
    },
    date: {"type": "string", "format": "date", "pattern": f"^{_DATE}$"},
    datetime: {"type": "string", "format": "date-time", "pattern": f"^{_DATE}T{_TIME}Z$"},
    time: {"type": "string", "pattern": f"^{_TIME}$"},
    timedelta: {"type": "string", "pattern": f"^(?:P0D|-?P(?:{_DAYS}|(?:{_DAYS})?T{_SECONDS}))$"},
    UUID: {
        "type": "string",
        "format": "uuid",
        "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
    },
}
"""The schema of each scalar type, as the codec writes it."""


def schema_of(declaration: Declaration) -> Schema:
    """Return the JSON Schema of the data that events of this declaration are stored with at its current version.

    A field with a default may be missing, since rows may be older than the field. Dataclasses that are nested are under
    ``$defs``. Raises ``ImproperlyConfigured`` if such an event cannot be stored at all.
    """
    if why := problems(declaration.cls):
        raise ImproperlyConfigured(f"Event {declaration.name!r} cannot be stored. " + " ".join(why))
    writer = _Writer(declaration.cls)
    root = writer.object(declaration.cls)
    return {"$schema": DIALECT, **root, **({"$defs": writer.defs} if writer.defs else {})}


def description_of(cls: type) -> str:
    """Return the docstring that a class was given; not the one that ``dataclass`` makes up."""
    text = vars(cls).get("__doc__") or ""
    return "" if text.startswith(f"{cls.__name__}(") else inspect.cleandoc(text)


class _Writer:
    """Writes the schema of one event class, and of each dataclass in it once."""

    def __init__(self, root: type) -> None:
        self.defs: dict[str, Schema] = {}
        self._places = {root: "#"}

    def object(self, cls: type) -> Schema:
        """Describe a dataclass: all of its fields, and no other."""
        types, optional = field_types(cls), set[str]()
        properties: dict[str, Schema] = {}
        for spec in dataclasses.fields(cls):
            described = self._of(types[spec.name])
            if spec.default is not dataclasses.MISSING or spec.default_factory is not dataclasses.MISSING:
                optional.add(spec.name)
                described = {**described, **_default(types[spec.name], spec)}
            properties[spec.name] = described
        schema: Schema = {"title": cls.__name__, "type": "object", "properties": properties}
        if description := description_of(cls):
            schema["description"] = description
        schema["required"] = [name for name in types if name not in optional]
        schema["additionalProperties"] = False
        return schema

    def _of(self, annotation: Any) -> Schema:
        annotation = unwrapped(annotation)
        if isinstance(annotation, type) and annotation in SCALAR_SCHEMAS:
            return dict(SCALAR_SCHEMAS[annotation])
        origin, args = get_origin(annotation), get_args(annotation)
        if origin in (Union, UnionType):
            (some,) = (each for each in args if each is not NoneType)
            return {"anyOf": [self._of(some), {"type": "null"}]}
        if origin is Literal:
            return {"enum": list(args)}
        if origin is dict:
            return {"type": "object", "additionalProperties": self._of(args[1])}
        if origin is tuple and args[-1] is not Ellipsis:
            items = [self._of(each) for each in args]
            return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
        if origin is not None:
            unique = {"uniqueItems": True} if origin in (set, frozenset) and _is_told_by_text(args[0]) else {}
            return {"type": "array", "items": self._of(args[0]), **unique}
        if isinstance(annotation, EnumMeta):
            return _enum(annotation)
        return {"$ref": self._place_of(annotation)}

    def _place_of(self, cls: type) -> str:
        if cls not in self._places:
            name, number = cls.__name__, 1
            while name in self.defs:  # two classes of one name
                number += 1
                name = f"{cls.__name__}{number}"
            self._places[cls] = f"#/$defs/{name}"
            self.defs[name] = {}  # taken: it may hold itself
            self.defs[name] = self.object(cls)
        return self._places[cls]


def _enum(members: EnumMeta) -> Schema:
    return {"title": members.__name__, "enum": [member.value for member in members]}  # type: ignore[var-annotated]


def _is_told_by_text(annotation: Any) -> bool:
    """Whether what differs in a set is also written differently: not so objects that are compared by identity, nor one
    moment in two time zones.
    """
    plain = unwrapped(annotation)
    if plain is datetime:
        return False
    scalar = isinstance(plain, type) and (plain in SCALAR_SCHEMAS or issubclass(plain, Enum))
    return scalar or get_origin(plain) is Literal


def _default(annotation: Any, spec: dataclasses.Field[Any]) -> Schema:
    """Return the default of a field, if it is a value that can be stored; what a factory makes may differ each time."""
    if spec.default is dataclasses.MISSING:
        return {}
    try:
        return {"default": msgspec.to_builtins(Compiler().kind(annotation).dump(spec.default))}
    except Refusal:
        return {}
