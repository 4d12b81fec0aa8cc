"""What an event says, for people: fields by their labels, money with its currency, moments, choices, nested values.

It shows the event as its class of today; one that no code here can read, as it is stored.
"""

from __future__ import annotations

import dataclasses
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from django.core.exceptions import FieldDoesNotExist
from django.utils.formats import date_format, number_format, time_format
from django.utils.html import format_html, format_html_join
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from eventsourcing_app.admin.durations import duration
from eventsourcing_app.admin.links import linked
from eventsourcing_app.admin.times import of_a_value
from eventsourcing_app.admin.values import CURRENCY, NOTHING, amount, label_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from django.db.models import Model

    Leaf = tuple[str, str]
    """The name of the field that a value stands in, and the value as text."""


class PayloadField(NamedTuple):
    """One field of an event."""

    name: str
    label: str
    value: str


class Payload:
    """The fields of an event. ``urls`` tells where a text in a field leads, ``currency`` what amounts are in that do
    not say it themselves.
    """

    def __init__(
        self, data: object, *, model: type[Model] | None, urls: Mapping[Leaf, str], currency: str = ""
    ) -> None:
        self._data, self._model, self._urls, self._currency = data, model, urls, currency

    def fields(
        self, *, label: Callable[[str], str | None], value: Callable[[str, object], str | None]
    ) -> list[PayloadField]:
        """Return the fields in the order of their declaration; ``label`` and ``value`` may say it otherwise.

        Nothing is said where they return an empty text; ``None`` is the usual way.
        """
        members = members_of(self._data)
        currency = _currency_of(members) or self._currency
        found = []
        for name, each in members.items():
            own_label, own_value = label(name), value(name, each)
            found.append(
                PayloadField(
                    name,
                    label_of(self._model, name) if own_label is None else own_label,
                    self._told(name, each, currency) if own_value is None else own_value,
                )
            )
        return found

    def _told(self, name: str, value: object, currency: str) -> str:
        """A field of the event itself: what its model says of values of that name holds."""
        choice = _choice_of(self._model, name, value)
        return self._shown(name, value, currency) if choice is None else choice

    def _shown(self, name: str, value: object, currency: str) -> str:
        if value is None or value == "":
            return NOTHING
        if (shown := _SHOWN.get(type(value))) is not None:
            return shown(value)
        if isinstance(value, Enum):
            return str(getattr(value, "label", None) or capfirst(value.name.replace("_", " ").lower()))
        if isinstance(value, Decimal):
            return amount(value, currency)
        if isinstance(value, str | int | UUID):
            return linked(str(value), self._urls.get((name, str(value))))
        if isinstance(value, list | tuple | set | frozenset):
            return self._several(name, list(value), currency)
        return self._nested(members_of(value), currency)

    def _several(self, name: str, values: list[object], currency: str) -> str:
        if not values:
            return NOTHING
        rows = ((self._shown(name, each, currency),) for each in values)
        return format_html('<ol class="es-values">{}</ol>', format_html_join("", "<li>{}</li>", rows))

    def _nested(self, members: Mapping[str, object], currency: str) -> str:
        if not members:
            return NOTHING
        currency = _currency_of(members) or currency
        rows = ((label_of(None, name), self._shown(name, each, currency)) for name, each in members.items())
        return format_html('<dl class="es-facts">{}</dl>', format_html_join("", "<dt>{}</dt><dd>{}</dd>", rows))


def members_of(value: object) -> dict[str, Any]:
    """Return the fields of a dataclass, or the items of a mapping."""
    if dataclasses.is_dataclass(value):
        return {spec.name: getattr(value, spec.name) for spec in dataclasses.fields(value)}
    return {str(name): each for name, each in value.items()} if isinstance(value, dict) else {"": value}


def leaves_of(value: object, name: str = "") -> Iterator[Leaf]:
    """Yield every text, number and UUID with the name of the field that it stands in."""
    if isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from leaves_of(each, name)
    elif isinstance(value, dict) or dataclasses.is_dataclass(value):
        for inner, each in members_of(value).items():
            yield from leaves_of(each, inner)
    elif isinstance(value, str | int | UUID) and not isinstance(value, bool | Enum) and value != "":
        yield name, str(value)


def _currency_of(members: Mapping[str, object]) -> str:
    value = members.get(CURRENCY)
    plain = value.value if isinstance(value, Enum) else value
    return plain if isinstance(plain, str) else ""


def _choice_of(model: type[Model] | None, name: str, value: object) -> str | None:
    plain = value.value if isinstance(value, Enum) else value
    return None if model is None or not isinstance(plain, str | int) else _choices(model, name).get(plain)


@cache
def _choices_of(model: type[Model], name: str) -> Mapping[Any, Any]:
    try:
        field: Any = model._meta.get_field(name)
    except FieldDoesNotExist:
        return {}
    return dict(getattr(field, "flatchoices", None) or ())


def _choices(model: type[Model], name: str) -> Mapping[Any, str]:
    return {value: str(label) for value, label in _choices_of(model, name).items()}


def _flag(value: object) -> str:
    return _("Yes") if value else _("No")


_SHOWN: dict[type, Callable[[Any], str]] = {
    bool: _flag,
    float: partial(number_format, use_l10n=True),
    datetime: of_a_value,
    date: date_format,
    time: lambda value: time_format(value, "H:i:s"),
    timedelta: duration,
}
