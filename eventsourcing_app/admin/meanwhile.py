"""What has happened to an aggregate since somebody looked at it, as far as that user may see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from eventsourcing_app.access.folding import folding
from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.access.past import changes_by_version
from eventsourcing_app.access.visibility import is_whole, visible_trail
from eventsourcing_app.admin.event_pages import BEGINNING, with_beginnings
from eventsourcing_app.admin.people import people, told
from eventsourcing_app.admin.summaries import summary_of
from eventsourcing_app.admin.times import both
from eventsourcing_app.admin.values import changed_fields, currency_of, label_of, masked, value_of_field
from eventsourcing_app.aggregates.arguments import field_named
from eventsourcing_app.aggregates.past.changes import diff
from eventsourcing_app.aggregates.values import value_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.utils.safestring import SafeString

    from eventsourcing_app.access.visibility import Viewer
    from eventsourcing_app.admin.links import Links
    from eventsourcing_app.admin.people import Person
    from eventsourcing_app.admin.values import ChangedField
    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.log.records import StoredEvent

MOST_EVENTS: Final = 20
"""How many events are told at most."""


class Fact(NamedTuple):
    """A field and its value, as a reader sees them."""

    label: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One event, and what it changed; ``None`` where the user may not see that."""

    event: StoredEvent
    url: str | None
    recorded: SafeString
    actor: SafeString | str
    summary: SafeString | str
    changes: Sequence[ChangedField] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Meanwhile:
    """What has happened between two versions."""

    since: int
    until: int
    lines: Sequence[Line]
    """The newest events, newest first; none for those who may not see events."""
    has_more: bool
    history_url: str | None
    changes: Sequence[ChangedField] | None
    """What is different now; ``None`` where the user may not see that."""
    state: Sequence[Fact]


def meanwhile(
    aggregate: EventSourcedModel,
    since: int,
    user: Viewer,
    links: Links,
    *,
    told: Sequence[str],
    shown: Sequence[str],
) -> Meanwhile:
    """Tell what has happened since a version.

    ``told`` are the fields of which a history may tell, ``shown`` those that the user sees of the state of now.
    """
    model, until = type(aggregate), aggregate.version
    fields = [name for name in told if field_named(model, name) is not None]
    trail = with_beginnings(visible_trail(user, aggregate), user).filter(version__gt=since, version__lte=until)
    events = list(trail.order_by("-version")[: MOST_EVENTS + 1])
    history = aggregate.history().filter(version__lte=until)
    tells = may_view_payload(user) and bool(events) and is_whole(user, history)
    by_version = _by_version(aggregate, events[:MOST_EVENTS], fields) if tells else {}
    readable = may_view_payload(user)
    known = people(links.site, links.request, (event.actor for event in events[:MOST_EVENTS]))
    return Meanwhile(
        since=since,
        until=until,
        lines=[_line(links, known, each, by_version.get(each.version), readable) for each in events[:MOST_EVENTS]],
        has_more=len(events) > MOST_EVENTS,
        history_url=links.aggregate_url(aggregate.stream_type, aggregate.stream_key, "history") if events else None,
        changes=_between(aggregate, since, fields) if tells else None,
        state=facts_of(aggregate, shown),
    )


def facts_of(aggregate: EventSourcedModel, shown: Sequence[str]) -> list[Fact]:
    """Return the fields of a state that are columns."""
    model = type(aggregate)
    found = [(name, field_named(model, name)) for name in shown]
    currency = currency_of(vars(aggregate), shown)
    return [
        Fact(label_of(model, name), value_of_field(model, name, value_of(aggregate, field), currency=currency))
        for name, field in found
        if field is not None and field.concrete and field.attname in aggregate.__dict__
    ]


def _line(
    links: Links,
    known: Mapping[str, Person],
    event: StoredEvent,
    changes: Sequence[ChangedField] | None,
    readable: bool,
) -> Line:
    return Line(
        event=event,
        url=links.event_url(event.position),
        recorded=both(event.recorded_at),
        actor=told(event.actor, links, known),
        summary=summary_of(getattr(event, BEGINNING)) if readable else masked(),
        changes=changes,
    )


def _by_version(
    aggregate: EventSourcedModel, events: Sequence[StoredEvent], fields: Sequence[str]
) -> dict[int | None, list[ChangedField]]:
    model = type(aggregate)
    versions = [event.version or 0 for event in events]
    found = changes_by_version(model, aggregate.stream_key, since=min(versions) - 1, until=max(versions))
    return {version: changed_fields(model, changes, shown=fields) for version, changes in found.changes.items()}


def _between(aggregate: EventSourcedModel, since: int, fields: Sequence[str]) -> list[ChangedField] | None:
    model = type(aggregate)
    found = None
    with folding(model, aggregate.stream_key):
        found = diff(model, aggregate.stream_key, since=since, until=aggregate.version)
    return None if found is None else changed_fields(model, found.changes, shown=fields)
