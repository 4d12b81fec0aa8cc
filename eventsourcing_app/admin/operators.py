"""The operator log in the admin: who did what to which subscription, when and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.core.exceptions import BadRequest, PermissionDenied
from django.urls import path
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from eventsourcing_app.access.acts import FILTERS, acts_page, may_view_acts, may_view_reasons
from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.access.visibility import narrowed_positions
from eventsourcing_app.admin.asked import asked, asked_position
from eventsourcing_app.admin.keyset import AFTER, BEFORE
from eventsourcing_app.admin.links import Links, linked
from eventsourcing_app.admin.pages import page
from eventsourcing_app.admin.people import people, told
from eventsourcing_app.admin.read_only import ReadOnlyAdmin, require_reading
from eventsourcing_app.admin.times import both
from eventsourcing_app.admin.values import NOTHING, breakable, label_of, masked
from eventsourcing_app.log.records import StoredEvent
from eventsourcing_app.subscriptions.acts import ACTS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from django.http import HttpRequest
    from django.template.response import TemplateResponse
    from django.urls import URLPattern
    from django.utils.functional import _StrPromise

_SAID_ELSEWHERE = ("subscription", "reason")
_MOST_POSITIONS = 20
_LABELS: Final[Mapping[str, _StrPromise]] = {
    "handler": gettext_lazy("handler"),
    "checkpoint_kept": gettext_lazy("checkpoint kept"),
    "checkpoint": gettext_lazy("checkpoint"),
    "before": gettext_lazy("before"),
    "position": gettext_lazy("position"),
    "positions": gettext_lazy("positions"),
    "rate": gettext_lazy("rate"),
    "burst": gettext_lazy("burst"),
    "in_place": gettext_lazy("in place"),
    "event_id": gettext_lazy("event id"),
    "type": gettext_lazy("type"),
}


class Line(NamedTuple):
    """One act, as the log shows it."""

    position: str
    recorded: str
    actor: str
    verb: str
    subscription: str
    reason: str
    details: Sequence[tuple[str, str]] | None
    """Labels and values; ``None`` if they are masked."""


class OperatorLogMixin(ReadOnlyAdmin[StoredEvent]):
    """Adds the page ``operators/``. Needs ``eventsourcing_app.view_subscription`` or ``view_storedevent``; reasons need
    the first of them or ``view_payload``, details, which are the rest of what the events say, ``view_payload``.
    Template: ``admin/eventsourcing_app/operators.html``.
    """

    operators_template = "admin/eventsourcing_app/operators.html"
    operators_per_page = 50
    """Acts on one page of the operator log."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.operators_view)
        return [path("operators/", view, name="eventsourcing_app_storedevent_operators"), *super().get_urls()]

    def operators_view(self, request: HttpRequest) -> TemplateResponse:
        """The acts, newest first; ``?subscription=``, ``?actor=`` and ``?act=`` filter, ``?before=`` turns pages."""
        require_reading(request)
        if not may_view_acts(request.user):
            raise PermissionDenied
        parameters = asked(request, (*FILTERS, AFTER, BEFORE))
        after, before = asked_position(parameters, AFTER), asked_position(parameters, BEFORE)
        try:
            found = acts_page(request.user, parameters, limit=self.operators_per_page, after=after, before=before)
        except ValueError as error:
            raise BadRequest(str(error)) from error
        links = Links(self.admin_site, request)
        pages = {}
        if found.rows and found.has_previous:
            pages["newer"] = links.operators_url(**parameters, after=str(found.rows[0].position))
        if found.rows and found.has_next:
            pages["older"] = links.operators_url(**parameters, before=str(found.rows[-1].position))
        context = {
            "lines": self._lines(request, links, found.rows),
            "filters": parameters,
            "acts": [(name, verb, parameters.get("act") == name) for name, verb in ACTS.items()],
            "newest_url": links.operators_url(**parameters),
            "all_url": links.operators_url(),
            "subscriptions_url": links.subscriptions_url(),
            **pages,
        }
        return page(request, self, self.operators_template, context, title=_("Operator log"))

    def _lines(self, request: HttpRequest, links: Links, acts: Sequence[StoredEvent]) -> list[Line]:
        known = people(self.admin_site, request, (act.actor for act in acts))
        visible: set[int] | None = None
        if may_view_payload(request.user):
            named = {position for act in acts for position in _positions_in(act.data)}
            visible = narrowed_positions(request.user, named) if named else named
        reasons = reasons_of(request, acts)
        return [
            _line(links, act, told(act.actor, links, known), reason, visible)
            for act, reason in zip(acts, reasons, strict=True)
        ]


def reasons_of(request: HttpRequest, acts: Sequence[StoredEvent]) -> list[str]:
    """Return why operators did these acts, or that it is masked."""
    if not may_view_reasons(request.user):
        return [masked() for _act in acts]
    return [str(act.data.get("reason") or NOTHING) for act in acts]


def _line(links: Links, act: StoredEvent, actor: str, reason: str, visible: Collection[int] | None) -> Line:
    """Make a line; ``visible`` are positions that may be linked to, or ``None`` where the data are masked."""
    return Line(
        position=linked(str(act.position), links.event_url(act.position)),
        recorded=both(act.recorded_at),
        actor=actor,
        verb=str(ACTS[act.type]),
        subscription=linked(breakable(act.stream_key), links.subscription_url(act.stream_key)),
        reason=reason,
        details=None if visible is None else _details(links, act.data, visible),
    )


def _details(links: Links, data: Mapping[str, Any], visible: Collection[int]) -> list[tuple[str, str]]:
    details = []
    for name, value in data.items():
        if name in _SAID_ELSEWHERE or value in (None, "", []):
            continue
        label = str(_LABELS.get(name) or label_of(None, name))
        if name in ("position", "positions"):
            details.append((label, _linked_positions(links, _positions_in(data), visible)))
        elif isinstance(value, bool):
            details.append((label, _("yes") if value else _("no")))
        else:
            details.append((label, ", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return details


def _positions_in(data: Any) -> list[int]:
    """Return the positions that an act names."""
    found = [data.get("position"), *(data.get("positions") or ())] if isinstance(data, dict) else []
    return [each for each in found if type(each) is int]


def _linked_positions(links: Links, positions: Sequence[int], visible: Collection[int]) -> str:
    some = positions[:_MOST_POSITIONS]
    shown = ((linked(str(each), links.event_url(each) if each in visible else None),) for each in some)
    text = format_html_join(", ", "{}", shown)
    more = len(positions) - len(some)
    if not more:
        return text
    return format_html(ngettext("{shown} and {count} more", "{shown} and {count} more", more), shown=text, count=more)
