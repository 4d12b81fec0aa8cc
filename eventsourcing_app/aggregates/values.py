"""Values as a column has them: what an instance may hold in another form than the database gives back."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

from django.db import models
from django.db.models.fields.files import FieldFile


def file_name(value: Any) -> Any:
    """Return the name in place of a ``FieldFile``, which reading a file field puts in the place of the name."""
    return value.name if isinstance(value, FieldFile) else value


def plain(value: Any) -> Any:
    """Return a value that can be kept: a file by its name, and no view, which cannot be copied and shows changes."""
    value = file_name(value)
    return bytes(value) if isinstance(value, memoryview) else value


def member_value(value: Any) -> Any:
    """Return the plain value of a member of an enumeration, as a row gives it back."""
    return value.value if isinstance(value, Enum) and isinstance(value, str | int) else value


def value_of(instance: models.Model, field: models.Field[Any, Any]) -> Any:
    """Return the value of a field as its column has it: a file by its name, a foreign key as the key."""
    return file_name(instance.__dict__[field.attname])


def json_text(field: models.JSONField[Any, Any], value: Any) -> str:
    """Return the JSON of a value."""
    return json.dumps(value, cls=field.encoder)


def json_value(field: models.JSONField[Any, Any], text: str) -> Any:
    """Return what the field makes of JSON that it reads."""
    return json.loads(text, cls=field.decoder)


def json_read_back(field: models.JSONField[Any, Any], value: Any) -> Any:
    """Return a value as the database will give it back: a tuple is a list then, and every key text."""
    return None if value is None else json_value(field, json_text(field, value))


def as_column(field: models.Field[Any, Any], value: Any) -> Any:
    """Return a value as its column keeps it, to be compared: 1 and Decimal("1.00") are the same there."""
    if isinstance(field, models.FileField):  # keeps no file as the empty name
        return str(value or "")
    value = field.to_python(value)
    if isinstance(field, models.JSONField):  # as JSON itself has it: what a decoder makes may have no __eq__
        return json.loads(json_text(field, value))
    return value
