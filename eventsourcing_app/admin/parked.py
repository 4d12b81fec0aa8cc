"""Parked events in the admin: what subscriptions failed on, what waits behind it, and to retry or skip it.

Errors may quote what an event says: who may not see that sees no error, and cannot group, filter or order by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.access.subscriptions import PARKED_FILTERS, may_operate, may_view_parked
from eventsourcing_app.access.visibility import naming_narrowed
from eventsourcing_app.admin.acts import ReasonForm
from eventsourcing_app.admin.columns import ColumnsAdmin, Reader, column
from eventsourcing_app.admin.links import Links, linked
from eventsourcing_app.admin.pages import page
from eventsourcing_app.admin.parked_acts import PARKED_ACTS
from eventsourcing_app.admin.parked_choice import MOST, Choice, asked, confirmed, ticked
from eventsourcing_app.admin.parked_list import GROUPS, ParkedList, act_url
from eventsourcing_app.admin.read_only import require_reading
from eventsourcing_app.admin.times import both, due, utc
from eventsourcing_app.admin.values import NOTHING, breakable, brief, labelled, masked, trace
from eventsourcing_app.admin.word_filters import ErrorFilter, StateFilter, SubscriptionFilter
from eventsourcing_app.exceptions import OperationRefused
from eventsourcing_app.subscriptions.records import ParkedEvent, Subscription

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern
    from django.utils.safestring import SafeString

    from eventsourcing_app.admin.columns import ListDisplay
    from eventsourcing_app.admin.parked_acts import ParkedAct

_AROUND = 50
"""How many of the events that wait behind one are shown."""
_STATES = {
    ParkedEvent.State.FAILED: _("failed"),
    ParkedEvent.State.BEHIND: _("waits behind another"),
    ParkedEvent.State.DEAD: _("dead"),
}


@admin.register(ParkedEvent)
class ParkedEventAdmin(ColumnsAdmin[ParkedEvent]):
    """The events that subscriptions failed on, and those that wait behind them.

    To see them takes ``eventsourcing_app.view_parkedevent``, to retry or skip some
    ``eventsourcing_app.operate_subscription`` besides, and to see errors ``eventsourcing_app.view_payload``. It has no
    other actions than these two: no form of the admin writes.
    """

    masked_fields = ("reason", "error")
    list_display: ListDisplay = ("event", "wire_name", "state_in_short", "error", "subscription", "stream", "seen")
    list_display_links = ("wire_name",)
    list_filter = (SubscriptionFilter, StateFilter)
    list_per_page = 100
    list_select_related = ("segment",)
    sortable_by = ()
    actions = ("retry_chosen", "skip_chosen")
    change_form_template = "admin/eventsourcing_app/parkedevent/change_form.html"
    act_template = "admin/eventsourcing_app/parkedevent/act.html"

    class Media:
        css = {"all": ["eventsourcing_app/admin.css", "eventsourcing_app/operate.css"]}

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        if lookup == "error":
            return request is not None and may_view_payload(request.user)
        return lookup in PARKED_FILTERS

    def get_queryset(self, request: HttpRequest) -> QuerySet[ParkedEvent]:
        return naming_narrowed(super().get_queryset(request), request.user).select_related("segment__subscription")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ParkedList]:
        return ParkedList

    def get_list_filter(self, request: HttpRequest) -> Any:
        filters = super().get_list_filter(request)
        return [*filters, ErrorFilter] if may_view_payload(request.user) else filters

    def get_urls(self) -> list[URLPattern]:
        act = path(
            "act/<str:act>/", self.admin_site.admin_view(self.act_view), name="eventsourcing_app_parkedevent_act"
        )
        return [act, *super().get_urls()]

    # Columns

    @column(_("event"))
    def event(self, parked: ParkedEvent, reader: Reader) -> SafeString | str:
        """Its position; leads to the page of the event."""
        return linked(f"#{parked.position}", reader.links.event_url(parked.position))

    @column(_("subscription"))
    def subscription(self, parked: ParkedEvent, reader: Reader) -> SafeString | str:
        """What failed on it."""
        name = parked.segment.subscription_id
        return linked(breakable(name), reader.links.subscription_url(name))

    @column(_("stream"))
    def stream(self, parked: ParkedEvent, reader: Reader) -> SafeString | str:
        """Its stream, which leads to the aggregate."""
        return _stream(reader.links, parked, in_brief=True)

    @column(_("error"))
    def error(self, parked: ParkedEvent, reader: Reader) -> SafeString | str:
        """The line of the error, to those who may see what it may quote."""
        if not parked.reason:
            return NOTHING
        return format_html('<span class="es-reason">{}</span>', parked.reason) if reader.sees_payload else masked()

    @admin.display(description=_("type"))
    def wire_name(self, parked: ParkedEvent) -> SafeString:
        """The type of the event; leads to the page of the parked event."""
        return breakable(parked.type)

    @admin.display(description=_("state"))
    def state_in_short(self, parked: ParkedEvent) -> SafeString | str:
        """Why it is parked, wrong if it is dead; how often it was tried, and when it will be again."""
        lines = [_state(parked)]
        if parked.attempts:
            tried = ngettext("%(number)d attempt", "%(number)d attempts", parked.attempts)
            lines.append(tried % {"number": parked.attempts})
        if parked.retry_at is not None:
            lines.append(format_html(gettext("retry {time}"), time=due(parked.retry_at)))
        return format_html_join(mark_safe("<br>"), "{}", ((line,) for line in lines))

    @admin.display(description=_("failed first, last"))
    def seen(self, parked: ParkedEvent) -> SafeString | str:
        """When it failed first and last."""
        moments = (parked.first_failed_at, parked.last_failed_at)
        told = format_html_join(mark_safe("<br>"), "{}", ((_moment(each),) for each in dict.fromkeys(moments)))
        return labelled(gettext("failed first, last"), told)

    # Acting

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> Any:
        if IS_POPUP_VAR in request.GET or not may_operate(request.user):
            return {}
        # Since Django 6.1 it is told for which page, which it looks for by the name of the parameter.
        told = {} if action_location is None else {"action_location": action_location}
        found = super().get_actions(request, **told)
        return {name: action for name, action in found.items() if name in _ACTIONS}

    @admin.action(description=_("Retry the chosen events"))
    def retry_chosen(self, request: HttpRequest, queryset: QuerySet[ParkedEvent]) -> HttpResponse:
        """Ask for the reason to try them again."""
        return self._chosen(request, "retry")

    @admin.action(description=_("Skip the chosen events"))
    def skip_chosen(self, request: HttpRequest, queryset: QuerySet[ParkedEvent]) -> HttpResponse:
        """Ask for the reason to give them up."""
        return self._chosen(request, "skip")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list. A form of it that is sent changes nothing: it leads to the page that asks for a reason."""
        if request.method != "POST":
            return super().changelist_view(request, {"most_groups": GROUPS, **(extra_context or {})})
        if not may_view_parked(request.user) or not self.get_actions(request):
            raise PermissionDenied
        (action, *others) = request.POST.getlist("action") or ["unknown"]
        if others or (action and action not in _ACTIONS):
            raise PermissionDenied
        if not action:
            return self._back(request, gettext("Choose what to do."))
        return self._chosen(request, _ACTIONS[action])

    def _chosen(self, request: HttpRequest, act: str) -> HttpResponse:
        keys = request.POST.getlist(ACTION_CHECKBOX_NAME)
        if not keys:
            return self._back(request, gettext("Tick the events first."))
        return self._confirm(request, PARKED_ACTS[act], ticked(request, keys), ReasonForm())

    def act_view(self, request: HttpRequest, act: str) -> HttpResponse:
        """Say what an act on parked events will do and ask why; with POST, do it to all of them or to none."""
        if request.method not in ("GET", "HEAD", "POST"):
            raise PermissionDenied
        if not (may_view_parked(request.user) and may_operate(request.user)):
            raise PermissionDenied
        if (chosen := PARKED_ACTS.get(act)) is None:
            raise Http404
        if request.method != "POST":
            if not request.GET:  # as after a login that ended while the form was open
                return self._back(request, gettext("Tick the events first."))
            return self._confirm(request, chosen, asked(request), ReasonForm())
        choice, form = confirmed(request), ReasonForm(request.POST)
        if not form.is_valid():
            return self._confirm(request, chosen, choice, form, status=422)
        try:
            if choice.gone:
                raise OperationRefused(_gone(choice))
            chosen.run(choice.positions, form.cleaned_data["reason"])
        except OperationRefused as refused:
            form.add_error(None, str(refused))
            return self._confirm(request, chosen, choice, form, status=409)
        self.message_user(request, chosen.done(len(choice.rows)), messages.SUCCESS)
        names = list(choice.positions)
        url = Links(self.admin_site, request).parked_url(**({"subscription": names[0]} if len(names) == 1 else {}))
        return HttpResponseRedirect(url or self._list_url())

    def _confirm(
        self, request: HttpRequest, act: ParkedAct, choice: Choice, form: ReasonForm, *, status: int = 200
    ) -> HttpResponse:
        rows = [row for row in choice.rows if act.takes_behind or row.state != ParkedEvent.State.BEHIND]
        if not rows and not form.is_bound:
            return self._back(request, gettext("Nothing of that is parked, or can be acted on by itself."))
        links, shown = Links(self.admin_site, request), may_view_payload(request.user)
        stopped = {row.segment.subscription for row in rows}
        context = {
            "act": act,
            "form": form,
            "form_action": act_url(self.admin_site, act.name),
            "hidden": [("chosen", Choice(rows=rows).written)],
            "button": act.button(len(rows)),
            "back_url": self._list_url(),
            "lines": [_line(links, row, shown=shown) for row in rows],
            "left_out": len(choice.rows) - len(rows),
            "more_than": MOST if choice.has_more else None,
            "inactive": sorted(each.name for each in stopped if each.status != Subscription.Status.ACTIVE),
        }
        return page(request, self, self.act_template, context, title=str(act.title), status=status)

    def _back(self, request: HttpRequest, why: str) -> HttpResponse:
        self.message_user(request, why, messages.WARNING)
        return HttpResponseRedirect(self._list_url())

    def _list_url(self) -> str:
        return reverse("admin:eventsourcing_app_parkedevent_changelist", current_app=self.admin_site.name)

    # The page of one

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """One parked event: why it is parked, and what waits behind it."""
        require_reading(request)
        parked = self.get_object(request, unquote(object_id))
        if not self.has_view_or_change_permission(request, parked):
            raise PermissionDenied
        if parked is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined]
        links, shown = Links(self.admin_site, request), may_view_payload(request.user)
        name = parked.segment.subscription_id
        of_sequence = self.get_queryset(request).filter(segment=parked.segment_id, sequence=parked.sequence)
        of_sequence = of_sequence.defer("error")
        behind = list(of_sequence.filter(position__gt=parked.position).order_by("position")[: _AROUND + 1])
        is_behind = parked.state == ParkedEvent.State.BEHIND
        head = of_sequence.exclude(state=ParkedEvent.State.BEHIND).order_by("position").first() if is_behind else None
        acts = [act for act in PARKED_ACTS.values() if act.takes_behind or not is_behind]
        context = {
            **_line(links, parked, shown=shown),
            "error": (trace(parked.error) if shown else masked()) if parked.error else None,
            "first": _moment(parked.first_failed_at),
            "last": _moment(parked.last_failed_at),
            "retry": format_html("{} ({})", utc(parked.retry_at), due(parked.retry_at)) if parked.retry_at else NOTHING,
            "behind": [_line(links, row, shown=shown) for row in behind[:_AROUND]],
            "has_more_behind": len(behind) > _AROUND,
            "most_behind": _AROUND,
            "head": None if head is None else _line(links, head, shown=shown),
            "group_url": links.parked_url(subscription=name),
            "acts": [
                {"label": act.label, "url": act_url(self.admin_site, act.name, id=parked.pk)}
                for act in (acts if may_operate(request.user) else ())
            ],
            **(extra_context or {}),
        }
        title = gettext("#%(position)d, parked by %(name)s") % {"position": parked.position, "name": name}
        return page(request, self, self.change_form_template, context, title=title)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page itself: it has no history but its attempts."""
        answer: HttpResponse = self.change_view(request, object_id, extra_context=extra_context)
        return answer


_ACTIONS = {"retry_chosen": "retry", "skip_chosen": "skip"}


def _line(links: Links, parked: ParkedEvent, *, shown: bool) -> dict[str, Any]:
    name = parked.segment.subscription_id
    return {
        "parked": parked,
        "url": links.parked_event_url(parked.pk),
        "event": linked(f"#{parked.position}", links.event_url(parked.position)),
        "subscription": linked(breakable(name), links.subscription_url(name)),
        "type": breakable(parked.type),
        "stream": _stream(links, parked, in_brief=False),
        "state": _state(parked),
        "reason": (parked.reason if shown else masked()) if parked.reason else NOTHING,
    }


def _stream(links: Links, parked: ParkedEvent, *, in_brief: bool) -> SafeString | str:
    key = brief(parked.stream_key) if in_brief else parked.stream_key
    text = format_html("{} {}", breakable(parked.stream_type), key)
    return linked(text, links.aggregate_url(parked.stream_type, parked.stream_key))


def _state(parked: ParkedEvent) -> SafeString | str:
    text = str(_STATES.get(ParkedEvent.State(parked.state), parked.state))
    if parked.state == ParkedEvent.State.DEAD:
        return format_html('<b class="es-wrong">{}</b>', text)
    return text


def _moment(moment: datetime | None) -> SafeString | str:
    return NOTHING if moment is None else both(moment)


def _gone(choice: Choice) -> str:
    named = ", ".join(f"#{position}" for position in choice.gone[:20]) + (", …" if len(choice.gone) > 20 else "")
    told = gettext("Nothing was done: %(positions)s: parked no more. Look at what is left, and decide anew.")
    return told % {"positions": named}
