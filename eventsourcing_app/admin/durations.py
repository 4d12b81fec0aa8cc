"""How durations look on a page: in words, with the exact seconds on hover."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.utils.html import format_html
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from eventsourcing_app.log import clock

if TYPE_CHECKING:
    from django.utils.safestring import SafeString

_MINUTE = 60


def duration(seconds: float) -> SafeString:
    """A duration in its two largest units."""
    exact = _("%(seconds)s s") % {"seconds": f"{seconds:.3f}".rstrip("0").rstrip(".")}
    return format_html('<span title="{}">{}</span>', exact, _in_words(seconds))


def _in_words(seconds: float) -> str:
    if seconds < _MINUTE:
        whole = int(seconds)
        return ngettext("%(number)d second", "%(number)d seconds", whole) % {"number": whole}
    now = clock.now()
    return timesince(now - timedelta(seconds=seconds), now)
