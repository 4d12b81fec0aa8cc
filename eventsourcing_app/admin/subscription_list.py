"""The list of subscriptions, in pages by name: what the rows tell is fetched for all of a page at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import BadRequest
from django.core.paginator import Paginator
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from eventsourcing_app.access.last_failures import hidden_positions, last_failures, shows_reason
from eventsourcing_app.access.pages import page_of
from eventsourcing_app.admin.columns import ColumnsAdmin, Reader, column
from eventsourcing_app.admin.durations import in_words
from eventsourcing_app.admin.keyset import AFTER, BEFORE, KeysetChangeList
from eventsourcing_app.admin.links import linked
from eventsourcing_app.admin.times import both
from eventsourcing_app.admin.values import NOTHING, breakable, labelled, masked
from eventsourcing_app.conf import conf
from eventsourcing_app.subscriptions.overview import overviews
from eventsourcing_app.subscriptions.records import Subscription

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    from eventsourcing_app.access.last_failures import Failure
    from eventsourcing_app.admin.links import Links
    from eventsourcing_app.subscriptions.lag import Lag

_ERROR = 160


class SubscriptionList(KeysetChangeList):
    """By name, rising or falling; each row comes with its overview and its last failure."""

    first_url: str
    previous_url: str | None = None
    next_url: str | None = None

    def get_ordering(self, request: HttpRequest, queryset: Any) -> list[Any]:
        return ["-name"] if "-name" in super(KeysetChangeList, self).get_ordering(request, queryset) else ["name"]

    def get_ordering_field_columns(self) -> dict[int, Any]:
        return super(KeysetChangeList, self).get_ordering_field_columns()

    def get_results(self, request: HttpRequest) -> None:
        after, before = request.GET.get(AFTER), request.GET.get(BEFORE)
        if after is not None and before is not None:
            raise BadRequest("Give 'after' or 'before', not both.")
        falling = self.get_ordering(request, self.queryset) == ["-name"]
        page = page_of(
            self.queryset, "name", limit=self.list_per_page, after=after, before=before, newest_first=falling
        )
        self.result_list = _with_overviews(request, page.rows)
        self.result_count = self.full_result_count = len(self.result_list)
        self.show_full_result_count = self.show_admin_actions = False
        self.can_show_all = self.multi_page = False
        self.paginator = Paginator(self.result_list, self.list_per_page)
        back, on = (AFTER, BEFORE) if falling else (BEFORE, AFTER)
        if page.rows and page.has_previous:
            self.previous_url = self.get_query_string({back: page.rows[0].pk})
        if page.rows and page.has_next:
            self.next_url = self.get_query_string({on: page.rows[-1].pk})
        self.first_url = self.get_query_string()


def _with_overviews(request: HttpRequest, rows: Any) -> list[Any]:
    known = overviews(rows)
    hidden = hidden_positions(request.user, known)
    failures = last_failures(request.user, known, hidden=hidden)
    for overview in known:
        row: Any = overview.row
        row.overview, row.failure = overview, failures.get(row.name)
        row.shows_reason = shows_reason(request.user, overview, hidden=hidden)
    return [overview.row for overview in known]


class SubscriptionColumns(ColumnsAdmin[Subscription]):
    """What the list says of a subscription."""

    @column(_("status"))
    def status(self, subscription: Any, reader: Reader) -> SafeString | str:
        """Its status, and why."""
        return status_of(subscription, shows_reason=subscription.shows_reason)

    @column(_("lag"))
    def lag(self, subscription: Any, reader: Reader) -> SafeString | str:
        """How far it is behind, and in how many segments."""
        number = len(subscription.overview.segments)
        segments = ngettext("%(number)d segment", "%(number)d segments", number) % {"number": number}
        told = format_html('{}<br><span class="es-quiet">{}</span>', lag_of(subscription.overview.lag), segments)
        return labelled(gettext("lag"), told)

    @column(_("rate"))
    def rate(self, subscription: Any, reader: Reader) -> SafeString | str:
        """How many events it may handle in a time."""
        return labelled(gettext("rate"), rate_of(subscription))

    @column(_("parked events"))
    def parked(self, subscription: Any, reader: Reader) -> SafeString | str:
        """How many events it has parked; leads to them."""
        return labelled(gettext("parked events"), parked_of(reader.links, subscription.overview.lag))

    @column(_("last error"))
    def last_error(self, subscription: Any, reader: Reader) -> SafeString | str:
        """Of what it failed last."""
        return labelled(gettext("last error"), failure_of(reader.links, subscription.failure))


def status_of(row: Subscription, *, shows_reason: bool) -> SafeString:
    """The status, and why; wrong if it is halted."""
    is_wrong = row.status == Subscription.Status.HALTED
    badge = format_html('<span class="es-badge{}">{}</span>', " es-wrong" if is_wrong else "", row.get_status_display())
    if not row.status_reason:
        return badge
    reason = _cut(row.status_reason) if shows_reason else masked()
    return format_html('{} <span class="es-quiet es-reason">{}</span>', badge, reason)


def lag_of(lag: Lag) -> SafeString | str:
    """How far it is behind; wrong if it is active, and behind for longer than the health endpoint allows."""
    if not lag.events:
        return gettext("none")
    events = ngettext("%(number)d event", "%(number)d events", lag.events) % {"number": lag.events}
    behind = in_words(lag.seconds)
    if is_late(lag):
        late = '<b class="es-wrong">{}</b> <span class="es-badge es-wrong">{}</span>'
        behind = format_html(late, behind, gettext("late"))
    return format_html("{}<br>{}", events, behind)


def is_late(lag: Lag) -> bool:
    """Whether a subscription should not be as far behind as it is."""
    return lag.status == Subscription.Status.ACTIVE and lag.seconds > conf.HEALTH_LAG_SECONDS


def rate_of(row: Subscription) -> SafeString | str:
    """How many events it may handle in a time, and who says so."""
    rate = row.rate or gettext("unlimited")
    if row.burst is not None:
        rate = gettext("%(rate)s, %(burst)d at once") % {"rate": rate, "burst": row.burst}
    if f"{row.rate} {row.burst or ''}".strip() == row.declared_rate:
        return rate
    by_operator = gettext("set by an operator; declared: %s") % (row.declared_rate or gettext("unlimited"))
    return format_html('{}<br><span class="es-quiet">{}</span>', rate, by_operator)


def parked_of(links: Links, lag: Lag) -> SafeString | str:
    """How many events failed, or wait behind one that did; wrong if some are dead."""
    if not lag.parked:
        return "0"
    number = linked(str(lag.parked), links.parked_url(subscription=lag.name))
    if not lag.dead:
        return number
    dead = ngettext("%(number)d dead", "%(number)d dead", lag.dead) % {"number": lag.dead}
    return format_html('{}<br><b class="es-wrong">{}</b>', number, dead)


def failure_of(links: Links, failure: Failure | None) -> SafeString | str:
    """Of what it failed last, at which event, and when."""
    if failure is None:
        return NOTHING
    error = masked() if failure.error is None else breakable(_cut(failure.error))
    facts: list[SafeString | str] = []
    if failure.position is not None:
        facts.append(linked(f"#{failure.position}", links.event_url(failure.position)))
    if failure.moment is not None:
        facts.append(both(failure.moment))
    return format_html("{}<br>{}", error, format_html_join(" · ", "{}", ((fact,) for fact in facts)))


def _cut(text: str) -> str:
    return text if len(text) <= _ERROR else f"{text[: _ERROR - 1]}…"
