"""The events of an aggregate as entries of a timeline: who did what, when, and which fields it changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from django.utils.safestring import SafeString

from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.access.past import changes_by_version
from eventsourcing_app.admin.audited import told_fields
from eventsourcing_app.admin.event_pages import BEGINNING, with_beginnings
from eventsourcing_app.admin.people import people, told
from eventsourcing_app.admin.summaries import summary_of
from eventsourcing_app.admin.times import both
from eventsourcing_app.admin.values import ChangedField, breakable, changed_fields, masked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.http import HttpRequest

    from eventsourcing_app.access.past import ChangesByVersion
    from eventsourcing_app.admin.addresses import Addresses
    from eventsourcing_app.admin.audited import Audited
    from eventsourcing_app.admin.links import Links
    from eventsourcing_app.aggregates.past.changes import Change
    from eventsourcing_app.log.records import StoredEvent, StoredEventQuerySet

SPAN = 512
"""How many versions are folded for a page at most, however far apart the events stand that it shows."""
_LONGEST = 200


class Entry(NamedTuple):
    """One event."""

    event: StoredEvent
    url: str | None
    type: str
    recorded: str
    actor: str
    summary: str
    changes: Sequence[ChangedField] | None
    """``None`` if they are not told."""
    past_url: str
    """Where the state after it is shown, compared with that before it."""


class Timeline(NamedTuple):
    """Some events of one aggregate, newest first."""

    entries: Sequence[Entry]
    tells_changes: bool
    """Whether it tells what events changed."""
    problem: str | None
    """What is wrong with the first event whose changes no code can tell."""


def events_of(audited: Audited, request: HttpRequest) -> StoredEventQuerySet:
    """Return the events that a timeline may show, with no more of them than it needs."""
    return with_beginnings(audited.visible(request.user), request.user)


def timeline(
    request: HttpRequest,
    audited: Audited,
    events: Sequence[StoredEvent],
    *,
    fields: Sequence[str] | None,
    links: Links,
    addresses: Addresses,
) -> Timeline:
    """Make entries of events, newest first, which tell of changes of ``fields`` only; of none for ``None``.

    Of what they changed, ask first whether the user may see it: ``access.past.may_view_past``.
    """
    shown = may_view_payload(request.user)
    versions = [event.version or 0 for event in events]
    shown_fields = [] if fields is None else told_fields(audited.model, fields)
    found = None if fields is None else _changes(audited, versions)
    known = people(links.site, request, (event.actor for event in events))
    return Timeline(
        entries=[
            Entry(
                event=event,
                url=links.event_url(event.position),
                type=breakable(event.type),
                recorded=both(event.recorded_at),
                actor=told(event.actor, links, known),
                summary=summary_of(getattr(event, BEGINNING)) if shown else masked(),
                changes=None if found is None else _told(audited, found.changes.get(event.version or 0), shown_fields),
                past_url=addresses.before_and_after(event.version or 0),
            )
            for event in events
        ],
        tells_changes=found is not None,
        problem=None if found is None else found.problem,
    )


def _changes(audited: Audited, versions: Sequence[int]) -> ChangesByVersion:
    newest = max(versions, default=0)
    oldest = min((version for version in versions if version > newest - SPAN), default=newest + 1)
    return changes_by_version(audited.model, audited.stream_key, since=oldest - 1, until=newest)


def _told(
    audited: Audited, changes: Mapping[str, Change] | None, fields: Sequence[str]
) -> Sequence[ChangedField] | None:
    if changes is None:
        return None
    # That it has not ended need not be told of each event that begins one.
    shown = [name for name in fields if name != "ended" or (name in changes and changes[name].after)]
    changed = changed_fields(audited.model, changes, shown=shown)
    return [field._replace(before=_cut(field.before), after=_cut(field.after)) for field in changed]


def _cut(text: str) -> str:
    return text if isinstance(text, SafeString) or len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
