"""How values look on a page: JSON indented, long names breakable, fields by their labels. Everything is escaped."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib.admin.utils import display_for_field, display_for_value
from django.core.exceptions import FieldDoesNotExist
from django.utils.formats import number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from eventsourcing_app.admin.times import of_a_value

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from django.db.models import Model
    from django.utils.safestring import SafeString

    from eventsourcing_app.aggregates.past.changes import Change

NOTHING = "—"
CURRENCY = "currency"
"""The field that says in which currency the amounts beside it are."""
_SUMMARY = 120
_BRIEF = 20


def brief(text: str) -> SafeString | str:
    """The end of a long identifier, where those made close to each other differ; the whole of it on hover."""
    return text if len(text) <= _BRIEF else format_html('<span title="{}">…{}</span>', text, text[-8:])


def breakable(name: str) -> SafeString:
    """A wire name that a narrow column may break between its words."""
    words = re.split(r"(?<=[._])", name)
    return format_html_join(mark_safe("<wbr>"), "{}", ((word,) for word in words))


def pretty(value: Any) -> SafeString:
    """JSON on lines of its own, keys in the order in which they are stored."""
    return format_html('<pre class="es-json">{}</pre>', json.dumps(value, indent=2, ensure_ascii=False))


def trace(error: str) -> SafeString | str:
    """An error as it was recorded."""
    return format_html('<pre class="es-error">{}</pre>', error) if error else NOTHING


def masked() -> SafeString:
    """What stands in the place of something that the user may not see."""
    return format_html('<span class="es-masked">{}</span>', _("masked"))


def labelled(label: str, value: str) -> SafeString:
    """A value of a list with the name of its column, which is shown where the list has no heads: on a phone."""
    return format_html('<span class="es-label">{}: </span>{}', capfirst(label), value)


def summary(data: Any) -> str:
    """One line of an event's data."""
    if not isinstance(data, dict):
        return _short(data)
    return _cut(" · ".join(f"{name}: {_short(value)}" for name, value in data.items()))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _cut(" ".join(text.split()))


def _cut(text: str) -> str:
    return text if len(text) <= _SUMMARY else f"{text[: _SUMMARY - 1]}…"


class ChangedField(NamedTuple):
    """What became of one field, as a reader sees it."""

    name: str
    label: str
    before: str
    after: str


def changed_fields(
    model: type[Model], changes: Mapping[str, Change], *, shown: Collection[str], currencies: tuple[str, str] = ("", "")
) -> list[ChangedField]:
    """Return what changed, in the order of ``shown``, the fields that a page shows; of others nothing is told.

    ``currencies`` are those of the state before and of the state after, where a page has both.
    """
    of_before, of_after = currencies
    return [
        ChangedField(
            name=name,
            label=label_of(model, name),
            before=value_of_field(model, name, changes[name].before, currency=of_before),
            after=value_of_field(model, name, changes[name].after, currency=of_after),
        )
        for name in shown
        if name in changes
    ]


def label_of(model: type[Model] | None, name: str) -> str:
    """The name of a field for people: its verbose name, or what its name says."""
    try:
        return str(capfirst(_field(model, name).verbose_name))
    except FieldDoesNotExist:
        return str(capfirst(name.replace("_", " ").strip()))


def value_of_field(model: type[Model] | None, name: str, value: Any, *, currency: str = "") -> str:
    """A value of a field: choices by their labels, amounts as in what events say, moments in UTC, the rest as Django's
    admin shows it.
    """
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):  # no green or red: either may be right
        return _("Yes") if value else _("No")
    try:
        field: Any = _field(model, name)
    except FieldDoesNotExist:
        field = None
    has_choices = bool(getattr(field, "flatchoices", None))
    if isinstance(value, Decimal) and not has_choices:
        return amount(value, currency)
    if isinstance(value, datetime) and not has_choices:
        return of_a_value(value)
    if field is not None:
        with suppress(ValueError, TypeError, AttributeError):
            # Of a choice that code no longer has, Django would say that there is nothing.
            return str(display_for_field(value, field, value if has_choices else NOTHING))
    return str(display_for_value(value, NOTHING))


def amount(value: Decimal, currency: str = "") -> str:
    """A decimal number with all its digits, grouped as the locale has it."""
    if not value.is_finite():
        return str(value)
    number = number_format(format(value, "f"), use_l10n=True, force_grouping=True)
    # A no-break space: the two belong together.
    return f"{number}\u00a0{currency}" if currency else number


def currency_of(values: Mapping[str, Any], shown: Collection[str]) -> str:
    """The currency of a state, if it has one and a page shows it."""
    currency = values.get(CURRENCY) if CURRENCY in shown else None
    return currency if isinstance(currency, str) else ""


def _field(model: type[Model] | None, name: str) -> Any:
    if model is None:
        raise FieldDoesNotExist
    return model._meta.get_field(name)
