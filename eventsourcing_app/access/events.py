"""Filters of stored events: by names of a fixed list, by equality, and by a period of time.

No name from outside ever reaches the ORM as a keyword, and nothing can be asked of ``data`` and ``metadata``: a lookup
into them would answer questions about what is not shown.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Q, Subquery
from django.db.models.functions import Coalesce, Greatest, Least
from django.utils.translation import gettext as _

from eventsourcing_app.access.streams import models_by_stream_type
from eventsourcing_app.events.registry import registry
from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.log.names import names_of
from eventsourcing_app.log.periods import first_position, last_position_before
from eventsourcing_app.log.read import stream_types_in_log
from eventsourcing_app.log.records import StoredEvent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from eventsourcing_app.log.records import StoredEventQuerySet

FILTERS: Final = ("type", "stream_type", "stream_key", "actor", "correlation_id", "causation_id")
"""What stored events can be filtered by, each for equality."""
_WITH_POSITION: Final = ("type", "actor", "correlation_id", "causation_id")
"""Those that have an index of their own which also knows the position: its ends are found by one look."""
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
    kept = events.filter(Q((f"{name}__in", values)) if len(values) > 1 else Q((name, values[0])))
    return _between_ends(kept, name, values) if name in _WITH_POSITION else kept


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
        alternatives = [Q(position=position)]
    else:
        alternatives = [Q(actor=term), Q(correlation_id=term), Q(type=term)]
    # With its type, so that the index over streams is used.
    alternatives += [Q(stream_type=name, stream_key=term) for name in sorted(models_by_stream_type())]
    if (identity := _uuid(term)) is not None:
        alternatives.append(Q(event_id=identity))
    named = _that_exist(alternatives)
    return events.filter(reduce(or_, named)) if named else events.none()


def _that_exist(alternatives: Sequence[Q]) -> list[Q]:
    """Keep those that any event fits: nearly always one, for which there is an index; one statement.

    All of them together a database may take for so frequent that it walks through the whole log for a page of them.
    """
    looks: list[str] = []
    params: list[Any] = []
    for alternative in alternatives:
        look = StoredEvent.objects.filter(alternative).order_by().values("position")[:1]
        sql, given = look.query.get_compiler(look.db).as_sql()
        looks.append(f"EXISTS ({sql})")
        params += given
    with log_connection().cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(looks)}", params)
        found: Sequence[Any] = cursor.fetchone()
    return [alternative for alternative, exists in zip(alternatives, found, strict=True) if exists]


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


def _between_ends(events: StoredEventQuerySet, name: str, values: Sequence[str]) -> StoredEventQuerySet:
    """Keep them all, but say between which positions they lie.

    Of two filters, or of several values, a database takes for granted that they are spread evenly over the log, and
    walks back from its end until it has found a page: through half of the log, if that is where the last of them is.
    """
    firsts = [Coalesce(_end(name, value, "position"), LARGEST_POSITION) for value in values]
    lasts = [Coalesce(_end(name, value, "-position"), 0) for value in values]
    return events.filter(
        position__gte=firsts[0] if len(firsts) == 1 else Least(*firsts),
        position__lte=lasts[0] if len(lasts) == 1 else Greatest(*lasts),
    )


def _end(name: str, value: str, order: str) -> Subquery:
    return Subquery(StoredEvent.objects.filter(**{name: value}).order_by(order).values("position")[:1])


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
