"""How moments look on a page: in UTC and exact, how long ago, or both; and when something is due."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.utils.html import format_html
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext as _
from django.utils.translation import npgettext_lazy

from eventsourcing_app.log import clock

if TYPE_CHECKING:
    from datetime import datetime

    from django.utils.safestring import SafeString

_MINUTE = timedelta(minutes=1)
# Django's own are in the nominative; after "ago" and "in" languages such as German need another case.
_UNITS: Final[dict[str, Any]] = {
    "year": npgettext_lazy("in it, or ago", "%(num)d year", "%(num)d years", "num"),
    "month": npgettext_lazy("in it, or ago", "%(num)d month", "%(num)d months", "num"),
    "week": npgettext_lazy("in it, or ago", "%(num)d week", "%(num)d weeks", "num"),
    "day": npgettext_lazy("in it, or ago", "%(num)d day", "%(num)d days", "num"),
    "hour": npgettext_lazy("in it, or ago", "%(num)d hour", "%(num)d hours", "num"),
    "minute": npgettext_lazy("in it, or ago", "%(num)d minute", "%(num)d minutes", "num"),
}


def utc(moment: datetime, *, exact: bool = False) -> SafeString:
    """A time in UTC: to the second, or to the microsecond."""
    return format_html('<time datetime="{}">{}</time>', iso(moment), _text(moment, exact=exact))


def relative(moment: datetime) -> SafeString:
    """How long ago it was, or how long it will be, by the clock of the log; the exact time on hover."""
    return _titled(moment, _distance(moment, clock.now()))


def both(moment: datetime) -> SafeString:
    """A time in UTC, to the second, and how long ago it was: what is on hover only is not on a phone, nor on paper."""
    return format_html('{} <span class="es-quiet">{}</span>', utc(moment), relative(moment))


def due(moment: datetime) -> SafeString:
    """When something will be done; that it is due, if that time has come."""
    now = clock.now()
    return _titled(moment, _("due now") if moment <= now else _distance(moment, now))


def of_a_value(moment: datetime) -> SafeString:
    """A time that is a value, in UTC: to the second if it is a whole one, else to the microsecond."""
    return utc(moment, exact=bool(moment.microsecond))


def iso(moment: datetime) -> str:
    """A time as machines read it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _distance(moment: datetime, now: datetime) -> str:
    if abs(moment - now) < _MINUTE:  # in minutes, there would be none
        return _("just now") if moment <= now else _("in less than a minute")
    if moment > now:
        return _("in %(time)s") % {"time": timeuntil(moment, now, time_strings=_UNITS, depth=1)}
    return _("%(time)s ago") % {"time": timesince(moment, now, time_strings=_UNITS, depth=1)}


def _titled(moment: datetime, shown: str) -> SafeString:
    return format_html('<time datetime="{}" title="{}">{}</time>', iso(moment), _text(moment, exact=True), shown)


def _text(moment: datetime, *, exact: bool) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f UTC" if exact else "%Y-%m-%d %H:%M:%S UTC")
