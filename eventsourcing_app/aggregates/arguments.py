"""What a command or a flow can be given from outside, by its signature: forms and serializers are made of the same."""

from __future__ import annotations

import re
import types
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, Union, get_args, get_origin
from uuid import UUID

from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import models

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from eventsourcing_app.aggregates.declare import Parameter

MAX_DIGITS: Final = 38
"""Digits of a decimal that no field of the model limits."""
MAX_ITEMS: Final = 1000
"""Items of a list."""
LARGEST_INTEGER: Final = 2**53 - 1
"""Beyond it, readers of JSON round."""
AMOUNT: Final = re.compile(r"-?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?")
"""How decimals are written: no blanks, no underscores, and no other scripts' digits."""


class Kind(Enum):
    """What a value is."""

    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    DECIMAL = "decimal"
    DATE = "date"
    MOMENT = "moment"
    UUID = "uuid"
    ONE_OF = "one of"
    """One of some members."""
    LIST = "list"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A value that can be given, and its limits."""

    kind: Kind
    nullable: bool = False
    """Whether it may be ``None`` as well."""
    members: Sequence[Any] = ()
    """Of ``ONE_OF``: the members of an enumeration, or plain values."""
    item: Shape | None = None
    """Of a list: the shape of its items, of which there are at most ``MAX_ITEMS``."""
    max_length: int | None = None
    blank: bool = True
    """Of a text: whether it may be empty."""
    max_digits: int = MAX_DIGITS
    decimal_places: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument, by its name."""

    name: str
    shape: Shape
    required: bool
    default: Any = None


def arguments_of(
    subject: str, model: type[models.Model] | None, parameters: Iterable[Parameter]
) -> tuple[Argument, ...]:
    """Return what can be given for the parameters of ``subject``. Fields of the model limit those of their names.

    Raises ``ImproperlyConfigured`` for a type that cannot be read.
    """
    return tuple(
        Argument(
            name=parameter.name,
            shape=_shape(subject, model, parameter, parameter.annotation),
            required=parameter.required,
            default=parameter.default,
        )
        for parameter in parameters
    )


def field_named(model: type[models.Model] | None, name: str) -> models.Field[Any, Any] | None:
    """Return the field of a model that has the name of an argument, if there is one."""
    try:
        field = None if model is None else model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
    return field if isinstance(field, models.Field) else None


def plain_member(member: Any) -> Any:
    """Return the plain value that stands for a member: that of an enumeration, or itself."""
    return getattr(member, "value", member)


def _shape(subject: str, model: type[models.Model] | None, parameter: Parameter, annotation: Any) -> Shape:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType) and type(None) in arguments and len(arguments) == 2:
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return replace(_shape(subject, model, parameter, inner), nullable=True)
    if origin is list and len(arguments) == 1:
        return Shape(kind=Kind.LIST, item=_shape(subject, model, parameter, arguments[0]))
    if origin is Literal:
        return Shape(kind=Kind.ONE_OF, members=arguments)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return Shape(kind=Kind.ONE_OF, members=tuple(annotation))
    if annotation is str:
        return _text(field_named(model, parameter.name), parameter)
    if annotation is Decimal:
        return _decimal(field_named(model, parameter.name))
    if annotation in _PLAIN:
        return Shape(kind=_PLAIN[annotation])
    raise ImproperlyConfigured(
        f"{subject}({parameter.name}: {annotation!r}) cannot be read from a request. Use str, int, bool, "
        "Decimal, date, datetime, UUID, an Enum, a Literal, Optional or list of these; or leave the command out of "
        "`commands`."
    )


def _text(field: models.Field[Any, Any] | None, parameter: Parameter) -> Shape:
    if not isinstance(field, models.CharField):
        return Shape(kind=Kind.TEXT)
    return Shape(kind=Kind.TEXT, max_length=field.max_length, blank=field.blank or parameter.default == "")


def _decimal(field: models.Field[Any, Any] | None) -> Shape:
    if isinstance(field, models.DecimalField):
        return Shape(kind=Kind.DECIMAL, max_digits=field.max_digits, decimal_places=field.decimal_places)
    return Shape(kind=Kind.DECIMAL)


_PLAIN: dict[Any, Kind] = {
    bool: Kind.BOOLEAN,
    int: Kind.INTEGER,
    date: Kind.DATE,
    datetime: Kind.MOMENT,
    UUID: Kind.UUID,
}
