"""Fields that take what was meant, exactly: no number for a text, no text for a truth, no time without its offset."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.validators import ProhibitSurrogateCharactersValidator

from eventsourcing_app.aggregates.arguments import AMOUNT, LARGEST_INTEGER, plain_member

if TYPE_CHECKING:
    from collections.abc import Sequence
    from enum import Enum


class ExactCharField(serializers.CharField):
    """Text, as it was sent: blanks at its ends belong to it."""

    default_error_messages = {"surrogate_characters_not_allowed": _("Half a character is not allowed.")}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)
        # It looks at each character in Python: of a text of megabytes that takes longer than all the rest.
        slow = ProhibitSurrogateCharactersValidator
        self.validators = [each for each in self.validators if not isinstance(each, slow)]

    def to_internal_value(self, data: Any) -> str:
        text: str = super().to_internal_value(data)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail("surrogate_characters_not_allowed")
        return text

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
        number = whole_number(data)
        if number is None:
            self.fail("invalid")
        return number


def whole_number(data: object) -> int | None:
    """Read a JSON number without a fraction, which to JSON ``4.0`` is as well; ``None`` for anything else."""
    if isinstance(data, bool) or not isinstance(data, int | Decimal):
        return None
    if isinstance(data, Decimal) and not (abs(data) <= LARGEST_INTEGER and data == data.to_integral_value()):
        return None
    return int(data)


class AmountField(serializers.DecimalField):
    """A decimal: read from text or number, always written as text."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs["coerce_to_string"] = True
        super().__init__(**kwargs)

    @property
    def pattern(self) -> str:
        """The regular expression of its texts (ECMA-262, as JSON Schema has it)."""
        whole = "+" if self.max_whole_digits is None else f"{{1,{self.max_whole_digits}}}"
        if self.decimal_places == 0:
            return f"^-?[0-9]{whole}$"
        places = "+" if self.decimal_places is None else f"{{1,{self.decimal_places}}}"
        return f"^-?[0-9]{whole}([.][0-9]{places})?$"

    @property
    def longest(self) -> int | None:
        """Characters that it takes at most, where the pattern does not say so; ``None`` where it does."""
        return self.max_digits if self.decimal_places is None else None

    def to_internal_value(self, data: Any) -> Decimal:
        if isinstance(data, bool) or not isinstance(data, (str, int, Decimal)):
            self.fail("invalid")
        # Digits are what JSON and the event will have: no blanks, no underscores, and no other scripts' digits.
        if isinstance(data, str) and not AMOUNT.fullmatch(data):
            self.fail("invalid")
        if isinstance(data, str) and self.longest is not None and len(data) > self.longest:
            self.fail("max_digits", max_digits=self.max_digits)
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


class WordField(serializers.CharField):
    """One of some words that never change; read only."""

    def __init__(self, words: Sequence[str], **kwargs: Any) -> None:
        super().__init__(read_only=True, **kwargs)
        self.words = tuple(words)


class OneOfField(serializers.Field[Any, Any, Any, Any]):
    """One of some plain values; becomes what they stand for (a member of an enumeration, or itself)."""

    default_error_messages = {"invalid_choice": _("It must be one of: {choices}.")}

    def __init__(self, *, members: Sequence[Enum | str | int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.members = {plain_member(member): member for member in members}

    def to_internal_value(self, data: Any) -> Any:
        # With their types: True == 1, and neither may stand for the other.
        found = {(type(value), value): member for value, member in self.members.items()}
        if not isinstance(data, (str, int)) or (type(data), data) not in found:
            self.fail("invalid_choice", choices=", ".join(str(value) for value in self.members))
        return found[type(data), data]

    def to_representation(self, value: Any) -> Any:
        return plain_member(value)
