"""The operator log: what was done to subscriptions, newest first, as far as the user may see the events that tell it.

Acts are rare in a log of whatever length. A search for all of their types at once, in the order of positions, could be
answered by walking the log until enough of them have come; so each type is read by a walk of its own along the index of
types, of which no more than a page is taken.

A planner that takes acts to be spread over the log would still walk back through that. So a type is asked for as a
range, in the order of types and positions, which only that index has; and an actor as an expression, which none has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import EmptyResultSet
from django.db.models import Value
from django.db.models.functions import Concat
from django.utils.translation import gettext as _

from eventsourcing_app.access.events import is_text
from eventsourcing_app.access.masking import PAYLOAD, may_view_payload
from eventsourcing_app.access.pages import Page
from eventsourcing_app.access.subscriptions import may_view_subscriptions
from eventsourcing_app.access.visibility import existing_events, may_view_events, visible_events
from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.subscriptions.acts import ACTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eventsourcing_app.access.visibility import Viewer
    from eventsourcing_app.log.records import StoredEvent, StoredEventQuerySet

FILTERS: Final = ("subscription", "actor", "act")
"""What acts can be filtered by, each for equality; an act by its wire name."""


def may_view_acts(user: Viewer) -> bool:
    """Whether the user may see what was done to subscriptions: as events, or because it may see these."""
    return may_view_events(user) or may_view_subscriptions(user)


def may_view_reasons(user: Viewer) -> bool:
    """Whether the user may read why. An operator's words are not what an event said to the system: who looks after
    subscriptions reads them, as in the status of a subscription that is paused."""
    return may_view_payload(user) or may_view_subscriptions(user)


def last_acts(user: Viewer, name: str, *, most: int) -> list[StoredEvent]:
    """Return the last acts on a subscription, newest first; data is fetched only if the user may read the reasons.

    Each kind of act has a stream of its own under the subscription's name, so the index over streams finds them.
    """
    acts = _with_reasons(_visible(user), user).filter(stream_type__in=sorted(ACTS), stream_key=name)
    return list(acts.order_by("-position")[:most])


def acts_page(
    user: Viewer,
    filters: Mapping[str, str],
    *,
    limit: int,
    after: int | None = None,
    before: int | None = None,
) -> Page[StoredEvent]:
    """Return the newest acts that the user may see, or those next to a position; two statements, however many.

    ``filters`` are by names of ``FILTERS``. Raises ``ValueError`` for another name, a value that none can have, and if
    both positions are given.
    """
    if after is not None and before is not None:
        raise ValueError("A page begins after one position or ends before another, not both.")
    events, types = _filtered(_visible(user), filters)
    rising = after is not None
    if after is not None:
        events = events.filter(position__gt=after)
    elif before is not None:
        events = events.filter(position__lt=before)
    positions = _positions([events.filter(type__gte=each, type__lte=each) for each in types], limit + 1, rising=rising)
    more, positions = len(positions) > limit, positions[:limit]
    shown = _with_reasons(_visible(user), user)
    rows = list(shown.filter(position__in=positions).order_by("-position")) if positions else []
    if rising:
        return Page(rows=rows, has_previous=more, has_next=True)
    return Page(rows=rows, has_previous=before is not None, has_next=more)


def _visible(user: Viewer) -> StoredEventQuerySet:
    """Events among which are the acts that the user may see, to be narrowed to acts."""
    if may_view_subscriptions(user) and not may_view_events(user):
        return existing_events(user)
    return visible_events(user)


def _with_reasons(acts: StoredEventQuerySet, user: Viewer) -> StoredEventQuerySet:
    return acts.defer("metadata", "hash") if may_view_reasons(user) else acts.defer(*PAYLOAD)


def _filtered(events: StoredEventQuerySet, filters: Mapping[str, str]) -> tuple[StoredEventQuerySet, Sequence[str]]:
    types: Sequence[str] = tuple(ACTS)
    for name, value in filters.items():
        if name not in FILTERS:
            raise ValueError(f"Acts cannot be filtered by {name!r:.80}, only by {', '.join(FILTERS)}.")
        if not is_text(value):
            raise ValueError(_("%(name)s cannot contain NUL or half a character.") % {"name": name})
        if name == "act":
            if value not in ACTS:
                raise ValueError(_("%(name)s is one of: %(words)s.") % {"name": "act", "words": ", ".join(ACTS)})
            types = (value,)
        elif name == "subscription":
            events = events.filter(stream_key=value)
        else:
            events = events.alias(by=Concat("actor", Value(""))).filter(by=value)
    return events, types


def _positions(parts: Sequence[StoredEventQuerySet], limit: int, *, rising: bool) -> list[int]:
    order = ("type", "position") if rising else ("-type", "-position")
    walks: list[str] = []
    params: list[Any] = []
    for part in parts:
        walk = part.order_by(*order).values("position")[:limit]
        try:
            sql, given = walk.query.get_compiler(walk.db).as_sql()
        except EmptyResultSet:  # nothing is there for this user
            continue
        walks.append(f"SELECT walk.position FROM ({sql}) AS walk")
        params += given
    if not walks:
        return []
    direction = "ASC" if rising else "DESC"
    with log_connection().cursor() as cursor:
        cursor.execute(f"{' UNION ALL '.join(walks)} ORDER BY position {direction} LIMIT {int(limit)}", params)
        return [position for (position,) in cursor.fetchall()]
