"""Form fields for what commands are given. Browsers show their own controls, so that no script is needed for any."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.admin.widgets import (
    AdminIntegerFieldWidget,
    AdminTextareaWidget,
    AdminTextInputWidget,
    AdminUUIDInputWidget,
)
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db.models import BLANK_CHOICE_DASH
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from eventsourcing_app.access.events import is_text
from eventsourcing_app.aggregates.arguments import AMOUNT, LARGEST_INTEGER, MAX_ITEMS, Kind, plain_member

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventsourcing_app.aggregates.arguments import Shape

_DAY = "%Y-%m-%d"
_MOMENT = "%Y-%m-%dT%H:%M:%S"
_LINE_ENDS = re.compile(r"\r\n|\r|\n")
"""Those of forms. Others, such as U+2028, are characters of a text."""


class TextField(forms.CharField):
    """Text of whole characters."""

    def validate(self, value: Any) -> None:
        super().validate(value)
        if value is not None and not is_text(value):
            raise ValidationError(_("A character that no text has is not allowed."), code="not_text")


class AmountField(forms.DecimalField):
    """A decimal in plain digits, with as many places as its column has."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.widget.attrs["inputmode"] = "decimal"

    def to_python(self, value: Any) -> Decimal | None:  # type: ignore[override]  # to stubs it is a whole number
        if isinstance(value, str) and value.strip() and not AMOUNT.fullmatch(value.strip()):
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        number: Decimal | None = super().to_python(value)
        return number

    def clean(self, value: Any) -> Decimal | None:
        number: Decimal | None = super().clean(value)
        if number is None or self.decimal_places is None:
            return number
        try:
            return number.quantize(Decimal(1).scaleb(-self.decimal_places))
        except InvalidOperation:  # more digits than the context has: it is exact as it is
            return number


class MomentField(forms.Field):
    """A moment in UTC, to the second. One that no clock of the user's zone can show is refused."""

    widget = forms.DateTimeInput(format=_MOMENT, attrs={"type": "datetime-local", "step": "1"})
    default_error_messages = {"invalid": _("Enter a valid date/time.")}

    def to_python(self, value: Any) -> datetime | None:
        if value in self.empty_values:
            return None
        moment = value if isinstance(value, datetime) else self._parsed(str(value).strip())
        return self._in_utc(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)

    def prepare_value(self, value: Any) -> Any:
        """Return it without its offset, as browsers have it."""
        return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) and value.tzinfo else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        # Of what it began with, the browser shows whole seconds.
        begun = initial.replace(microsecond=0) if isinstance(initial, datetime) else initial
        return bool(super().has_changed(begun, data))

    def _parsed(self, text: str) -> datetime:
        try:
            moment = parse_datetime(text)
        except ValueError:
            moment = None
        if moment is None:
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        return moment

    def _in_utc(self, moment: datetime) -> datetime:
        try:
            timezone.localtime(moment)  # in years 1 and 9999 there may be none, and no page could show it
            return moment.astimezone(UTC)
        except OverflowError as error:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from error


