"""How long something takes: in short, exact where it is short itself; or in words, with the exact time on hover."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from eventsourcing_app.log import clock

if TYPE_CHECKING:
    from django.utils.safestring import SafeString

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def duration(span: timedelta) -> str:
    """Return a span of time for people; a negative one, of clocks that disagree, with its sign."""
    seconds = abs(span.total_seconds())
    text = _text(seconds)
    return f"−{text}" if span.total_seconds() < 0 else text


def in_words(seconds: float) -> SafeString:
    """Return a span of time in words, in its two largest units, with the exact seconds on hover."""
    exact = _("%(seconds)s s") % {"seconds": f"{seconds:.3f}".rstrip("0").rstrip(".")}
    return format_html('<span title="{}">{}</span>', exact, _words(seconds))


def _words(seconds: float) -> str:
    if seconds < _MINUTE:
        whole = int(seconds)
        return ngettext("%(number)d second", "%(number)d seconds", whole) % {"number": whole}
    now = clock.now()
    return timesince(now - timedelta(seconds=seconds), now)


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
