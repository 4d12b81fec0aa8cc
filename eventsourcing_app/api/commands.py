"""From the signature of a command to the serializer of its request."""

from __future__ import annotations

import types
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Union, get_args, get_origin
from uuid import UUID

from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import models
from django.utils.translation import gettext as _
from rest_framework import serializers

from eventsourcing_app.api.fields import (
    AmountField,
    ExactBooleanField,
    ExactCharField,
    ExactIntegerField,
    ExactUUIDField,
    OneOfField,
    UTCField,
)

if TYPE_CHECKING:
    from eventsourcing_app.aggregates.declare import Command, Parameter

MAX_DIGITS = 38
"""Digits of a decimal that no field of the model limits."""
MAX_ITEMS = 1000
"""Items of a list."""


class CommandSerializer(serializers.Serializer[Any]):
    """The arguments of a command. What it has no argument for is refused, for it was meant to do something."""

    command: ClassVar[Command]

    def to_internal_value(self, data: Any) -> Any:
        unknown = [name for name in data if name not in self.fields] if isinstance(data, dict) else []
        if unknown:
            refused = serializers.ErrorDetail(_("There is no such argument."), code="unknown")
            raise serializers.ValidationError({name: [refused] for name in unknown})
        return super().to_internal_value(data)


@cache
def serializer_for(model: type[models.Model], command: Command) -> type[CommandSerializer]:
    """Make the serializer of a command's arguments. Raises ``ImproperlyConfigured`` for a type it cannot read."""
    fields: dict[str, Any] = {}
    for parameter in command.parameters:
        options: dict[str, Any] = {"required": parameter.required}
        fields[parameter.name] = _field(model, command, parameter, parameter.annotation, options)
    name = f"{model.__name__}{command.name.title().replace('_', '')}Serializer"
    return type(name, (CommandSerializer,), {"__doc__": command.description, "command": command, **fields})


def _field(
    model: type[models.Model], command: Command, parameter: Parameter, annotation: Any, options: dict[str, Any]
) -> serializers.Field[Any, Any, Any, Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType) and type(None) in arguments and len(arguments) == 2:
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _field(model, command, parameter, inner, {**options, "allow_null": True})
    if origin is list and len(arguments) == 1:
        item = _field(model, command, parameter, arguments[0], {})
        return serializers.ListField(child=item, max_length=MAX_ITEMS, **options)
    if origin is Literal:
        return OneOfField(members=arguments, **options)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return OneOfField(members=list(annotation), **options)
    if annotation is str:
        return ExactCharField(**_text_limits(model, parameter), **options)
    if annotation is Decimal:
        return AmountField(**_digits(model, parameter), **options)
    if annotation in _PLAIN:
        return _PLAIN[annotation](**options)
    raise ImproperlyConfigured(
        f"{model.__name__}.{command.name}({parameter.name}: {annotation!r}) cannot be read from a request. Use str, "
        "int, bool, Decimal, date, datetime, UUID, an Enum, a Literal, Optional or list of these; or leave the command "
        "out of the view's `commands`."
    )


_PLAIN: dict[Any, type[serializers.Field[Any, Any, Any, Any]]] = {
    bool: ExactBooleanField,
    int: ExactIntegerField,
    date: serializers.DateField,
    datetime: UTCField,
    UUID: ExactUUIDField,
}


def _text_limits(model: type[models.Model], parameter: Parameter) -> dict[str, Any]:
    field = _model_field(model, parameter.name)
    if not isinstance(field, models.CharField):
        return {"allow_blank": True}
    return {"max_length": field.max_length, "allow_blank": field.blank or parameter.default == ""}


def _digits(model: type[models.Model], parameter: Parameter) -> dict[str, Any]:
    field = _model_field(model, parameter.name)
    if isinstance(field, models.DecimalField):
        return {"max_digits": field.max_digits, "decimal_places": field.decimal_places}
    return {"max_digits": MAX_DIGITS, "decimal_places": None}


def _model_field(model: type[models.Model], name: str) -> object:
    try:
        return model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
