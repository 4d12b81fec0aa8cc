"""Whether a state fits its columns. What a database would cut or round would no longer be what the events say."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.operations import BaseDatabaseOperations

from eventsourcing_app.aggregates.recording import history_fields
from eventsourcing_app.exceptions import CommandRejected

if TYPE_CHECKING:
    from collections.abc import Callable

_Check = tuple[str, "Callable[[Any], bool]", str]


def require_fit(instance: models.Model) -> None:
    """Raise ``CommandRejected`` (code ``does_not_fit``) if a field would not be read back as it is.

    PostgreSQL rounds decimals and refuses long text; SQLite takes anything. Here both refuse.
    """
    values = instance.__dict__
    for name, fits, limit in _checks(type(instance)):
        value = values.get(name)
        if value is not None and not fits(value):
            raise CommandRejected(f"{instance._meta.object_name}.{name} takes {limit}.", code="does_not_fit")


@cache
def _checks(model: type[models.Model]) -> tuple[_Check, ...]:
    return tuple(check for field in history_fields(model) if (check := _check(field)) is not None)


def _check(field: models.Field[Any, Any]) -> _Check | None:
    if isinstance(field, models.DecimalField):
        return field.attname, _decimal(field), f"{field.max_digits} digits, {field.decimal_places} of them decimals"
    if isinstance(field, models.IntegerField):
        least, most = BaseDatabaseOperations.integer_field_ranges[field.get_internal_type()]
        return field.attname, _integer(least, most), f"whole numbers from {least} to {most}"
    if isinstance(field, models.CharField) and field.max_length is not None:
        longest = field.max_length
        return field.attname, lambda value: len(str(value)) <= longest, f"at most {longest} characters"
    return None


def _integer(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _decimal(field: models.DecimalField[Any, Any]) -> Callable[[Any], bool]:
    places = field.decimal_places or 0
    too_large = Decimal(10) ** ((field.max_digits or 0) - places)

    def fits(value: Any) -> bool:
        if not isinstance(value, Decimal | int) or isinstance(value, bool):
            return False
        number = Decimal(value)
        if not number.is_finite() or abs(number) >= too_large:
            return False
        exponent = number.as_tuple().exponent
        return exponent >= -places or number == round(number, places)  # type: ignore[operator]

    return fits
