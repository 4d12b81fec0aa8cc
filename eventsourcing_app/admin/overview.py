"""What the first page of the app shows: how busy the log is, how far it is final, and what is stuck.

Each part is for those who may see what it tells of, and each number leads to the list of what was counted, where there
is one that the user may open. Whatever cannot be read is said to be wrong; the rest is shown all the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from django.db.models import Count, Q
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from eventsourcing_app.access.activity import MINUTES, activity
from eventsourcing_app.access.subscriptions import may_view_parked, may_view_subscriptions, visible_parked
from eventsourcing_app.access.timeouts import ReadTimedOut, bounded_read
from eventsourcing_app.access.visibility import may_view_events
from eventsourcing_app.admin.keyset import AFTER, BEFORE
from eventsourcing_app.admin.links import Links
from eventsourcing_app.admin.plot import plot
from eventsourcing_app.admin.times import iso, utc
from eventsourcing_app.admin.values import breakable
from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import LogUnsafe
from eventsourcing_app.subscriptions.health import health_of, log_status
from eventsourcing_app.subscriptions.lag import lags
from eventsourcing_app.subscriptions.records import ParkedEvent, Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    from eventsourcing_app.access.activity import Activity
    from eventsourcing_app.access.visibility import Viewer
    from eventsourcing_app.admin.plot import Plot
    from eventsourcing_app.log.settled import LogStatus
    from eventsourcing_app.subscriptions.health import Health, Reason
    from eventsourcing_app.subscriptions.lag import Lag

T = TypeVar("T")
STATUS_FILTER: Final = "status"
STATE_FILTER: Final = "state"
"""How the lists of subscriptions and parked events call their filters."""
MOST_PARKED: Final = 10_000
"""Parked events that are counted at most: of more it is said that there are more."""
_WIDTH, _HEIGHT = 600, 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One number, and where it leads."""

    label: str
    value: str
    url: str | None = None
    note: str | SafeString = ""
    is_wrong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityPart:
    """The events of the last hour, drawn and in words."""

    plot: Plot
    text: str
    """What the drawing shows."""
    highest: str
    """What its greatest height stands for."""
    minutes: int
    """How long ago it begins."""
    cards: Sequence[Card]
    is_exact: bool


@dataclass(slots=True, kw_only=True)
class Overview:
    """All that is shown. A part that is not for this user, or cannot be read, is ``None`` or empty."""

    problems: list[str] = field(default_factory=list)
    """What is wrong; empty if all is well as far as the user may know."""
    tells_health: bool = False
    """Whether the user may know that all is well."""
    activity: ActivityPart | None = None
    log: Sequence[Card] = ()
    subscriptions: Sequence[Card] = ()
    parked: Sequence[Card] = ()
    operators_url: str | None = None


def overview_of(site: AdminSite, request: HttpRequest) -> Overview:
    """Read what the user of a request may see. The number of statements does not depend on how much there is."""
    user, links, made = request.user, Links(site, request), Overview()
    sees_events, sees_subscriptions = may_view_events(user), may_view_subscriptions(user)
    if sees_events or sees_subscriptions:
        # Outside of a bounded read: that has a transaction, and what is found in one is not shared with other workers.
        log, unsafe = log_status()
        found = _read(made, lags) if sees_subscriptions else []
        health = health_of(log, unsafe, found or [])
        made.problems += [_told(reason, health) for reason in health.reasons()]
        made.tells_health = sees_subscriptions and found is not None
        if log is not None:
            made.log = _log_cards(log, links)
        if found is not None and sees_subscriptions:
            made.subscriptions = _subscription_cards(found, health, links)
    if sees_events and (busy := _read(made, lambda: activity(user))) is not None:
        made.activity = _activity_part(busy, links)
    if may_view_parked(user):
        made.parked = _read(made, lambda: _parked_cards(user, links)) or ()
    made.operators_url = links.operators_url()
    return made


def _read(made: Overview, read: Callable[[], T]) -> T | None:
    try:
        with bounded_read():
            return read()
    except LogUnsafe as error:
        if str(error) not in made.problems:
            made.problems.append(str(error))
    except ReadTimedOut as error:
        made.problems.append(
            _("A part of this page is missing: the database did not answer within %(limit)s seconds.")
            % {"limit": number_format(f"{error.seconds:g}")}
        )
    return None


def _activity_part(busy: Activity, links: Links) -> ActivityPart:
    busiest, highest = busy.start_of(busy.busiest), busy.minutes[busy.busiest]
    numbers = {"total": _about(busy.total, busy), "highest": _about(highest, busy), "last": _about(busy.last, busy)}
    text = _("Last hour: %(total)s. Highest minute: %(highest)s. Last minute: %(last)s.") % numbers
    span = {"since": iso(busiest), "until": iso(busiest + timedelta(minutes=1))}
    return ActivityPart(
        plot=plot(list(enumerate(busy.minutes)), width=_WIDTH, height=_HEIGHT, floor=0),
        text=text,
        highest=numbers["highest"] if highest else "",
        minutes=MINUTES,
        is_exact=busy.is_exact,
        cards=[
            Card(label=_("In the last hour"), value=numbers["total"], url=links.events_url(period="hour")),
            Card(
                label=_("Highest minute"),
                value=numbers["highest"],
                url=links.events_url(**span) if highest else None,
                note=utc(busiest) if highest else "",
            ),
            Card(
                label=_("Last minute"),
                value=numbers["last"],
                url=links.events_url(since=iso(busy.start_of(MINUTES - 1))),
            ),
        ],
    )