class LinesField(forms.Field):
    """A list, one item a line; empty lines count for nothing."""

    widget = AdminTextareaWidget
    default_error_messages = {
        "too_many": _("There may be at most %(limit)d lines."),
        "line": _("Line %(number)d: %(problem)s"),
    }

    def __init__(self, *, item: forms.Field, nullable: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.item, self.nullable = item, nullable

    def to_python(self, value: Any) -> list[Any] | None:
        if isinstance(value, list):
            return value
        lines = [(number, line) for number, line in enumerate(_LINE_ENDS.split(str(value or "")), 1) if line.strip()]
        if len(lines) > MAX_ITEMS:
            raise ValidationError(self.error_messages["too_many"], code="too_many", params={"limit": MAX_ITEMS})
        if not lines and self.nullable:
            return None
        return [self._item(number, line) for number, line in lines]

    def prepare_value(self, value: Any) -> Any:
        """Return the text of a list."""
        return "\n".join(map(str, value)) if isinstance(value, (list, tuple)) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return self.to_python(data) != (list(initial) if isinstance(initial, tuple) else initial)
        except ValidationError:
            return True

    def _item(self, number: int, line: str) -> Any:
        try:
            return self.item.clean(line.strip())
        except ValidationError as error:
            params = {"number": number, "problem": " ".join(error.messages)}
            raise ValidationError(self.error_messages["line"], code="line", params=params) from error


class MemberField(forms.TypedChoiceField):
    """One of some members, each by the text of its plain value; or by its literal where such texts would not do."""

    def __init__(self, *, members: Sequence[Any], begin_empty: bool, nullable: bool, **kwargs: Any) -> None:
        plain = [plain_member(member) for member in members]
        texts = [str(value) for value in plain]
        if len(set(texts)) < len(texts) or not all(map(str.strip, texts)):  # 1 and "1"; "", which is no choice
            texts = [repr(value) for value in plain]
        self.members = dict(zip(texts, members, strict=True))
        choices = [(text, _label_of(member).strip() or text) for text, member in self.members.items()]
        super().__init__(
            choices=[*(BLANK_CHOICE_DASH if begin_empty else ()), *choices],
            coerce=self._member_of,
            empty_value=None if nullable else "",
            **kwargs,
        )

    def text_of(self, member: Any) -> Any:
        """Return what stands for a member; for anything else, nothing does."""
        found = (text for text, each in self.members.items() if type(each) is type(member) and each == member)
        return next(found, None)

    def _member_of(self, text: str) -> Any:
        try:
            return self.members[text]
        except KeyError as error:
            raise ValueError(text) from error


def field_for(shape: Shape, **options: Any) -> forms.Field:
    """Make the field that reads a value. Raises ``ImproperlyConfigured`` for a list within a list."""
    if shape.item is not None:
        if shape.item.kind is Kind.LIST:
            raise ImproperlyConfigured("a list within a list has no form.")
        options = {**options, "required": False}
        return LinesField(item=_item(shape.item), nullable=shape.nullable, **options)
    if shape.kind is Kind.BOOLEAN:
        return _truth(shape, **options)
    if shape.kind is Kind.TEXT:
        empty = None if shape.nullable else ""
        return TextField(max_length=shape.max_length, empty_value=empty, widget=AdminTextInputWidget, **options)
    if shape.kind is Kind.INTEGER:
        limits: dict[str, Any] = {"min_value": -LARGEST_INTEGER, "max_value": LARGEST_INTEGER}
        return forms.IntegerField(widget=AdminIntegerFieldWidget, **limits, **options)
    if shape.kind is Kind.DECIMAL:
        return AmountField(max_digits=shape.max_digits, decimal_places=shape.decimal_places, **options)
    if shape.kind is Kind.DATE:
        day = forms.DateInput(format=_DAY, attrs={"type": "date"})
        return forms.DateField(input_formats=[_DAY], widget=day, **options)
    if shape.kind is Kind.MOMENT:
        return MomentField(**options)
    if shape.kind is Kind.UUID:
        return forms.UUIDField(widget=AdminUUIDInputWidget, **options)
    begin_empty = shape.nullable or options.get("initial") is None
    return MemberField(members=shape.members, begin_empty=begin_empty, nullable=shape.nullable, **options)


def _item(shape: Shape) -> forms.Field:
    if shape.kind is Kind.BOOLEAN:  # a box to be ticked is no line
        return MemberField(members=(True, False), begin_empty=False, nullable=False)
    return field_for(shape, required=True)


def _truth(shape: Shape, *, required: bool, **options: Any) -> forms.Field:
    if shape.nullable:
        return forms.NullBooleanField(required=False, **options)
    return forms.BooleanField(required=False, **options)


def _label_of(member: Any) -> str:
    label = getattr(member, "label", None)
    return str(capfirst(str(plain_member(member)).replace("_", " ")) if label is None else label)
