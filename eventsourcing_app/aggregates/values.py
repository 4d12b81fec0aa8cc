"""Values as a column has them: what an instance may hold in another form than the database gives back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.fields.files import FieldFile

if TYPE_CHECKING:
    from collections.abc import Callable

_NATURAL: tuple[tuple[type[models.Field[Any, Any]], type], ...] = (
    (models.BooleanField, bool),
    (models.IntegerField, int),
    (models.FloatField, float),
    (models.CharField, str),
    (models.TextField, str),
    (models.TimeField, time),
    (models.DurationField, timedelta),
    (models.UUIDField, UUID),
)
"""What the columns of a field give back, where that is one plain type."""


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
    """Return a value as the database will give it back, whichever it is: see ``_in_order`` and ``_number``."""
    if value is None:
        return None
    read = _in_order(json.loads(json_text(field, value), parse_float=_number))
    return read if field.decoder is None else json_value(field, json.dumps(read))


def _in_order(value: Any) -> Any:
    """Keys are text, in the order of PostgreSQL's ``jsonb``: shorter ones first, then by their bytes."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(name := key.encode("utf-8", "surrogatepass")), name))
        return {key: _in_order(value[key]) for key in keys}
    if isinstance(value, list):
        return [_in_order(item) for item in value]
    return value


def _number(text: str) -> int | float:
    """``jsonb`` keeps decimal numbers: 1e+16 comes back as a whole number, and there is no negative zero."""
    if "e+" in text or "E+" in text:
        exact = Decimal(text)
        if exact == exact.to_integral_value():
            return int(exact)
    return float(text) + 0.0


def same(value: Any, was: Any) -> bool:
    """Whether two values are one to JSON and to arrays, in which true is not 1, nor 1 the same as 1.0."""
    if type(value) is not type(was):
        return False
    if isinstance(value, dict):
        return value.keys() == was.keys() and all(same(item, was[key]) for key, item in value.items())
    if isinstance(value, list | tuple):
        return len(value) == len(was) and all(map(same, value, was))
    return bool(value == was) or (value != value and was != was)  # NaN


def differ(value: Any, was: Any) -> bool:
    """Whether two values of a field are to be told apart: what may be JSON strictly, others as they see it."""
    strictly = isinstance(value, dict | list | bool) or isinstance(was, dict | list | bool)
    return not same(value, was) if strictly else bool(value != was)


@cache
def column_form(field: models.Field[Any, Any]) -> Callable[[Any], Any]:
    """Return the function that brings a value into the form in which the column gives it back.

    After each event, so that what the next one builds on does not depend on whether the row was saved and loaded in
    between. What the field cannot read is left as it is: the database will refuse it.
    """
    target: models.Field[Any, Any] = field
    while isinstance(target, models.ForeignKey):
        target = target.target_field
    if isinstance(target, models.JSONField):
        json_field = target
        return lambda value: json_read_back(json_field, value)
    if isinstance(target, models.FileField):
        return file_name
    if not type(target).to_python.__module__.startswith("django."):
        return plain  # a field of somebody else: only it knows
    if isinstance(target, models.DecimalField):
        return _decimal_form(target)
    if isinstance(target, models.DateField):
        return lambda value: _moment_form(target, value)
    natural = next((kind for cls, kind in _NATURAL if isinstance(target, cls)), None)
    return lambda value: _read_form(target, natural, value)


def _read_form(field: models.Field[Any, Any], natural: type | None, value: Any) -> Any:
    if value is None or type(value) is natural:
        return value
    value = plain(member_value(value))
    if natural is None or type(value) is natural or hasattr(value, "resolve_expression"):
        return value
    return _read(field, value)


def _read(field: models.Field[Any, Any], value: Any) -> Any:
    try:
        read = field.to_python(value)
    except (ValidationError, TypeError, ValueError, ArithmeticError):
        return value
    # What would be cut or rounded is left as it is, to be refused: see ``saving.fit``.
    return read if isinstance(value, str) or read == value else value


def _decimal_form(field: models.DecimalField[Any, Any]) -> Callable[[Any], Any]:
    places = None if field.decimal_places is None else Decimal(1).scaleb(-field.decimal_places)

    def form(value: Any) -> Any:
        if value is None or hasattr(value, "resolve_expression"):
            return value
        number = value if type(value) is Decimal else _read(field, value)
        if places is None or not isinstance(number, Decimal) or not number.is_finite():
            return number
        try:
            exact = number.quantize(places)
        except InvalidOperation:  # more digits than there is room for
            return number
        return exact if exact == number else number  # one that would be rounded is refused: see ``saving.fit``

    return form


def _moment_form(field: models.Field[Any, Any], value: Any) -> Any:
    if isinstance(value, str):
        value = _read(field, value)
    return value.astimezone(UTC) if type(value) is datetime and value.tzinfo not in (None, UTC) else value


def as_column(field: models.Field[Any, Any], value: Any) -> Any:
    """Return a value as its column keeps it, to be compared: 1 and Decimal("1.00") are the same there."""
    if isinstance(field, models.FileField):  # keeps no file as the empty name
        return str(value or "")
    value = field.to_python(value)
    if isinstance(field, models.JSONField):  # as JSON itself has it: what a decoder makes may have no __eq__
        return json.loads(json_text(field, value))
    return value
