"""How values look on a page: JSON indented, long names breakable, fields by their labels. Everything is escaped."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib.admin.utils import display_for_field, display_for_value
from django.core.exceptions import FieldDoesNotExist
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


def changed_fields(model: type[Model], changes: Mapping[str, Change], *, shown: Collection[str]) -> list[ChangedField]:
    """Return what changed, in the order of ``shown``, the fields that a page shows; of others nothing is told."""
    return [
        ChangedField(
            name=name,
            label=label_of(model, name),
            before=value_of_field(model, name, changes[name].before),
            after=value_of_field(model, name, changes[name].after),
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


def value_of_field(model: type[Model] | None, name: str, value: Any) -> str:
    """A value as the admin shows that of the field: choices by their labels, numbers and days of the locale.

    Moments are in UTC, as all those beside them are, whatever the time zone of the project.
    """
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):  # no green or red: either may be right
        return _("Yes") if value else _("No")
    if isinstance(value, datetime):
        return of_a_value(value)
    try:
        field = _field(model, name)
        # Of a choice that code no longer has, Django would say that there is nothing.
        return str(display_for_field(value, field, value if getattr(field, "flatchoices", None) else NOTHING))
    except (FieldDoesNotExist, ValueError, TypeError, AttributeError):
        return str(display_for_value(value, NOTHING))


def _field(model: type[Model] | None, name: str) -> Any:
    if model is None:
        raise FieldDoesNotExist
    return model._meta.get_field(name)
