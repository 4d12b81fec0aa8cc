"""One page of the audit trail: the events of an aggregate by version, newest first, all of them or those of a type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import BadRequest
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from eventsourcing_app.access.events import filtered, position_from
from eventsourcing_app.access.pages import page_of
from eventsourcing_app.access.past import may_view_past
from eventsourcing_app.admin.timeline import events_of, timeline
from eventsourcing_app.aggregates.dispatch import applies_of
from eventsourcing_app.events.declare import declaration_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from django.http import HttpRequest

    from eventsourcing_app.admin.addresses import Addresses
    from eventsourcing_app.admin.audited import Audited
    from eventsourcing_app.admin.links import Links
    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.log.records import StoredEvent

PARAMETERS = ("after", "before", "type")
"""What the page can be asked for in the query."""


def trail_page(
    request: HttpRequest,
    audited: Audited,
    links: Links,
    addresses: Addresses,
    *,
    limit: int,
    fields_of: Callable[[], Sequence[str]],
) -> dict[str, Any]:
    """Return what the template of the trail is given. ``fields_of`` says of which fields it may tell, if of any."""
    after, before = _version(request, "after"), _version(request, "before")
    if after is not None and before is not None:
        raise BadRequest(_("Give 'after' or 'before', not both."))
    events, chosen = events_of(audited, request), request.GET.get("type", "")
    if chosen:
        try:
            events = filtered(events, "type", [chosen])
        except ValueError as error:
            raise BadRequest(str(error)) from error
    found = page_of(events, "version", limit=limit, after=after, before=before, newest_first=True)
    fields: Sequence[str] | None = None
    if found.rows and may_view_past(request.user, audited.model, audited.stream_key, until=found.rows[0].version):
        fields = fields_of()
    own = {"type": chosen} if chosen else {}
    return {
        "timeline": timeline(request, audited, found.rows, fields=fields, links=links, addresses=addresses),
        "types": _types_of(audited.model, chosen),
        "chosen_type": chosen,
        "newest_url": f"?{urlencode(own)}",
        "newer_url": _turned(own, "after", found.rows[0]) if found.rows and found.has_previous else None,
        "older_url": _turned(own, "before", found.rows[-1]) if found.rows and found.has_next else None,
    }


def _version(request: HttpRequest, name: str) -> int | None:
    text = request.GET.get(name)
    if text is None:
        return None
    version = position_from(text)
    if version is None:
        raise BadRequest(_("'%(name)s' must be a version.") % {"name": name})
    return version


def _turned(own: Mapping[str, str], name: str, event: StoredEvent) -> str:
    query: dict[str, str] = {**own, name: str(event.version)}
    return f"?{urlencode(query)}"


def _types_of(model: type[EventSourcedModel], chosen: str) -> list[str]:
    """Return the types of events that a model declares; the chosen one as well, which older code may have declared."""
    declared = {declaration_of(event).name for event in applies_of(model)}
    return sorted(declared | ({chosen} if chosen else set()))
