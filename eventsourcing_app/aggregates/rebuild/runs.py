"""One rebuild of a model as rows: begun or gone on with, planned part by part, worked off, told, finished.

Only what is stored counts. A process that is killed leaves its part unfinished, and the part is done again: a repair
is one transaction, and what has been repaired no longer differs.
"""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from eventsourcing_app.aggregates.keys import pk_of, stream_key_of
from eventsourcing_app.aggregates.past.applycode import fingerprint_of
from eventsourcing_app.aggregates.plain_rows import plain_rows
from eventsourcing_app.aggregates.rebuild import rebuild as work
from eventsourcing_app.aggregates.rebuild.records import DueRebuild, RebuildFinding, RebuildPart, RebuildRun
from eventsourcing_app.conf import conf
from eventsourcing_app.log import streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.db import models

    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.aggregates.rebuild.drift import Drift

PART_EVENTS = 20_000
"""Events of a part: what is done again at most if a worker is killed, besides the rest of its last stream."""
PART_ROWS = 20_000
"""Rows of a part that are looked up in the log."""
GOES_ON_WITHIN = timedelta(days=1)
"""A run that was interrupted longer ago begins anew: what it had compared may have changed since."""


class Finding(NamedTuple):
    """A row that differed, as it is told."""

    stream_key: str
    problem: str
    fields: dict[str, list[Any]]
    """For each field that differs: what the row held, and what history says, as plain JSON values."""
    version: int | None
    position: int | None
    type: str
    left: bool
    """Whether the row is still as it was."""
    refusal: str


class Counts(NamedTuple):
    """What a run has done so far."""

    aggregates: int = 0
    events: int = 0
    drifted: int = 0
    left: int = 0


def stored(records: type[models.Model]) -> models.QuerySet[Any]:
    """Return the rows of one of the tables of rebuilds."""
    return records._default_manager.using(conf.DATABASE)


def begin(model: type[EventSourcedModel], *, check: bool, restart: bool) -> tuple[RebuildRun, bool]:
    """Return the run to go on with and whether it had begun before; the caller keeps others out.

    It begins anew after another version of the code, a new mark of a migration, or a long pause, or if it was to do
    something else.
    """
    label, code = model._meta.label_lower, fingerprint_of(model).hex()
    due = stored(DueRebuild).filter(model=label).values_list("marked_at", flat=True).first()
    now = timezone.now()
    run = stored(RebuildRun).filter(model=label).first()
    if run is not None and run.finished_at is None and not restart:
        same = (run.check_only, run.code, run.due) == (check, code, due)
        if same and now - run.active_at < GOES_ON_WITHIN:
            return run, True
    with transaction.atomic(using=conf.DATABASE):
        stored(RebuildRun).filter(model=label).delete()
        run = RebuildRun(model=label, check_only=check, code=code, due=due, started_at=now, active_at=now)
        run.save(using=conf.DATABASE, force_insert=True)
    return run, False


def plan(run: RebuildRun, model: type[EventSourcedModel], last: RebuildPart | None) -> RebuildPart | None:
    """Store the next part after ``last`` and return it; ``None`` if everything is planned: streams, then rows."""
    after_row = ""
    if last is None or (last.kind == RebuildPart.STREAMS and last.until_key is not None):
        after_key = "" if last is None else last.until_key or ""
        found = streams.part(model.stream_type, after_key=after_key, size=PART_EVENTS)
        if found is not None:
            bounds = {"after_key": after_key, "until_key": found.until, "planned_events": found.events}
            return _store(run, last, kind=RebuildPart.STREAMS, **bounds)
    elif last.kind == RebuildPart.ROWS:
        if last.until_key is None:
            return None
        after_row = last.until_key
    return _store(run, last, kind=RebuildPart.ROWS, after_key=after_row, until_key=_last_row(model, after_row))


def _store(run: RebuildRun, last: RebuildPart | None, **values: Any) -> RebuildPart:
    part = RebuildPart(run=run, number=1 if last is None else last.number + 1, **values)
    part.save(using=conf.DATABASE, force_insert=True)
    return part


