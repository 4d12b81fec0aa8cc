"""Scalar types of event fields: what msgspec writes for a value of each, and what is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING
from uuid import UUID

from django.utils.functional import Promise

from eventsourcing_app.events.canonical import Refusal, check_float, check_int

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def expected(what: str, value: object) -> Refusal:
    """Say what a value should have been. The value itself stays out of messages: it may be a secret."""
    if isinstance(value, Promise):
        return Refusal(f"expected {what}, got a lazy translation, whose text depends on the language; call str() on it")
    return Refusal(f"expected {what}, got {'None' if value is None else type(value).__name__}")


# What msgspec writes for a scalar of each type. Exact types first, for speed; a subclass becomes the plain value, dates
# as text. NUL and lone surrogates are left to whoever sees the whole text. The real classes are bound as defaults, so
# that the stand-ins of a frozen clock count as the subclasses that they are.


def _str(value: object) -> str:
    if type(value) is str:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    raise expected("str", value)


def _bool(value: object) -> bool:
    if value is True or value is False:
        return value
    raise expected("bool", value)


def _int(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return check_int(value)
    raise expected("int", value)


def _float(value: object) -> float:
    if isinstance(value, float):
        return check_float(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return float(check_int(value))
    raise expected("float", value)


def _decimal(value: object) -> str:
    if not isinstance(value, Decimal):
        raise expected("Decimal", value)
    if not value.is_finite():
        raise Refusal("is not finite; NaN and infinities are no amounts")
    return Decimal.__str__(value).upper()  # the exponent's letter depends on the thread's decimal context


def read_decimal(text: str) -> Decimal:
    """Return the Decimal of exactly this text, digits and exponent kept."""
    try:
        value = Decimal(text)
        if value.is_finite() and str(value).upper() == text:
            return value
    except InvalidOperation:
        pass
    raise Refusal("is not the text of a Decimal, such as 1.50")


def _date(value: object, native: type[date] = date) -> date | str:
    if type(value) is native:
        return value
    if isinstance(value, date) and not isinstance(value, datetime):
        return date.isoformat(value)
    raise expected("date", value)


def _datetime(value: object, native: type[datetime] = datetime) -> datetime | str:
    if type(value) is native and value.tzinfo is UTC:
        return value
    if not isinstance(value, datetime):
        raise expected("datetime", value)
    if value.utcoffset() is None:
        raise Refusal("is a naive datetime; give it a time zone, as django.utils.timezone.make_aware does")
    try:
        return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"
    except OverflowError:
        raise Refusal("lies outside the years 1 to 9999 in UTC") from None


def _time(value: object) -> time | str:
    if not isinstance(value, time):
        raise expected("time", value)
    if value.tzinfo is not None:
        raise Refusal("is a time with a time zone, whose offset depends on the date; store a datetime or a naive time")
    return value if type(value) is time else value.isoformat()


def _timedelta(value: object) -> timedelta:
    if type(value) is timedelta:
        return value
    if isinstance(value, timedelta):
        return timedelta(value.days, value.seconds, value.microseconds)
    raise expected("timedelta", value)


def _uuid(value: object) -> UUID | str:
    if type(value) is UUID:
        return value
    if isinstance(value, UUID):
        return UUID.__str__(value)
    raise expected("UUID", value)


SCALARS: Mapping[object, Callable[[object], object]] = {
    str: _str,
    bool: _bool,
    int: _int,
    float: _float,
    Decimal: _decimal,
    date: _date,
    datetime: _datetime,
    time: _time,
    timedelta: _timedelta,
    UUID: _uuid,
}
"""What checks a value of each scalar type and returns what msgspec writes for it."""
