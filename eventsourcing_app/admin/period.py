"""The filter of the list of events by when they were recorded: some periods up to now, or from and until a moment.

Moments without an offset are in UTC, as the form says: a browser's own field for them has none.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin
from django.core.exceptions import BadRequest
from django.utils.translation import gettext_lazy as _

from eventsourcing_app.access.events import recorded
from eventsourcing_app.admin.filters import kept_parameters
from eventsourcing_app.log import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from django.contrib.admin.views.main import ChangeList
    from django.http import HttpRequest

    from eventsourcing_app.log.records import StoredEventQuerySet

PERIOD, SINCE, UNTIL = "period", "since", "until"
PARAMETERS: Final = (PERIOD, SINCE, UNTIL)
_DAY = {"hour": 0, "minute": 0, "second": 0, "microsecond": 0}
PERIODS: Final[Mapping[str, tuple[Any, Callable[[datetime], datetime]]]] = {
    "hour": (_("Last hour"), lambda now: now - timedelta(hours=1)),
    "today": (_("Today (UTC)"), lambda now: now.replace(**_DAY)),  # type: ignore[arg-type]
    "week": (_("Last 7 days"), lambda now: now - timedelta(days=7)),
}
"""What each period up to now is called, and when it began."""


class PeriodFilter(admin.ListFilter):
    """``?period=`` one of ``PERIODS``; or ``?since=`` and ``?until=`` moments, of which either may be left out."""

    title = _("period (UTC)")
    template = "admin/eventsourcing_app/filter_period.html"

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        given: dict[str, str] = {name: params.pop(name)[-1] for name in PARAMETERS if name in params}
        # A form sends the fields that were left empty, too.
        self.given = {name: value for name, value in given.items() if value}
        self.used_parameters.update(self.given)
        self.period = self.given.get(PERIOD)
        if self.period is not None and self.period not in PERIODS:
            raise BadRequest(f"'{PERIOD}' must be one of {', '.join(PERIODS)}.")
        self.since, self.until = self._moment(SINCE), self._moment(UNTIL)
        if self.period is not None and (self.since or self.until):
            raise BadRequest(f"Give '{PERIOD}', or '{SINCE}' and '{UNTIL}', not both.")
        self.kept: list[tuple[str, str]] = []

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return [*PARAMETERS]

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:
        self.kept = kept_parameters(changelist, *PARAMETERS)
        yield {
            "selected": not self.given,
            "query_string": changelist.get_query_string(remove=[*PARAMETERS]),
            "display": _("Any time"),
        }
        for name, (display, _begin) in PERIODS.items():
            yield {
                "selected": name == self.period,
                "query_string": changelist.get_query_string({PERIOD: name}, remove=[*PARAMETERS]),
                "display": display,
            }

    def queryset(self, request: HttpRequest, queryset: StoredEventQuerySet) -> StoredEventQuerySet:  # type: ignore[override]
        since = self.since if self.period is None else PERIODS[self.period][1](clock.now())
        return recorded(queryset, since=since, until=self.until)

    @property
    def since_field(self) -> str:
        """The beginning, as a browser's field has it."""
        return _field(self.since)

    @property
    def until_field(self) -> str:
        """The end, as a browser's field has it."""
        return _field(self.until)

    def _moment(self, name: str) -> datetime | None:
        text = self.given.get(name)
        if text is None:
            return None
        try:
            moment = datetime.fromisoformat(text)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise BadRequest(f"'{name}' must be a date and time, such as 2026-11-26T14:00.") from error


def _field(moment: datetime | None) -> str:
    if moment is None:
        return ""
    # Down to what it says, so that the form gives back the moment that it was given.
    exact = "microseconds" if moment.microsecond % 1000 else "milliseconds" if moment.microsecond else "seconds"
    return moment.replace(tzinfo=None).isoformat(timespec=exact if moment.microsecond or moment.second else "minutes")
