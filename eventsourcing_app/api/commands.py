"""From the signature of a command or a flow to the serializer of its request."""

from __future__ import annotations

import types
from dataclasses import dataclass
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
    ShortListField,
    UTCField,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventsourcing_app.aggregates.declare import Command, Parameter
    from eventsourcing_app.aggregates.flow import Flow

MAX_DIGITS = 38
"""Digits of a decimal that no field of the model limits."""
MAX_ITEMS = 1000
"""Items of a list."""
MAX_UNKNOWN = 100
"""How many arguments that there are not are named in an answer."""
MAX_NAME = 80
"""How much of such a name."""


class StrictSerializer(serializers.Serializer[Any]):
    """A body. What there is no argument for is refused, for it was meant to do something."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = [name for name in data if name not in self.fields] if isinstance(data, dict) else []
        if unknown:
            refused = serializers.ErrorDetail(_("There is no such argument."), code="unknown")
            raise serializers.ValidationError({name[:MAX_NAME]: [refused] for name in unknown[:MAX_UNKNOWN]})
        return super().to_internal_value(data)


class CommandSerializer(StrictSerializer):
    """The arguments of a command, or of a flow."""

    declaration: ClassVar[Command | Flow[..., Any]]


@cache
def serializer_for(model: type[models.Model], command: Command) -> type[CommandSerializer]:
    """Make the serializer of a command's arguments. Raises ``ImproperlyConfigured`` for a type it cannot read."""
    arguments = _Arguments(f"{model.__name__}.{command.name}", model)
    name = f"{model.__name__}{titled(command.name)}Serializer"
    return arguments.serializer(name, command.description, command.parameters, of=command)


def serializer_for_flow(flow: Flow[..., Any], parameters: Iterable[Parameter]) -> type[CommandSerializer]:
    """Make the serializer of some of a flow's arguments. Raises ``ImproperlyConfigured`` for a type it cannot read."""
    description = (flow.__doc__ or "").partition("\n\n")[0]
    return _Arguments(flow.name, None).serializer(f"{titled(flow.name)}Serializer", description, parameters, of=flow)


def titled(name: str) -> str:
    """Return a name as those of classes are written."""
    return "".join(character for character in name.title() if character.isalnum())


@dataclass(frozen=True, slots=True)
class _Arguments:
    """The fields of what is called ``subject``. Fields of the model limit the arguments that have their names."""

    subject: str
    model: type[models.Model] | None

    def serializer(
        self, name: str, description: str, parameters: Iterable[Parameter], of: Command | Flow[..., Any]
    ) -> type[CommandSerializer]:
        fields = {
            parameter.name: self._field(parameter, parameter.annotation, _presence(parameter))
            for parameter in parameters
        }
        made: type[CommandSerializer] = type(name, (CommandSerializer,), {**fields, "__doc__": description})
        made.declaration = of  # not among the fields, one of which may have that name
        return made

    def _field(
        self, parameter: Parameter, annotation: Any, options: dict[str, Any]
    ) -> serializers.Field[Any, Any, Any, Any]:
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin in (Union, types.UnionType) and type(None) in arguments and len(arguments) == 2:
            (inner,) = (argument for argument in arguments if argument is not type(None))
            return self._field(parameter, inner, {**options, "allow_null": True})
        if origin is list and len(arguments) == 1:
            item = self._field(parameter, arguments[0], {})
            return ShortListField(child=item, max_length=MAX_ITEMS, **options)
        if origin is Literal:
            return OneOfField(members=arguments, **options)
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            return OneOfField(members=list(annotation), **options)
        if annotation is str:
            return ExactCharField(**self._text_limits(parameter), **options)
        if annotation is Decimal:
            return AmountField(**self._digits(parameter), **options)
        if annotation in _PLAIN:
            return _PLAIN[annotation](**options)
        raise ImproperlyConfigured(
            f"{self.subject}({parameter.name}: {annotation!r}) cannot be read from a request. Use str, int, bool, "
            "Decimal, date, datetime, UUID, an Enum, a Literal, Optional or list of these; or leave the command out of "
            "the view's `commands`."
        )

    def _text_limits(self, parameter: Parameter) -> dict[str, Any]:
        field = self._model_field(parameter.name)
        if not isinstance(field, models.CharField):
            return {"allow_blank": True}
        return {"max_length": field.max_length, "allow_blank": field.blank or parameter.default == ""}

    def _digits(self, parameter: Parameter) -> dict[str, Any]:
        field = self._model_field(parameter.name)
        if isinstance(field, models.DecimalField):
            return {"max_digits": field.max_digits, "decimal_places": field.decimal_places}
        return {"max_digits": MAX_DIGITS, "decimal_places": None}

    def _model_field(self, name: str) -> object:
        try:
            return None if self.model is None else self.model._meta.get_field(name)
        except FieldDoesNotExist:
            return None


def _presence(parameter: Parameter) -> dict[str, Any]:
    if parameter.required:
        return {"required": True}
    # What the form of a browsable page begins with: sent as it is, it means what leaving it out does.
    default = parameter.default
    if isinstance(default, Enum):
        default = default.value
    return {"required": False, "initial": str(default) if isinstance(default, Decimal) else default}


_PLAIN: dict[Any, type[serializers.Field[Any, Any, Any, Any]]] = {
    bool: ExactBooleanField,
    int: ExactIntegerField,
    date: serializers.DateField,
    datetime: UTCField,
    UUID: ExactUUIDField,
}
