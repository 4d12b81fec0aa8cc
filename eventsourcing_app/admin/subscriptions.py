"""Subscriptions in the admin: how far each has come, what stopped it, and what operators do about it.

Errors may quote what an event says, so they are shown to those only who may see that, and nothing is ordered by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from eventsourcing_app.access.acts import last_acts
from eventsourcing_app.access.last_failures import hidden_positions, last_failures, shows_reason
from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.access.subscriptions import may_operate, may_view_subscriptions
from eventsourcing_app.admin.acts import ACTS
from eventsourcing_app.admin.durations import in_words
from eventsourcing_app.admin.links import Links
from eventsourcing_app.admin.operators import reasons_of
from eventsourcing_app.admin.pages import Crumb, page
from eventsourcing_app.admin.people import people, told
from eventsourcing_app.admin.read_only import require_reading
from eventsourcing_app.admin.subscription_list import (
    SubscriptionColumns,
    SubscriptionList,
    failure_of,
    is_late,
    parked_of,
    rate_of,
)
from eventsourcing_app.admin.times import both, due, utc
from eventsourcing_app.admin.values import breakable, masked, trace
from eventsourcing_app.admin.word_filters import KindFilter, StatusFilter
from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import OperationRefused
from eventsourcing_app.subscriptions.acts import ACTS as VERBS
from eventsourcing_app.subscriptions.acts import last_act
from eventsourcing_app.subscriptions.definitions import stored
from eventsourcing_app.subscriptions.overview import overviews
from eventsourcing_app.subscriptions.possible import possible_acts
from eventsourcing_app.subscriptions.records import Subscription
from eventsourcing_app.subscriptions.registry import registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from eventsourcing_app.admin.acts import Act, ActForm
    from eventsourcing_app.admin.columns import ListDisplay
    from eventsourcing_app.subscriptions.overview import Overview

_LONGEST_NAME = Subscription._meta.get_field("name").max_length or 0
_ACTS_SHOWN = 10


@admin.register(Subscription)
class SubscriptionAdmin(SubscriptionColumns):
    """The subscriptions that the database knows.

    To see them takes ``eventsourcing_app.view_subscription``, to act on one ``eventsourcing_app.operate_subscription``
    besides, and to see what errors quote ``eventsourcing_app.view_payload``.
    """

    masked_fields = ("status_reason",)  # that of an error which has halted it
    list_display: ListDisplay = ("name_in_words", "status", "lag", "parked", "last_error", "rate")
    list_filter = (StatusFilter, KindFilter)
    list_per_page = 50
    sortable_by = ("name_in_words",)
    search_fields = ("name",)
    search_help_text = _("Name begins with")
    change_form_template = "admin/eventsourcing_app/subscription/change_form.html"
    act_template = "admin/eventsourcing_app/subscription/act.html"

    class Media:
        css = {"all": ["eventsourcing_app/admin.css", "eventsourcing_app/operate.css"]}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[SubscriptionList]:
        return SubscriptionList

    @admin.display(description=_("name"), ordering="name")
    def name_in_words(self, subscription: Subscription) -> str:
        """Its name, which a narrow column may break between its words, and its kind."""
        kind = subscription.get_kind_display()
        return format_html('{}<br><span class="es-quiet">{}</span>', breakable(subscription.name), kind)

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[QuerySet[Subscription], bool]:
        term = search_term.strip()
        if len(term) > _LONGEST_NAME:  # no name begins with it, and SQLite refuses to look
            return queryset.none(), False
        return (queryset.filter(name__startswith=term) if term else queryset), False

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup in ("status", "kind")

    def get_urls(self) -> list[URLPattern]:
        act = path(
            "<path:object_id>/act/<str:act>/",
            self.admin_site.admin_view(self.act_view),
            name="eventsourcing_app_subscription_act",
        )
        return [act, *super().get_urls()]

    # Pages

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """One subscription, all of it."""
        require_reading(request)
        row = self.get_object(request, unquote(object_id))
        if not self.has_view_or_change_permission(request, row):
            raise PermissionDenied
        known = [] if row is None else overviews([row])
        if not known:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined]
        context = {
            **self._shown(request, known[0], hidden=hidden_positions(request.user, known)),
            **(extra_context or {}),
        }
        return page(request, self, self.change_form_template, context, title=known[0].row.name)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page itself: what was done to it is in the log, and shown there."""
        answer: HttpResponse = self.change_view(request, object_id, extra_context=extra_context)
        return answer

    def act_view(self, request: HttpRequest, object_id: str, act: str) -> HttpResponse:
        """Say what an act will do and ask why; with POST, do it."""
        if request.method not in ("GET", "HEAD", "POST"):
            raise PermissionDenied
        if not (may_view_subscriptions(request.user) and may_operate(request.user)):
            raise PermissionDenied
        row, chosen = self.get_object(request, unquote(object_id)), ACTS.get(act)
        # Before the figures are read that the page will show; a form that is wrong still is of those that it came from.
        sent = request.method == "POST"
        seen = request.POST.get("seen", "") if sent else "" if row is None else _as_seen(row)
        known = [] if row is None else overviews([row])
        if not known or chosen is None:
            raise Http404
        overview, status = known[0], 200
        hidden = hidden_positions(request.user, known)
        form = chosen.form(request.POST if sent else None, overview=overview, hidden=hidden)
        if form.is_bound:
            status = 422
            if form.is_valid():
                try:
                    told = _act(chosen, overview, form, seen=seen)
                except OperationRefused as refused:
                    form.add_error(None, str(refused))
                    status, seen = 409, ""  # which is said: the next decision is about what is now
                else:
                    self.message_user(request, told, messages.SUCCESS)
                    return HttpResponseRedirect(self._url_of(overview.row.name))
        if form.is_bound:  # somebody else may have acted
            overview = next(iter(overviews(list(stored().filter(name=overview.row.name)))), overview)
            hidden = hidden_positions(request.user, [overview])
        return self._act_page(request, chosen, overview, form, seen=seen, status=status, hidden=hidden)

    def _act_page(
        self,
        request: HttpRequest,
        act: Act,
        overview: Overview,
        form: ActForm,
        *,
        seen: str,
        status: int,
        hidden: set[int],
    ) -> HttpResponse:
        name = overview.row.name
        is_possible = act.name in _offered(overview, hidden=hidden)
        context = {
            **self._shown(request, overview, hidden=hidden),
            "act": act,
            "form": form,
            "is_possible": is_possible,
            "hidden": [("seen", seen or _as_seen(overview.row))],
            "back_url": self._url_of(name),
        }
        crumbs = [Crumb(self._url_of(name), name)]
        status = status if is_possible or status != 200 else 409
        title = str(act.title) % {"name": name}
        return page(request, self, self.act_template, context, title=title, crumbs=crumbs, status=status)

    def _shown(self, request: HttpRequest, overview: Overview, *, hidden: set[int]) -> dict[str, Any]:
        row, user, links = overview.row, request.user, Links(self.admin_site, request)
        definition = registry.get(row.name)
        hides_reason = row.status_reason and not shows_reason(user, overview, hidden=hidden)
        possible = _offered(overview, hidden=hidden) if may_operate(user) else ()
        return {
            "overview": overview,
            "subscription": row,
            "lag": overview.lag,
            "last_position": overview.lag.checkpoint + overview.lag.events,
            "lag_time": in_words(overview.lag.seconds),
            "is_late": is_late(overview.lag),
            "health_lag": in_words(conf.HEALTH_LAG_SECONDS),
            "is_halted": row.status == Subscription.Status.HALTED,
            "reason": masked() if hides_reason else row.status_reason,
            "rate": rate_of(row),
            "parked": parked_of(links, overview.lag),
            "parked_url": links.parked_url(subscription=row.name),
            "place": "" if definition is None else definition.place,
            "created": utc(row.created_at),
            "failure": failure_of(links, last_failures(user, [overview], hidden=hidden).get(row.name)),
            "segments": _segments(overview, links, hidden=hidden, shown=may_view_payload(user)),
            "acts": [{"act": ACTS[name], "url": self._url_of(row.name, name)} for name in possible],
            "last_acts": _last_acts(request, row.name, links),
            "operators_url": links.operators_url(subscription=row.name),
        }

    def _url_of(self, name: str, act: str = "") -> str:
        view, arguments = ("act", [quote(name), act]) if act else ("change", [quote(name)])
        return reverse(f"admin:eventsourcing_app_subscription_{view}", args=arguments, current_app=self.admin_site.name)


