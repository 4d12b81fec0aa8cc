"""Whether a state fits its columns. What a database would cut, round or refuse would not be what the events say.

The two databases differ in it: PostgreSQL rounds decimals and refuses long text and NUL, SQLite takes any of it but
keeps NaN as NULL. Here both refuse alike.
"""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.operations import BaseDatabaseOperations

from eventsourcing_app.aggregates.recording import history_fields
from eventsourcing_app.exceptions import CommandRejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Check = tuple[str, "Callable[[Any], bool]", str]
_TEXT = (models.CharField, models.TextField, models.FileField)
_LONGEST_SPAN = 2**63 - 1  # in microseconds: SQLite keeps them in a whole number


def require_fit(instance: models.Model) -> None:
    """Raise ``CommandRejected`` (code ``does_not_fit``) if a field would not be read back as it is."""
    values = instance.__dict__
    for name, fits, limit in _checks(type(instance)):
        value = values.get(name)
        if value is not None and not fits(value):
            raise CommandRejected(f"{instance._meta.object_name}.{name} takes {limit}.", code="does_not_fit")


@cache
def _checks(model: type[models.Model]) -> tuple[_Check, ...]:
    return tuple(
        (name, _prepared(field, fits), limit)
        for field in (model._meta.pk, *history_fields(model))
        for name, fits, limit in _of(field)
    )


def _prepared(field: models.Field[Any, Any], fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Ask about what is stored where a field of somebody else stores another value than the instance holds."""
    if type(field).get_prep_value.__module__.startswith("django."):
        return fits
    return lambda value: fits(field.get_prep_value(value))


def _of(field: models.Field[Any, Any]) -> Iterator[_Check]:
    name = field.attname
    if isinstance(field, models.DecimalField):
        limited = field.max_digits is not None and field.decimal_places is not None
        limit = f"{field.max_digits} digits, {field.decimal_places} of them decimals" if limited else "finite numbers"
        yield name, _decimal(field), limit
    elif isinstance(field, models.IntegerField):
        limits = BaseDatabaseOperations.integer_field_ranges.get(field.get_internal_type())
        if limits is not None:  # a custom field may have a column of its own
            yield name, _integer(*limits), f"whole numbers from {limits[0]} to {limits[1]}"
    elif isinstance(field, models.FloatField):
        yield name, _finite, "finite numbers: NaN would not even equal itself"
    elif isinstance(field, models.JSONField):
        yield name, _json, "JSON without NUL, lone surrogates, NaN and infinities"
    elif isinstance(field, models.DateTimeField):
        yield name, _aware, "times with a time zone"
    elif isinstance(field, models.DurationField):
        yield name, _span, f"spans of at most {_LONGEST_SPAN} microseconds"
    elif isinstance(field, _TEXT):
        yield name, _text, "text without NUL and lone surrogates"
        if field.max_length is not None:
            yield name, _shorter(field.max_length), f"at most {field.max_length} characters"


def _integer(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _decimal(field: models.DecimalField[Any, Any]) -> Callable[[Any], bool]:
    digits, places = field.max_digits, field.decimal_places
    if digits is None or places is None:  # Django 6.1 leaves both to PostgreSQL, which then holds any number
        return _any_decimal
    too_large = Decimal(10) ** (digits - places)

    def fits(value: Any) -> bool:
        if not isinstance(value, Decimal | int) or isinstance(value, bool):
            return False
        number = Decimal(value)
        if not number.is_finite() or abs(number) >= too_large:
            return False
        exponent = number.as_tuple().exponent
        return exponent >= -places or number == round(number, places)  # type: ignore[operator]

    return fits


def _any_decimal(value: Any) -> bool:
    return isinstance(value, Decimal | int) and not isinstance(value, bool) and Decimal(value).is_finite()


def _finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except (TypeError, OverflowError):  # text, or a whole number that no float can hold
        return False


def _shorter(longest: int) -> Callable[[Any], bool]:
    return lambda value: len(str(value)) <= longest


def _text(value: Any) -> bool:
    text = str(value)
    if "\x00" in text:
        return False
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _json(value: Any) -> bool:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_json, value)) and all(map(_json, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_json, value))
    return True


def _aware(value: Any) -> bool:
    if isinstance(value, datetime):
        return value.tzinfo is not None
    return not isinstance(value, date)


def _span(value: Any) -> bool:
    return not isinstance(value, timedelta) or abs(value // timedelta(microseconds=1)) <= _LONGEST_SPAN
