"""Filters of stored events: by names of a fixed list, by equality, and by a period of time.

No name from outside ever reaches the ORM as a keyword, and nothing can be asked of ``data`` and ``metadata``: a lookup
into them would answer questions about what is not shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Q
from django.utils.translation import gettext as _

from eventsourcing_app.access.streams import models_by_stream_type
from eventsourcing_app.events.registry import registry
from eventsourcing_app.log.names import names_of
from eventsourcing_app.log.periods import first_position, last_position_before
from eventsourcing_app.log.read import stream_types_in_log

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from eventsourcing_app.log.records import StoredEventQuerySet

FILTERS: Final = ("type", "stream_type", "stream_key", "actor", "correlation_id", "causation_id")
"""What stored events can be filtered by, each for equality."""
LARGEST_POSITION: Final = 2**63 - 1


def filtered(events: StoredEventQuerySet, name: str, values: Sequence[str]) -> StoredEventQuerySet:
    """Keep the events whose ``name`` is one of ``values``. A type, and a stream type, stands for its older names, too.

    Raises ``ValueError`` for a name that is not one of ``FILTERS``, or a value that no event can have.
    """
    if name not in FILTERS:
        raise ValueError(f"Events cannot be filtered by {name!r:.80}, only by {', '.join(FILTERS)}.")
    if any(not is_text(value) for value in values):
        raise ValueError(_("%(name)s cannot contain NUL or half a character.") % {"name": name})
    if name == "type":
        values = sorted({wire_name for value in values for wire_name in _wire_names(value)})
    elif name == "stream_type":
        values = sorted({each for value in values for each in names_of(value)})
    elif name == "causation_id" and any(_uuid(value) is None for value in values):
        raise ValueError(_("%(name)s must be the id of an event, a UUID.") % {"name": name})
    return events.filter(Q((f"{name}__in", values)) if len(values) > 1 else Q((name, values[0])))


def of_any_stream_type(events: StoredEventQuerySet) -> StoredEventQuerySet:
    """Keep them all, but name every stream type that there is: so a key alone is found by the index over streams."""
    return events.filter(stream_type__in=stream_types_in_log())


def recorded(
    events: StoredEventQuerySet, *, since: datetime | None = None, until: datetime | None = None
) -> StoredEventQuerySet:
    """Keep the events that were recorded at or after ``since`` and before ``until``; two statements for each."""
    if since is not None:
        events = events.filter(recorded_at__gte=since, position__gte=first_position(since))
    if until is not None:
        events = events.filter(recorded_at__lt=until, position__lte=last_position_before(until))
    return events


def found(events: StoredEventQuerySet, term: str) -> StoredEventQuerySet:
    """Keep what ``term`` names exactly: a position, an event, an actor, a correlation, an aggregate or a type."""
    term = term.strip()
    if not is_text(term):
        return events.none()
    if (position := position_from(term)) is not None:
        wanted = Q(position=position)
    else:
        wanted = Q(actor=term) | Q(correlation_id=term) | Q(type=term)
    # With its type, so that the index over streams is used.
    wanted |= Q(stream_type__in=sorted(models_by_stream_type()), stream_key=term)
    if (identity := _uuid(term)) is not None:
        wanted |= Q(event_id=identity)
    return events.filter(wanted)


def position_from(text: str) -> int | None:
    """Read a position, or ``None`` if it is no number that a position can be."""
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        return None
    return position if (position := int(text)) <= LARGEST_POSITION else None


def is_text(value: str) -> bool:
    """Whether a database can compare with it at all."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in value


def _wire_names(name: str) -> tuple[str, ...]:
    try:
        declaration = registry.find(name)
    except ImproperlyConfigured:  # claimed by two classes: a check says so
        return (name,)
    return (name,) if declaration is None else declaration.names


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
