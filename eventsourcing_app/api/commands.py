"""From the signature of a command or a flow to the serializer of its request."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from django.utils.translation import gettext as _
from rest_framework import serializers

from eventsourcing_app.aggregates.arguments import MAX_ITEMS, Kind, arguments_of
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

    from django.db import models

    from eventsourcing_app.aggregates.arguments import Argument, Shape
    from eventsourcing_app.aggregates.declare import Command, Parameter
    from eventsourcing_app.aggregates.flow import Flow

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
    arguments = arguments_of(f"{model.__name__}.{command.name}", model, command.parameters)
    return _serializer(f"{model.__name__}{titled(command.name)}Serializer", command.description, arguments, of=command)


def serializer_for_flow(flow: Flow[..., Any], parameters: Iterable[Parameter]) -> type[CommandSerializer]:
    """Make the serializer of some of a flow's arguments. Raises ``ImproperlyConfigured`` for a type it cannot read."""
    description = (flow.__doc__ or "").partition("\n\n")[0]
    arguments = arguments_of(flow.name, None, parameters)
    return _serializer(f"{titled(flow.name)}Serializer", description, arguments, of=flow)


def titled(name: str) -> str:
    """Return a name as those of classes are written."""
    return "".join(character for character in name.title() if character.isalnum())


def _serializer(
    name: str, description: str, arguments: Iterable[Argument], of: Command | Flow[..., Any]
) -> type[CommandSerializer]:
    fields = {argument.name: _field(argument.shape, _presence(argument)) for argument in arguments}
    made: type[CommandSerializer] = type(name, (CommandSerializer,), {**fields, "__doc__": description})
    made.declaration = of  # not among the fields, one of which may have that name
    return made


def _field(shape: Shape, options: dict[str, Any]) -> serializers.Field[Any, Any, Any, Any]:
    if shape.nullable:
        options = {**options, "allow_null": True}
    if shape.item is not None:
        return ShortListField(child=_field(shape.item, {}), max_length=MAX_ITEMS, **options)
    if shape.kind is Kind.ONE_OF:
        return OneOfField(members=shape.members, **options)
    if shape.kind is Kind.TEXT:
        limits: dict[str, Any] = {} if shape.max_length is None else {"max_length": shape.max_length}
        return ExactCharField(allow_blank=shape.blank, **limits, **options)
    if shape.kind is Kind.DECIMAL:
        return AmountField(max_digits=shape.max_digits, decimal_places=shape.decimal_places, **options)
    return _PLAIN[shape.kind](**options)


def _presence(argument: Argument) -> dict[str, Any]:
    if argument.required:
        return {"required": True}
    # What the form of a browsable page begins with: sent as it is, it means what leaving it out does.
    default = argument.default
    if isinstance(default, Enum):
        default = default.value
    return {"required": False, "initial": str(default) if isinstance(default, Decimal) else default}


_PLAIN: dict[Kind, type[serializers.Field[Any, Any, Any, Any]]] = {
    Kind.BOOLEAN: ExactBooleanField,
    Kind.INTEGER: ExactIntegerField,
    Kind.DATE: serializers.DateField,
    Kind.MOMENT: UTCField,
    Kind.UUID: ExactUUIDField,
}
