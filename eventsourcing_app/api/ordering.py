"""The order of a list: by columns of an allow-list, with the key behind them, so that no two rows share a place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import models
from django.utils.translation import gettext as _

from eventsourcing_app.access.pages import Column
from eventsourcing_app.api.described import Described
from eventsourcing_app.api.problems import InvalidParameter

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

ORDER: Final = "order"
"""The query parameter."""
MAX_COLUMNS: Final = 3
MAX_LENGTH: Final = 255
"""Longest text by which a list is ordered: it stands in the addresses of the pages."""

_ORDERED = (
    *(models.IntegerField, models.DecimalField, models.FloatField, models.BooleanField, models.DateField),
    *(models.TimeField, models.DurationField, models.UUIDField, models.GenericIPAddressField),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a list is ordered by: as it was asked for, and the columns with the key at their end."""

    text: str
    fields: Sequence[models.Field[Any, Any]]
    columns: Sequence[Column]


def order_from(model: type[models.Model], parameters: Mapping[str, str], allowed: Collection[str]) -> Order | None:
    """Return the order that ``?order=`` asks for. Raises ``InvalidParameter`` for columns that are not allowed."""
    if not allowed or (text := parameters.get(ORDER)) is None:
        return None
    names = text.split(",")
    if len(names) > MAX_COLUMNS:
        raise InvalidParameter(ORDER, _("It may name up to %d columns.") % MAX_COLUMNS)
    plain = [name.removeprefix("-") for name in names]
    if not set(plain) <= set(allowed):
        raise InvalidParameter(ORDER, _("It may name: %s; with '-' for falling.") % ", ".join(allowed))
    if len(set(plain)) != len(plain):
        raise InvalidParameter(ORDER, _("It may name each column once."))
    fields: list[models.Field[Any, Any]] = [model._meta.get_field(name) for name in plain]  # type: ignore[misc]  # columns
    falling = [name.startswith("-") for name in names]
    key = model._meta.pk
    if key not in fields:  # its direction is that of the last column, so that an index over both can serve
        fields.append(key)
        falling.append(falling[-1])
    columns = [
        Column(name=field.attname, falling=down, nullable=field.null)
        for field, down in zip(fields, falling, strict=True)
    ]
    return Order(text=text, fields=fields, columns=columns)


def described_order(names: Collection[str]) -> Described:
    """Return what the schema says of ``?order=``."""
    column = f"-?({'|'.join(names)})"
    return Described(
        description=f"Up to {MAX_COLUMNS} columns with commas between them; '-' for falling.",
        schema={"type": "string", "pattern": f"^{column}(,{column}){{0,{MAX_COLUMNS - 1}}}$"},
        example=f"-{next(iter(names), '')}",
    )


def check_ordering(view: str, model: type[models.Model], names: Collection[str]) -> None:
    """Raise ``ImproperlyConfigured`` if a list of the model cannot be ordered by one of these names."""
    if isinstance(names, str):
        raise ImproperlyConfigured(f"{view}.ordering_fields is text: write a list of names.")
    for name in names:
        try:
            field = model._meta.get_field(name)
        except FieldDoesNotExist as error:
            raise ImproperlyConfigured(f"{view}.ordering_fields: {model.__name__} has no column {name!r}.") from error
        if not _can_order(field):
            raise ImproperlyConfigured(
                f"{view}.ordering_fields: no list can be ordered by {name!r}. Name columns of numbers, times, truths, "
                f"UUIDs, or texts of {MAX_LENGTH} characters at most."
            )


def _can_order(field: object) -> bool:
    if isinstance(field, models.CharField):
        return field.max_length is not None and field.max_length <= MAX_LENGTH
    return isinstance(field, _ORDERED)
