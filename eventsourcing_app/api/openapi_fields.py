"""The schemas of our own serializer fields, exactly as they read and write. Imported by ``openapi`` only."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.plumbing import is_jsonschema_compliant

from eventsourcing_app.api.fields import LARGEST_INTEGER

if TYPE_CHECKING:
    from eventsourcing_app.api.commands import CommandSerializer
    from eventsourcing_app.api.fields import AmountField, ExactCharField, OneOfField

    _Schema = dict[str, Any]


class AmountExtension(OpenApiSerializerFieldExtension):
    """Text always; a request may send a number, too."""

    target_class = "eventsourcing_app.api.fields.AmountField"
    target: AmountField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> _Schema:
        text: _Schema = {"type": "string", "format": "decimal", "pattern": self.target.pattern}
        if direction != "request":
            return text
        if (longest := self.target.longest) is not None:
            text["maxLength"] = longest
        whole = self.target.max_digits if self.target.max_whole_digits is None else self.target.max_whole_digits
        number: _Schema = {"type": "number"}
        if whole is not None:
            number |= {"minimum": 1 - 10 ** int(whole), "maximum": 10 ** int(whole) - 1}
        return {"anyOf": [text, number]}


class TextExtension(OpenApiSerializerFieldExtension):
    """Text that may or may not be empty."""

    target_class = "eventsourcing_app.api.fields.ExactCharField"
    target: ExactCharField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> _Schema:
        return {"type": "string"} if self.target.allow_blank else {"type": "string", "minLength": 1}


class IntegerExtension(OpenApiSerializerFieldExtension):
    """A whole number that every reader of JSON keeps exact."""

    target_class = "eventsourcing_app.api.fields.ExactIntegerField"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> _Schema:
        return {"type": "integer", "format": "int64", "minimum": -LARGEST_INTEGER, "maximum": LARGEST_INTEGER}


class OneOfExtension(OpenApiSerializerFieldExtension):
    """One of some plain values."""

    target_class = "eventsourcing_app.api.fields.OneOfField"
    target: OneOfField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> _Schema:
        members = list(self.target.members)
        kinds = {_KINDS.get(type(member), "string") for member in members}
        schema: _Schema = {"enum": members}
        return {"type": kinds.pop(), **schema} if len(kinds) == 1 else schema


_KINDS = {str: "string", int: "integer", bool: "boolean"}


def arguments_schema(schema: _Schema, serializer: CommandSerializer) -> _Schema:
    """Add what the signature says: no other arguments, and what is taken for one that is left out."""
    schema = {**schema, "additionalProperties": False}
    properties: _Schema = schema.get("properties", {})
    for parameter in serializer.declaration.parameters:
        if not parameter.required and parameter.default is not None and parameter.name in properties:
            properties[parameter.name] = {**properties[parameter.name], "default": plain(parameter.default)}
    return schema


def stored_event_schema(schema: _Schema) -> _Schema:
    """Say of a stored event what its columns hold."""
    properties: _Schema = schema["properties"]
    exact: dict[str, _Schema] = {
        "position": {"format": "int64", "minimum": 1},
        "version": {"format": "int64", "minimum": 1},
        "schema_version": {"minimum": 1},
        "data": {"type": "object", "additionalProperties": {}},
        "metadata": {"type": "object", "additionalProperties": {}},
        "hash": {"pattern": "^[0-9a-f]{64}$"},
    }
    for name, facts in exact.items():
        if name in properties:
            properties[name] = {**properties[name], **facts}
    return schema


def spoken(schema: Any) -> Any:
    """Turn ``nullable``, the word of OpenAPI 3.0, into that of 3.1 where that is written."""
    if isinstance(schema, list):
        return [spoken(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: spoken(value) for name, value in schema.items()}
    if is_jsonschema_compliant() and isinstance(found.get("type"), str) and found.pop("nullable", False):
        found["type"] = [found["type"], "null"]
    return found


def plain(value: Any) -> Any:
    """Write a Python value as JSON has it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    if isinstance(value, (date, datetime)):
        return value.isoformat().replace("+00:00", "Z")
    return value