def _offered(overview: Overview, *, hidden: set[int]) -> tuple[str, ...]:
    """Return the acts that are possible, to somebody for whom there are not the events at some positions."""
    possible = possible_acts(overview)
    if hidden.issuperset(overview.stopped_at):  # nothing to choose from
        return tuple(name for name in possible if name != "skip")
    return possible


def _act(act: Act, overview: Overview, form: ActForm, *, seen: str) -> str:
    """Do it, unless something was done since the page was made: it may mean something else, or be done already."""
    name = overview.row.name
    with transaction.atomic(using=conf.DATABASE):
        row = stored().select_for_update(no_key=True).filter(name=name).first()
        if row is not None and seen and (now := _as_seen(row)) != seen:
            raise OperationRefused(_meanwhile(row, now, seen))
        return act.run(name, form.cleaned_data)


def _as_seen(row: Subscription) -> str:
    """What a form says that it was made of: the status, and what was done last."""
    return f"{row.status} {last_act(row.name)}"


def _meanwhile(row: Subscription, now: str, seen: str) -> str:
    status = seen.partition(" ")[0]
    if status == row.status:
        told = gettext(
            "Something was done to %(name)s since this page was made, perhaps by sending it: see event #%(position)s. "
            "Look again, and decide anew."
        )
        return told % {"name": row.name, "position": now.partition(" ")[2]}
    labels: Mapping[str, Any] = dict(Subscription.Status.choices)
    told = gettext("%(name)s is %(status)s now: it was %(seen)s when this page was made. Look again, and decide anew.")
    return told % {
        "name": row.name,
        "status": row.get_status_display(),
        "seen": labels.get(status, ascii(status)[:40]),
    }


