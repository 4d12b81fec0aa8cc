"""Definitions and their durable rows: what this code says of its subscriptions, and what the database knows of them.

The start of a new one is taken and stored in one step. What is stored decides: the number of segments is fixed, and a
subscription that reacts to more than this code knows is left to the code that knows it.
"""

from __future__ import annotations

import logging
import time
from functools import cache
from typing import TYPE_CHECKING, Any

from django.db import transaction

from eventsourcing_app.conf import conf
from eventsourcing_app.log.settled import last_position, settled_position
from eventsourcing_app.subscriptions.records import Segment, Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.models import QuerySet

    from eventsourcing_app.subscriptions.registry import Definition, Start

_LOOKS, _PAUSE = 20, 0.01
logger = logging.getLogger("eventsourcing_app.subscriptions")


def stored() -> QuerySet[Subscription]:
    """Return the subscriptions that the database knows."""
    return Subscription.objects.using(conf.DATABASE)


def segments_of(name: str) -> QuerySet[Segment]:
    """Return the segments of a subscription."""
    return Segment.objects.using(conf.DATABASE).filter(subscription=name)


def ensure(definitions: Sequence[Definition]) -> dict[str, Definition]:
    """Give each subscription its rows if it has none, and return those, by name, that this code may handle.

    One that is stored with events which this code does not react to is left to the code that does: this may be the
    older one, and would move the checkpoint past them. Events may be added without more ado; that some are taken away,
    ``migrate`` says (see ``release``).
    """
    known = dict(stored().values_list("name", "types"))
    now = cache(present)  # one for all: it may take its time
    mine = {}
    for definition in definitions:
        types = known.get(definition.name)
        if types is None:
            create(definition, now=now)
        elif missing := sorted(set(types) - definition.types):
            _warn_once(definition.name, ", ".join(missing))
            continue
        elif len(types) < len(definition.types):
            store(definition)
        mine[definition.name] = definition
    return mine


@cache
def _warn_once(name: str, missing: str) -> None:
    logger.warning(
        "%s is left to other code: it is stored as reacting to %s, to which this code does not react. If this code is "
        "the newer one, run migrate.",
        name,
        missing,
    )


def store(definition: Definition) -> None:
    """Store the events that a definition reacts to."""
    stored().filter(name=definition.name).update(types=sorted(definition.types), fingerprint=definition.fingerprint)


def declared_rate(definition: Definition) -> str:
    """Return what a definition says of its pace, to notice when it says something else."""
    return f"{definition.rate} {definition.burst or ''}".strip()


def position_of(start: Start) -> int:
    """Return the position after which a subscription begins that starts so.

    "Now" is after what is committed, and before an append that is open at this moment: nothing of it is missed.
    """
    if isinstance(start, int):
        return start
    return present() if start == "now" else 0


def present() -> int:
    """Return the position after everything that is committed, or before the first append that is still open."""
    last = last_position()
    for _ in range(_LOOKS):
        settled = settled_position()
        if settled >= last:
            break
        time.sleep(_PAUSE)  # one look does not always tell all that is settled
    return settled


def create(definition: Definition, *, now: Callable[[], int] = present, **more: Any) -> bool:
    """Store a subscription that the database does not know, with its segments; false if it does.

    Several workers may do so at once: the rows of one of them stay.
    """
    after = now() if definition.start == "now" else position_of(definition.start)
    with transaction.atomic(using=conf.DATABASE):
        row, created = stored().get_or_create(
            name=definition.name,
            defaults={
                "kind": definition.kind,
                "types": sorted(definition.types),
                "fingerprint": definition.fingerprint,
                "segment_count": definition.segments,
                "started_after": after,
                "handler": definition.handler,
                "rate": definition.rate,
                "burst": definition.burst,
                "declared_rate": declared_rate(definition),
                **more,
            },
        )
        if created:
            make_segments(row, after)
    return created


def make_segments(row: Subscription, after: int) -> None:
    """Give a subscription all of its segments, at one checkpoint."""
    Segment.objects.using(conf.DATABASE).bulk_create(
        Segment(subscription_id=row.name, number=number, checkpoint=after) for number in range(row.segment_count)
    )
