"""Fields that take what was meant, exactly: no number for a text, no text for a truth, no time without its offset."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from enum import Enum

LARGEST_INTEGER = 2**53 - 1
"""Beyond it, readers of JSON round."""


class ExactCharField(serializers.CharField):
    """Text, as it was sent: blanks at its ends belong to it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is not serializers.empty and data is not None and not isinstance(data, str):
            self.fail("invalid")
        return super().run_validation(data)


class ExactBooleanField(serializers.BooleanField):
    """``true`` or ``false``."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class ExactIntegerField(serializers.IntegerField):
    """A JSON number without a fraction."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=-LARGEST_INTEGER, max_value=LARGEST_INTEGER, **kwargs)

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        return data


class AmountField(serializers.DecimalField):
    """A decimal: read from text or number, always written as text."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs["coerce_to_string"] = True
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> Decimal:
        if isinstance(data, bool) or not isinstance(data, (str, int, Decimal)):
            self.fail("invalid")
        # Digits are what JSON and the event will have; also keeps other scripts' digits out.
        if isinstance(data, str) and not data.isascii():
            self.fail("invalid")
        return super().to_internal_value(data)


class UTCField(serializers.DateTimeField):
    """A moment: written in UTC with ``Z``; without an offset it is not taken."""

    default_error_messages = {"naive": _("A time needs its offset from UTC, such as Z.")}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(default_timezone=UTC, **kwargs)

    def enforce_timezone(self, value: datetime) -> datetime:
        if value.tzinfo is None:
            self.fail("naive")
        try:
            return value.astimezone(UTC)
        except OverflowError:
            self.fail("overflow")


class ExactUUIDField(serializers.UUIDField):
    """A UUID as text."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class ShortListField(serializers.ListField):
    """A list that is measured before its items are looked at."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, list) and self.max_length is not None and len(data) > self.max_length:
            raise serializers.ValidationError(
                self.error_messages["max_length"].format(max_length=self.max_length), code="max_length"
            )
        return super().to_internal_value(data)


class OneOfField(serializers.Field[Any, Any, Any, Any]):
    """One of some plain values; becomes what they stand for (a member of an enumeration, or itself)."""

    default_error_messages = {"invalid_choice": _("It must be one of: {choices}.")}

    def __init__(self, *, members: Sequence[Enum | str | int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.members = {_plain(member): member for member in members}

    def to_internal_value(self, data: Any) -> Any:
        # With their types: True == 1, and neither may stand for the other.
        found = {(type(value), value): member for value, member in self.members.items()}
        if not isinstance(data, (str, int)) or (type(data), data) not in found:
            self.fail("invalid_choice", choices=", ".join(str(value) for value in self.members))
        return found[type(data), data]

    def to_representation(self, value: Any) -> Any:
        return _plain(value)


def _plain(member: Any) -> Any:
    return getattr(member, "value", member)
