"""How long something took, in the two largest units: exact where it is short, readable where it is long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.formats import number_format
from django.utils.translation import gettext as _

if TYPE_CHECKING:
    from datetime import timedelta

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def duration(span: timedelta) -> str:
    """Return a span of time for people; a negative one, of clocks that disagree, with its sign."""
    seconds = abs(span.total_seconds())
    text = _text(seconds)
    return f"−{text}" if span.total_seconds() < 0 else text


def _text(seconds: float) -> str:
    if seconds < 1:
        return _("%(count)s ms") % {"count": _number(seconds * 1000, 1 if seconds < 0.01 else None)}
    if seconds < _MINUTE:
        return _("%(count)s s") % {"count": _number(seconds, 1)}
    whole = round(seconds)
    if whole < _HOUR:
        return _("%(minutes)d min %(seconds)d s") % {"minutes": whole // _MINUTE, "seconds": whole % _MINUTE}
    if whole < _DAY:
        return _("%(hours)d h %(minutes)d min") % {"hours": whole // _HOUR, "minutes": whole % _HOUR // _MINUTE}
    return _("%(days)d d %(hours)d h") % {"days": whole // _DAY, "hours": whole % _DAY // _HOUR}


def _number(value: float, places: int | None) -> str:
    rounded = round(value, places)
    return number_format(int(rounded) if rounded == int(rounded) else rounded)
