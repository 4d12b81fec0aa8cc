"""Stored history for tests: events with times of their own, written as every event is, by commands' own way.

Rows and events go through ``record()``, ``save()`` and ``append``; only the clock is another one for the call.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from django.conf import settings
from django.db import transaction
from django.test import override_settings

from eventsourcing_app.aggregates.keys import stream_key_of
from eventsourcing_app.aggregates.past.fold import blank
from eventsourcing_app.conf import conf
from eventsourcing_app.context import context
from eventsourcing_app.log import clock
from eventsourcing_app.log.append import NewEvent, append
from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.log.read import read
from eventsourcing_app.testing.append_only import require_test_database
from eventsourcing_app.testing.old_events import as_stored, record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.log.recorded import RecordedEvent

M = TypeVar("M", bound="EventSourcedModel")


def stored_history(
    model: type[M],
    *events: object,
    pk: Any = None,
    recorded_at: datetime | Sequence[datetime] | None = None,
    step: timedelta | None = None,
    actor: str | None = None,
    correlation_id: str | None = None,
    unrecorded: Mapping[str, Any] | None = None,
) -> M:
    """Store a history, its events and its row, and return the saved instance.

    With the ``pk`` of an aggregate that exists, its history goes on. ``events`` may be of an older version
    (``OldEvent``). ``recorded_at`` is the time of all of them, the time of the first and with ``step`` the time between
    two, or a time for each; without it they are recorded now, in one save. ``unrecorded`` are the values of columns
    without history.

    Raises ``ValueError`` without an event and for times that cannot be (naive, too few, running back),
    ``AppendOnly`` outside a test database, and what ``record()`` and ``save()`` raise.
    """
    require_test_database(log_connection(), "Storing a history")
    moments = _moments(events, recorded_at, step)
    with transaction.atomic(using=conf.DATABASE):
        instance = _begun(model, pk, unrecorded)
        for moment, together in groupby(zip(moments, events, strict=True), key=lambda pair: pair[0]):
            if moment is not None and instance.changed_at is not None and moment < instance.changed_at:
                raise ValueError(
                    f"This {model.__name__} has an event of {instance.changed_at}: none can be of {moment}."
                )
            for _, event in together:
                record(instance, event)
            with _clock_at(moment), _context(actor, correlation_id):
                instance.save()
    return instance


def stored_facts(
    *events: object,
    key: str = "",
    recorded_at: datetime | Sequence[datetime] | None = None,
    step: timedelta | None = None,
    actor: str | None = None,
    correlation_id: str | None = None,
) -> list[RecordedEvent]:
    """Store facts of no aggregate, as ``publish()`` does, and return them.

    ``key`` is the publish key; the other arguments, and what is raised, are those of ``stored_history``.
    """
    require_test_database(log_connection(), "Storing facts")
    positions: list[int] = []
    with transaction.atomic(using=conf.DATABASE):
        for moment, event in zip(_moments(events, recorded_at, step), events, strict=True):
            name, version, text = as_stored(event)
            new = NewEvent(name, key, None, name, version, text)
            with _context(actor, correlation_id):
                appended = append([new], recorded_at=clock.now() if moment is None else moment)
            assert appended is not None, "only a state that was not found leaves the log as it is"
            positions.append(appended.position)
    between = read(after=positions[0] - 1, until=positions[-1])
    return [fact for fact in between if fact.position in set(positions)]


def prepared(model: type[M], pk: Any, unrecorded: Mapping[str, Any] | None) -> M:
    """Return a new instance with its key and with values of columns that have no history."""
    instance = model() if pk is None else blank(model, stream_key_of(model, pk))
    _assign(instance, unrecorded)
    return instance


def _begun(model: type[M], pk: Any, unrecorded: Mapping[str, Any] | None) -> M:
    found = None if pk is None else model.objects.select_for_update(no_key=True, of=("self",)).filter(pk=pk).first()
    if found is None:
        return prepared(model, pk, unrecorded)
    _assign(found, unrecorded)
    return found


def _assign(instance: EventSourcedModel, unrecorded: Mapping[str, Any] | None) -> None:
    for name, value in (unrecorded or {}).items():
        if name not in instance.unrecorded:
            raise ValueError(
                f"{type(instance).__name__}.{name} is not listed in `unrecorded`: its value comes from events."
            )
        setattr(instance, name, value)


def _moments(
    events: Sequence[object], recorded_at: datetime | Sequence[datetime] | None, step: timedelta | None
) -> list[datetime | None]:
    if not events:
        raise ValueError("A history has at least one event.")
    if isinstance(recorded_at, datetime):
        given = [recorded_at + number * (step or timedelta()) for number in range(len(events))]
    elif step is not None:
        raise ValueError("step=… goes with one recorded_at=…, the time of the first event.")
    elif recorded_at is None:
        return [None] * len(events)
    else:
        given = list(recorded_at)
    if len(given) != len(events):
        raise ValueError(f"recorded_at has {len(given)} times for {len(events)} events: give one for each.")
    if any(moment.tzinfo is None for moment in given):
        raise ValueError("recorded_at is naive: give it a time zone, such as datetime.UTC.")
    if any(later < earlier for earlier, later in pairwise(given)):
        raise ValueError("recorded_at runs back: the events of a stream are recorded in the order of time.")
    return list(given)


def _context(actor: str | None, correlation_id: str | None) -> AbstractContextManager[object]:
    if actor is None and correlation_id is None:
        return nullcontext()
    return context(actor=actor, correlation_id=correlation_id)


@contextmanager
def _clock_at(moment: datetime | None) -> Iterator[None]:
    if moment is None:
        yield
        return
    given = getattr(settings, "EVENTSOURCING", {})
    with override_settings(EVENTSOURCING={**given, "CLOCK": lambda: moment}):
        yield
