"""Adopting an existing table: each row that is older than its history gets one opening event, which says what it is.

Rows are read in the order of their keys, a batch a transaction: locked, compared with what their events say, and
written at version 1 together with these. What a batch has written stays, so a run that was ended goes on where it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from django.db import models, transaction

from eventsourcing_app.aggregates.adoption.opening import Opening
from eventsourcing_app.aggregates.keys import stream_key_of
from eventsourcing_app.aggregates.plain_rows import plain_rows
from eventsourcing_app.conf import conf
from eventsourcing_app.context import context, current
from eventsourcing_app.exceptions import AdoptionRefused, ConcurrencyError
from eventsourcing_app.log import clock
from eventsourcing_app.log.append import NewEvent, append
from eventsourcing_app.log.connection import stored_event
from eventsourcing_app.log.errors import conflicts_translated
from eventsourcing_app.log.names import names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eventsourcing_app.aggregates.model import EventSourcedModel

BATCH_SIZE: Final = 500
LARGEST_BATCH: Final = 10_000
"""Rows a transaction: more would lock too many of them for too long, and overrun the parameters of a statement."""
NAMED: Final = 20
"""How many of the refused rows a dry run remembers."""


@dataclass(slots=True)
class Adoption:
    """What became of the rows that had no history."""

    adopted: int = 0
    """Rows that have got their opening event; in a dry run, those that would."""
    refused: int = 0
    named: list[AdoptionRefused] = field(default_factory=list)
    """The first of the refused rows, with what is wrong."""
    complete: bool = True
    """Whether every row was looked at; otherwise the run was stopped."""


@dataclass(frozen=True, slots=True)
class _Batch:
    last: Any
    """Key of its last row."""
    adopted: int
    refused: Sequence[AdoptionRefused]


def adopt(
    model: type[EventSourcedModel],
    *,
    batch_size: int = BATCH_SIZE,
    dry_run: bool = False,
    progress: Callable[[Adoption], None] = lambda _so_far: None,
    stop: Callable[[], bool] = lambda: False,
) -> Adoption:
    """Give every row of ``model`` that has no history its opening event, ``batch_size`` rows a transaction.

    The event is ``model.adoption_event``, filled from the row's fields by name. Adopted rows have version 1, so another
    run begins after them; several may run at the same time, and beside commands. ``dry_run`` looks at every row and
    writes nothing. ``progress`` is called after each batch, and ``stop`` asked before each. Memory stays constant.

    Raises ``ImproperlyConfigured``, with the code to write, if the event does not cover the model's fields,
    ``AdoptionRefused`` for the first row that is not what its event says (rows before it are kept), and ``ValueError``
    for a batch size below 1 or above 10,000.
    """
    if not 1 <= batch_size <= LARGEST_BATCH:
        raise ValueError(f"batch_size is {batch_size}, but must be from 1 to {LARGEST_BATCH}.")
    opening, so_far, last = Opening.of(model), Adoption(), None
    # One correlation id for the whole run; why, unless the caller says it.
    with context(reason=current().metadata.get("reason", "adopt")):
        while True:
            if stop():
                so_far.complete = False
                return so_far
            batch = (_look if dry_run else _write)(opening, last, batch_size)
            if batch is None:
                return so_far
            last = batch.last
            so_far.adopted += batch.adopted
            so_far.refused += len(batch.refused)
            so_far.named += batch.refused[: NAMED - len(so_far.named)]
            progress(so_far)
            if batch.refused and not dry_run:
                raise batch.refused[0]


def _look(opening: Opening, last: Any, limit: int) -> _Batch | None:
    rows = list(_without_history(opening.model, last)[:limit])
    refused = []
    begun = _begun(opening.model, rows)
    for row in rows:
        try:
            _data_of(opening, row, begun)
        except AdoptionRefused as error:
            refused.append(error)
    return _Batch(rows[-1].pk, len(rows) - len(refused), refused) if rows else None


def _write(opening: Opening, last: Any, limit: int) -> _Batch | None:
    with transaction.atomic(using=conf.DATABASE):
        rows = list(_without_history(opening.model, last).select_for_update(no_key=True, of=("self",))[:limit])
        if not rows:
            return None
        begun = _begun(opening.model, rows)
        made: list[tuple[Any, NewEvent]] = []
        refused: list[AdoptionRefused] = []
        for row in rows:
            try:
                made.append((row.pk, _event(opening, row, _data_of(opening, row, begun))))
            except AdoptionRefused as error:
                refused.append(error)
                break
        if made:
            _store(opening.model, made)
    return _Batch(rows[-1].pk, len(made), refused)


def _store(model: type[EventSourcedModel], made: Sequence[tuple[Any, NewEvent]]) -> None:
    recorded_at = clock.recording_time()
    with conflicts_translated(model.stream_type, f"{made[0][0]} to {made[-1][0]}", expected=0):
        append([event for _pk, event in made], recorded_at=recorded_at)
    rows = plain_rows(model)
    rows = rows.filter(pk__in=[pk for pk, _event in made], version=0)
    if rows.update(version=1, changed_at=recorded_at) != len(made):
        raise ConcurrencyError(model.stream_type, f"{made[0][0]} to {made[-1][0]}", expected=0)


def _event(opening: Opening, row: EventSourcedModel, data: str) -> NewEvent:
    declaration = opening.declaration
    return NewEvent(row.stream_type, row.stream_key, 1, declaration.name, declaration.version, data)


def _data_of(opening: Opening, row: EventSourcedModel, begun: set[str]) -> str:
    if row.stream_key in begun:
        label = opening.model._meta.label
        raise AdoptionRefused(label, row.pk, f"it has a history, but version 0. Run manage.py rebuild {label}.", {})
    return opening.data_of(row)


def _without_history(model: type[EventSourcedModel], last: Any) -> models.QuerySet[EventSourcedModel]:
    rows = plain_rows(model)
    rows = rows.filter(version=0).order_by("pk")
    return rows if last is None else rows.filter(pk__gt=last)


def _begun(model: type[EventSourcedModel], rows: Sequence[EventSourcedModel]) -> set[str]:
    """Return the keys of rows that have a history although they are at version 0."""
    first = stored_event().objects.using(conf.DATABASE).filter(stream_type__in=names_of(model.stream_type), version=1)
    keys = [stream_key_of(model, row.pk) for row in rows]
    return set(first.filter(stream_key__in=keys).values_list("stream_key", flat=True))
