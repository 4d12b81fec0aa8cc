"""The page of a correlation in the admin: what happened because of one request, as a tree and as a drawing."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from django.core.exceptions import BadRequest, PermissionDenied
from django.urls import path
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext as _

from eventsourcing_app.access.correlation import MOST_EVENTS, correlation_of
from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.access.visibility import may_view_events, visible_events
from eventsourcing_app.admin.asked import asked, asked_position
from eventsourcing_app.admin.durations import duration
from eventsourcing_app.admin.event_pages import BEGINNING, with_beginnings
from eventsourcing_app.admin.keyset import AFTER
from eventsourcing_app.admin.lanes import lanes_of
from eventsourcing_app.admin.links import Links, linked
from eventsourcing_app.admin.pages import page
from eventsourcing_app.admin.people import people, told
from eventsourcing_app.admin.read_only import ReadOnlyAdmin, require_reading
from eventsourcing_app.admin.stream_names import names_of_streams
from eventsourcing_app.admin.summaries import summary_of
from eventsourcing_app.admin.times import utc
from eventsourcing_app.admin.values import breakable, masked
from eventsourcing_app.log.records import StoredEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest
    from django.template.response import TemplateResponse
    from django.urls import URLPattern

    from eventsourcing_app.access.correlation import Correlation, Node
    from eventsourcing_app.admin.people import Person

_LONGEST_TITLE = 40
"""Characters of the id that the title tells: a UUID is shorter, and below stands all of it."""
_SHORTEST = timedelta(microseconds=100)
_MOST_LEVELS = 40
"""How deep lists are nested: browsers give up at some depth. What lies deeper is told with its level, in words."""


class Item(NamedTuple):
    """An event in the tree."""

    event: StoredEvent
    url: str | None
    type: str
    stream: str
    actor: str
    summary: str
    since_first: str
    since_cause: str
    cause: str
    """What caused it, if that is not the event above it."""
    level: int
    """Its level, if that is deeper than lists are nested; else 0."""
    opens: bool
    """Whether the next one is nested in it."""
    closes: range
    """As many lists end after it."""


class CorrelationMixin(ReadOnlyAdmin[StoredEvent]):
    """Adds the page ``correlation/``. Needs ``eventsourcing_app.view_storedevent``; the summaries
    ``eventsourcing_app.view_payload``. Template: ``admin/eventsourcing_app/correlation.html``.
    """

    correlation_template = "admin/eventsourcing_app/correlation.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.correlation_view)
        return [path("correlation/", view, name="eventsourcing_app_storedevent_correlation"), *super().get_urls()]

    def correlation_view(self, request: HttpRequest) -> TemplateResponse:
        """The events with the correlation id ``?id=``, after the position ``?after=``."""
        require_reading(request)
        if not may_view_events(request.user):
            raise PermissionDenied
        parameters = asked(request, ("id", AFTER))
        after = asked_position(parameters, AFTER)
        correlation_id = parameters.get("id", "")
        try:
            events = with_beginnings(visible_events(request.user), request.user)
            found = correlation_of(events, correlation_id, after=after or 0)
        except ValueError as error:
            raise BadRequest(str(error)) from error
        links = Links(self.admin_site, request)
        names = names_of_streams(self.admin_site, request, found.events)
        context = {
            "correlation_id": correlation_id,
            "found": found,
            "after": after,
            "most": MOST_EVENTS,
            "items": self._items(request, links, names, found),
            "lanes": lanes_of(found, names),
            "duration": duration(found.duration) if found.duration is not None else None,
            "began": utc(found.events[0].recorded_at, exact=True) if found.events else None,
            "events_url": links.events_url(correlation_id=correlation_id),
            "first_url": links.correlation_url(correlation_id),
            "more_url": self._more_url(links, found, correlation_id),
        }
        title = _("Correlation %(id)s") % {"id": Truncator(correlation_id).chars(_LONGEST_TITLE)}
        return page(request, self, self.correlation_template, context, title=title)

    def _items(
        self, request: HttpRequest, links: Links, names: Mapping[tuple[str, str], str], found: Correlation
    ) -> list[Item]:
        nodes, shown = list(found.nodes()), may_view_payload(request.user)
        known = people(self.admin_site, request, (event.actor for event in found.events))
        levels = [*(min(node.level, _MOST_LEVELS) for node in nodes), 0]
        first = found.events[0] if found.events else None
        return [
            _item(node, links, known, names, first or node.event, shown=shown, level=level, following=following)
            for node, level, following in zip(nodes, levels, levels[1:], strict=False)
        ]

    def _more_url(self, links: Links, found: Correlation, correlation_id: str) -> str | None:
        url = links.correlation_url(correlation_id)
        return f"{url}&{AFTER}={found.events[-1].position}" if url and found.has_more else None


def _item(
    node: Node,
    links: Links,
    known: Mapping[str, Person],
    names: Mapping[tuple[str, str], str],
    first: StoredEvent,
    *,
    shown: bool,
    level: int,
    following: int,
) -> Item:
    event = node.event
    return Item(
        event=event,
        url=links.event_url(event.position),
        type=breakable(event.type),
        stream=links.stream(event, names, in_brief=True),
        actor=told(event.actor, links, known),
        summary=summary_of(getattr(event, BEGINNING)) if shown else masked(),
        since_first=_told(event.recorded_at - first.recorded_at),
        since_cause=_told(node.since_cause),
        cause=_cause(node, links, event.correlation_id),
        level=node.level + 1 if node.level > _MOST_LEVELS else 0,
        opens=following > level,
        closes=range(max(0, level - following)),
    )


def _told(span: timedelta | None) -> str:
    """A duration; empty for that between events of one moment, such as those of one commit."""
    return "" if span is None or abs(span) < _SHORTEST else duration(span)


def _cause(node: Node, links: Links, correlation_id: str) -> str:
    """Say what caused a root, or an event that is not nested below its cause; empty where the tree says it."""
    if node.has_unseen_cause:
        return _("Its cause is not among the events that you may see.")
    if node.cause is None or (not node.is_root and node.level <= _MOST_LEVELS):
        return ""
    cause = node.cause
    text = linked(f"#{cause.position} {cause.type}", links.event_url(cause.position))
    if cause.correlation_id == correlation_id:
        return format_html(_("Caused by {cause}."), cause=text)
    where = links.correlation_url(cause.correlation_id)
    return format_html(
        _("Caused by {cause}, which belongs to another {correlation}."),
        cause=text,
        correlation=linked(_("correlation"), where),
    )
