"""The schemas of our own serializer fields, exactly as they read and write. Imported by ``openapi`` only."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import UUIDField
from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.plumbing import is_jsonschema_compliant

from eventsourcing_app.aggregates.arguments import LARGEST_INTEGER

if TYPE_CHECKING:
    from eventsourcing_app.aggregates.declare import Command
    from eventsourcing_app.api.aggregates import EventSourcedViewSet
    from eventsourcing_app.api.answers import AnyOfField
    from eventsourcing_app.api.batch import CallsField
    from eventsourcing_app.api.commands import CommandSerializer
    from eventsourcing_app.api.fields import AmountField, ExactCharField, OneOfField, WordField

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


class WordExtension(OpenApiSerializerFieldExtension):
    """One of some words. Within ``allOf``, so that no enumeration of a project that has its name clashes with it."""

    target_class = "eventsourcing_app.api.fields.WordField"
    target: WordField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> _Schema:
        return {"allOf": [{"type": "string", "enum": list(self.target.words)}]}


class ReasonExtension(OpenApiSerializerFieldExtension):
    """Text that is not blank."""

    target_class = "eventsourcing_app.api.operators.ReasonField"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> _Schema:
        return {"type": "string", "minLength": 1, "pattern": r"[^\s\u001c-\u001f\u0085]"}


class RateExtension(OpenApiSerializerFieldExtension):
    """How many in which time, or nothing."""

    target_class = "eventsourcing_app.api.operators.RateField"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> _Schema:
        return {"type": "string", "pattern": "^(?=[0-9.]*[1-9])[0-9]{1,9}([.][0-9]{1,6})?/[smh]$"}


class StartExtension(OpenApiSerializerFieldExtension):
    """A place in the log."""

    target_class = "eventsourcing_app.api.operators.StartField"

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> _Schema:
        position = {"type": "integer", "format": "int64", "minimum": 0, "maximum": LARGEST_INTEGER}
        return {"anyOf": [{"type": "string", "enum": ["beginning", "now"]}, position]}


class AnyOfExtension(OpenApiSerializerFieldExtension):
    """What one of several serializers writes."""

    target_class = "eventsourcing_app.api.answers.AnyOfField"
    target: AnyOfField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> _Schema:
        found = [auto_schema.resolve_serializer(each, direction).ref for each in self.target.members]
        return {"anyOf": found} if len(found) > 1 else dict(found[0])


class CallsExtension(OpenApiSerializerFieldExtension):
    """A command of a batch: each that there is, with its own arguments."""

    target_class = "eventsourcing_app.api.batch.CallsField"
    target: CallsField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> _Schema:
        calls = [
            _call_schema(viewset, command, _arguments_of(auto_schema, serializer, direction))
            for viewset in self.target.viewsets
            for command, serializer in viewset.offered()
        ]
        return {"anyOf": calls}


def _arguments_of(auto_schema: Any, serializer: Any, direction: Any) -> tuple[_Schema, bool]:
    """The schema of a command's arguments, and whether there must be some."""
    fields = serializer().fields
    if not fields:
        return {"type": "object", "additionalProperties": False}, False
    schema: _Schema = auto_schema.resolve_serializer(serializer, direction).ref
    return schema, any(field.required for field in fields.values())


def _call_schema(viewset: type[EventSourcedViewSet], command: Command, arguments: tuple[_Schema, bool]) -> _Schema:
    schema, are_needed = arguments
    properties: _Schema = {
        "stream_type": {"type": "string", "enum": [viewset.model.stream_type]},
        "command": {"type": "string", "enum": [command.name]},
        "arguments": schema,
    }
    required = ["stream_type", "command", *(["arguments"] if are_needed else [])]
    if not command.creates:
        is_uuid = isinstance(viewset.model._meta.pk, UUIDField)
        properties["stream_key"] = {"type": "string", "minLength": 1, **({"format": "uuid"} if is_uuid else {})}
        properties["version"] = {"type": "integer", "format": "int64", "minimum": 1, "maximum": LARGEST_INTEGER}
        required += ["stream_key", *(["version"] if viewset.if_match_required else [])]
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


_KINDS = {str: "string", int: "integer", bool: "boolean"}


def arguments_schema(schema: _Schema, serializer: CommandSerializer) -> _Schema:
    """Add what the signature says: what is taken for an argument that is left out."""
    properties: _Schema = schema.get("properties", {})
    for parameter in serializer.declaration.parameters:
        if not parameter.required and parameter.default is not None and parameter.name in properties:
            properties[parameter.name] = {**properties[parameter.name], "default": plain(parameter.default)}
    return schema


def rate_schema(schema: _Schema) -> _Schema:
    """Say that there is no burst without a rate."""
    with_rate, without_burst = {"rate": {"minLength": 1}}, {"burst": {"not": {"type": "integer"}}}
    return {**schema, "anyOf": [{"properties": with_rate}, {"properties": without_burst}]}


def stored_event_schema(schema: _Schema) -> _Schema:
    """Say of a stored event what its columns hold."""
    properties: _Schema = schema["properties"]
    exact: dict[str, _Schema] = {
        "position": {"format": "int64", "minimum": 1},
        "version": {"format": "int64", "minimum": 1},
        "schema_version": {"minimum": 1},
    }
    for name, facts in exact.items():
        properties[name] = {**properties[name], **facts}
    # Null for whoever may not see them.
    masked: dict[str, _Schema] = {
        "data": {"type": "object", "additionalProperties": {}},
        "metadata": {"type": "object", "additionalProperties": {}},
        "hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    }
    for name, facts in masked.items():
        properties[name] = spoken({**facts, "nullable": True, "readOnly": True})
    return schema


def event_page_schema(schema: _Schema, named: _Schema) -> _Schema:
    """Say of the page of an event how it names other events."""
    properties: _Schema = schema["properties"]
    one_or_none = (
        {"oneOf": [named, {"type": "null"}]} if is_jsonschema_compliant() else {"allOf": [named], "nullable": True}
    )
    described = {name: properties[name].get("description", "") for name in ("parent", "children")}
    properties["parent"] = {**one_or_none, "readOnly": True, "description": described["parent"]}
    properties["children"] = {
        "type": "array",
        "items": named,
        "readOnly": True,
        "description": described["children"],
    }
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