def _last_row(model: type[EventSourcedModel], after_key: str) -> str | None:
    mine = plain_rows(model).order_by("pk")
    if after_key:
        mine = mine.filter(pk__gt=pk_of(model, after_key))
    pk = mine.values_list("pk", flat=True)[PART_ROWS - 1 : PART_ROWS].first()
    return None if pk is None else stream_key_of(model, pk)


def work_off(
    part: RebuildPart, model: type[EventSourcedModel], *, check: bool, stop: Callable[[], bool]
) -> work.Rebuilt:
    """Do a part and mark it finished. Raises ``Stopped`` when ``stop`` says so; then it is not."""
    seen = work.Rebuilt()
    keep = partial(_keep, part, model, check)
    bounds: dict[str, Any] = {"after_key": part.after_key, "until_key": part.until_key, "keep": keep, "stop": stop}
    if part.kind == RebuildPart.STREAMS:
        found = work.rebuild_streams(model, check=check, seen=seen, **bounds)
    else:
        found = work.rows_without_history(model, **bounds)
    for _drift in found:
        pass  # kept already, with its repair
    mine = stored(RebuildPart).filter(pk=part.pk)
    mine.update(finished=True, aggregates=seen.aggregates, events=seen.events)
    return seen


def _keep(part: RebuildPart, model: type[EventSourcedModel], check: bool, drift: Drift) -> None:
    finding = RebuildFinding(part=part, **finding_of(model, drift, check=check)._asdict())
    # A part that is done again finds the same again, if it only compares.
    stored(RebuildFinding).bulk_create([finding], ignore_conflicts=True)


def finding_of(model: type[EventSourcedModel], drift: Drift, *, check: bool) -> Finding:
    """Return a difference as it is told."""
    return Finding(
        stream_key=stream_key_of(model, drift.pk),
        problem=drift.problem,
        fields=json.loads(json.dumps(drift.fields, cls=_Plain), parse_constant=str),
        version=drift.version,
        position=drift.position,
        type=drift.type,
        left=check or drift.problem == "unknown" or bool(drift.refusal),
        refusal=drift.refusal,
    )


class _Plain(DjangoJSONEncoder):
    def default(self, o: Any) -> Any:
        try:
            return super().default(o)
        except TypeError:
            return str(o)


def findings(run: RebuildRun, part: int | None = None) -> Iterator[Finding]:
    """Yield what was found: in one part, or in every part that is finished, in their order."""
    mine = stored(RebuildFinding).filter(part=part) if part else stored(RebuildFinding).filter(part__run=run)
    told = mine.filter(part__finished=True).order_by("part__number", "pk")
    for values in told.values_list(*Finding._fields).iterator():
        yield Finding(*values)


def counts(run: RebuildRun) -> Counts:
    """Return what the finished parts of a run amount to."""
    done = stored(RebuildPart).filter(run=run, finished=True)
    sums = done.aggregate(aggregates=Sum("aggregates"), events=Sum("events"))
    found = stored(RebuildFinding).filter(part__run=run, part__finished=True)
    left = found.filter(left=True).count()
    return Counts(sums["aggregates"] or 0, sums["events"] or 0, found.count(), left)


def finish(run: RebuildRun) -> Counts:
    """End a run whose parts are all finished: keep its counts, drop its parts, and the mark that it has answered."""
    done = counts(run)
    refused = stored(RebuildFinding).filter(part__run=run).exclude(refusal="").exists()
    with transaction.atomic(using=conf.DATABASE):
        stored(RebuildPart).filter(run=run).delete()
        stored(RebuildRun).filter(pk=run.pk).update(finished_at=timezone.now(), **done._asdict())
        if not run.check_only and not refused:
            _answer(run)
    return done


def _answer(run: RebuildRun) -> None:
    # Compared here: SQLite keeps times as text, and a migration has written it in SQL. A mark that was renewed
    # meanwhile is another one.
    for mark in stored(DueRebuild).filter(model=run.model).select_for_update():
        if mark.marked_at == run.due:
            mark.delete()