def _about(number: int, busy: Activity) -> str:
    return _number(number) if busy.is_exact else _("about %(number)s") % {"number": _number(number)}


def _log_cards(log: LogStatus, links: Links) -> list[Card]:
    waiting = _("Subscriptions will see them once they are settled.") if log.distance else ""
    cards = [
        Card(label=_("Last position"), value=_number(log.last), url=links.events_url()),
        Card(
            label=_("Settled position"),
            value=_number(log.settled),
            # A position need not have an event, or none that there is for this user: so a list that begins there.
            url=links.events_url(**{BEFORE: str(log.settled + 1)}) if log.settled else None,
            note=_("Up to here the log is final."),
        ),
        Card(
            label=_("Not settled yet"),
            value=_number(log.distance),
            url=links.events_url(**{AFTER: str(log.settled)}) if log.distance else None,
            note=waiting,
        ),
    ]
    return [*cards, _open_append(log, links)]


def _open_append(log: LogStatus, links: Links) -> Card:
    label, oldest = _("Oldest open append"), log.oldest_open_append
    if oldest is None:
        return Card(label=label, value=_("none"))
    age = None if oldest.age is None else oldest.age.total_seconds()
    wrong = age is not None and age > conf.HEALTH_OPEN_SECONDS
    note = _("Too long: it holds every subscription back.") if wrong else _("It holds every subscription back.")
    shown = _("of unknown age") if age is None else _lasting(age)
    return Card(label=label, value=shown, url=links.subscriptions_url(), note=note, is_wrong=wrong)


def _subscription_cards(found: Sequence[Lag], health: Health, links: Links) -> list[Card]:
    numbers = Counter(row.status for row in found)
    always = (Subscription.Status.ACTIVE, Subscription.Status.HALTED)
    cards = [
        Card(
            label=str(status.label).capitalize(),
            value=_number(numbers[status]),
            url=links.subscriptions_url(**{STATUS_FILTER: status.value}),
            note=_("They handle nothing until they are resumed.") if status == "halted" and numbers[status] else "",
            is_wrong=status == Subscription.Status.HALTED and numbers[status] > 0,
        )
        for status in Subscription.Status
        if numbers[status] or status in always
    ]
    if health.slowest is None:
        return [*cards, Card(label=_("Furthest behind"), value=_("none"))]
    wrong = health.lag_seconds > conf.HEALTH_LAG_SECONDS
    name = breakable(health.slowest)
    note = format_html(_("Too long: %(name)s") % {"name": "{}"}, name) if wrong else name
    url = links.subscription_url(health.slowest)
    events = Card(label=_("Most events behind"), value=_number(health.lag_events), url=links.subscriptions_url())
    lag = Card(label=_("Furthest behind"), value=_lasting(health.lag_seconds), url=url, note=note, is_wrong=wrong)
    return [*cards, events, lag]


def _parked_cards(user: Viewer, links: Links) -> list[Card]:
    # Through a limit, not of all: there may be any number of them, and one that large says enough.
    some = visible_parked(user).order_by().select_related(None).only("pk", "state")[: MOST_PARKED + 1]
    dead = ParkedEvent.State.DEAD
    numbers = some.aggregate(parked=Count("pk"), dead=Count("pk", filter=Q(state=dead)))
    return [
        Card(label=_("Parked events"), value=_up_to_most(numbers["parked"]), url=links.parked_url()),
        Card(
            label=_("Dead events"),
            value=_up_to_most(numbers["dead"]) + ("+" if numbers["parked"] > MOST_PARKED >= numbers["dead"] else ""),
            url=links.parked_url(**{STATE_FILTER: dead.value}),
            note=_("They will not be tried again by themselves.") if numbers["dead"] else "",
            is_wrong=numbers["dead"] > 0,
        ),
    ]


def _told(reason: Reason, health: Health) -> str:
    """What health says, in the user's language."""
    if reason.code == "append_open":
        return _("An append has been open for %(time)s.") % {"time": _lasting(health.open_seconds or 0.0)}
    if reason.code == "lag":
        return _("%(name)s is %(time)s behind.") % {"name": health.slowest, "time": _lasting(health.lag_seconds)}
    if reason.code == "halted":
        return _("Halted: %(names)s.") % {"names": ", ".join(health.halted)}
    if reason.code == "dead_events":
        return ngettext(
            "%(number)s event will not be tried again by itself.",
            "%(number)s events will not be tried again by themselves.",
            health.dead,
        ) % {"number": _number(health.dead)}
    return reason.detail


def _up_to_most(number: int) -> str:
    return _number(number) if number <= MOST_PARKED else f"{_number(MOST_PARKED)}+"


def _number(number: int) -> str:
    return number_format(number, use_l10n=True, force_grouping=True)


def _lasting(seconds: float) -> str:
    if seconds < 60:
        return ngettext("%(number)s second", "%(number)s seconds", round(seconds)) % {"number": _number(round(seconds))}
    now = datetime.now(UTC)
    return timesince(now - timedelta(seconds=seconds), now)