def _segments(overview: Overview, links: Links, *, hidden: set[int], shown: bool) -> list[dict[str, Any]]:
    last = overview.lag.checkpoint + overview.lag.events
    lines = []
    for segment in overview.segments:
        is_hidden = segment.failed_position in hidden
        stopped_at = None if is_hidden else segment.stopped_at
        lines.append(
            {
                "segment": segment,
                "events": max(0, last - segment.checkpoint),
                "stopped_at": stopped_at,
                "event_url": None if stopped_at is None else links.event_url(stopped_at),
                "failed": both(segment.failed_at) if segment.failed_at else "",
                "retry": due(segment.retry_at) if segment.retry_at else "",
                "error": _error(segment.last_error, shown=shown and not is_hidden),
            }
        )
    return lines


def _error(error: str, *, shown: bool) -> str:
    if not error:
        return ""
    return trace(error) if shown else masked()


def _last_acts(request: HttpRequest, name: str, links: Links) -> list[dict[str, Any]]:
    acts = last_acts(request.user, name, most=_ACTS_SHOWN)
    known = people(links.site, request, (act.actor for act in acts))
    return [
        {
            "name": VERBS[act.type],
            "url": links.event_url(act.position),
            "recorded": both(act.recorded_at),
            "actor": told(act.actor, links, known),
            "reason": reason,
        }
        for act, reason in zip(acts, reasons_of(request, acts), strict=True)
    ]
