"""Places in a list as text that a client hands back: of one order, and checked like anything else that comes in."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import models

from eventsourcing_app.access.events import is_text, position_from

if TYPE_CHECKING:
    from collections.abc import Sequence


def key_from(field: models.Field[Any, Any], text: str) -> Any:
    """Read a key as it stands in an address. Raises ``ValueError`` for text that is no key."""
    if isinstance(field, models.IntegerField):
        number = position_from(text)
        if number is None:
            raise ValueError("no number")
        return number
    return value_from(field, text)


def value_from(field: models.Field[Any, Any], text: str) -> Any:
    """Read a value of a column. Raises ``ValueError`` for what the database could not even compare with."""
    if not is_text(text):
        raise ValueError("no text")
    try:
        value = field.to_python(text)
    except (ValidationError, OverflowError) as error:
        raise ValueError("no value of this column") from error
    if value is None:
        raise ValueError("nothing")
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("no moment")
        try:
            return value.astimezone(UTC)
        except OverflowError as error:
            raise ValueError("no moment") from error
    if isinstance(value, Decimal) and not fits(field, value):
        raise ValueError("no number of this column")
    return value


def fits(field: object, value: Decimal) -> bool:
    """Whether a column can hold the number as it is, without rounding."""
    if not isinstance(field, models.DecimalField):
        return True
    if not value.is_finite():
        return False
    # What SQLite would make of more digits is another number, or an error.
    places = max(0, -int(value.as_tuple().exponent))
    return places <= field.decimal_places and value.adjusted() < field.max_digits - field.decimal_places


def cursor_of(order: str, fields: Sequence[models.Field[Any, Any]], row: models.Model) -> str:
    """Write the place of a row in an order: base64 of JSON, to be taken as it is."""
    values = [None if getattr(row, field.attname) is None else field.value_to_string(row) for field in fields]
    text = json.dumps([order, *values], ensure_ascii=False, separators=(",", ":"))
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_from(order: str, fields: Sequence[models.Field[Any, Any]], cursor: str) -> tuple[Any, ...]:
    """Read a place in an order. Raises ``ValueError`` for what is no cursor, or one of another order."""
    if not cursor.isascii():
        raise ValueError("no cursor")
    try:
        found = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except RecursionError as error:
        raise ValueError("no cursor") from error
    if not isinstance(found, list) or len(found) != len(fields) + 1 or found[0] != order:
        raise ValueError("a cursor of another order")
    return tuple(_value(field, value) for field, value in zip(fields, found[1:], strict=True))


def _value(field: models.Field[Any, Any], value: object) -> Any:
    if value is None and field.null:
        return None
    if not isinstance(value, str):
        raise ValueError("no text")
    return value_from(field, value)
