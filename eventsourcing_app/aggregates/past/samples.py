"""One field of an aggregate over time, at as many versions as a chart has room for, however long its history is.

A short history is folded as a whole. Of a long one only the states are read that snapshots keep, each believed as any
snapshot is, and the tail is folded from the newest of them: a handful of queries, and a bounded number of events.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from eventsourcing_app.aggregates.past.fold import Fold
from eventsourcing_app.aggregates.past.history import resume
from eventsourcing_app.aggregates.past.snapshots import Keeper, kept_at, kept_value
from eventsourcing_app.aggregates.recording import history_fields
from eventsourcing_app.aggregates.values import member_value, value_of
from eventsourcing_app.conf import conf
from eventsourcing_app.log.records import StoredEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from django.db import models

    from eventsourcing_app.aggregates.model import EventSourcedModel

MOST: Final = 120
"""How many samples are taken at most."""
_FROM_SNAPSHOTS = 80
"""How many of them are taken from snapshots at most."""
_USUAL = 256
"""Stands for ``SNAPSHOT_EVERY`` where no snapshots are kept."""


class Sample(NamedTuple):
    """The value of a field from a version on."""

    version: int
    recorded_at: datetime
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """The values of a field, by rising version, and what is not among them."""

    points: Sequence[Sample]
    is_whole: bool
    """Whether they are all values that there were, and when each came."""
    missing: tuple[int, int] | None = None
    """The first and last version between which snapshots are wanting, so that nothing is known there."""


def samples(model: type[EventSourcedModel], stream_key: str, name: str, *, until: int) -> Samples:
    """Sample a field that comes from events, up to version ``until``, which the history must have reached.

    Raises what a fold raises at an event that cannot be read.
    """
    field = next(field for field in history_fields(model) if field.name == name)
    most = 2 * (conf.SNAPSHOT_EVERY or _USUAL)
    if until <= most:
        values = _folded(model, stream_key, field, until=until, most=most, from_start=True)
        changed = [*_changed(values), *values[-1:]]
        points = _thinned(changed, MOST)
        return Samples(points=_without_repeats(points), is_whole=len(points) == len(changed))
    first = _folded(model, stream_key, field, until=1, most=1, from_start=True)
    wanted = _wanted(until)
    kept = _kept(model, stream_key, field, wanted)
    tail = _folded(model, stream_key, field, until=until, most=most)
    found = {sample.version for sample in kept}
    covered = range(tail[0].version, tail[-1].version + 1) if tail else range(0)
    gaps = [version for version in (*wanted, until) if version not in found and version not in covered]
    last = kept[-1].version if kept else 0
    newer = _thinned([sample for sample in tail if sample.version > last], MOST - len(kept) - 1)
    return Samples(
        points=_without_repeats(sorted([*first, *kept, *newer], key=lambda sample: sample.version)),
        is_whole=False,
        missing=(gaps[0], gaps[-1]) if gaps else None,
    )


def _folded(
    model: type[EventSourcedModel],
    stream_key: str,
    field: models.Field[Any, Any],
    *,
    until: int,
    most: int,
    from_start: bool = False,
) -> list[Sample]:
    """Fold at most so many events up to a version, from the newest snapshot or the start; return each value."""
    state, events = resume(model, stream_key, snapshot_until=0 if from_start else until, until_version=until)
    folding, keeper, found = Fold.of(state), Keeper(model), list[Sample]()
    if state.version and state.changed_at is not None:
        found.append(Sample(state.version, state.changed_at, value_of(state, field)))
    for recorded in islice(events, most):
        folding.add_recorded(recorded)
        keeper.passed(state, recorded)
        found.append(Sample(state.version, recorded.recorded_at, member_value(value_of(state, field))))
    keeper.close()
    return found


def _wanted(until: int) -> list[int]:
    """The versions at which to look for snapshots: at each that one is kept for, or at every so many of these."""
    if not conf.SNAPSHOT_EVERY:
        return []
    step = conf.SNAPSHOT_EVERY * -(-until // (conf.SNAPSHOT_EVERY * _FROM_SNAPSHOTS))
    return list(range(step, until + 1, step))


def _kept(
    model: type[EventSourcedModel], stream_key: str, field: models.Field[Any, Any], versions: list[int]
) -> list[Sample]:
    snapshots = kept_at(model, stream_key, versions)
    if not snapshots:
        return []
    events = StoredEvent.objects.get_queryset().of_stream(model.stream_type, stream_key)
    rows = events.filter(version__in=[snapshot.version for snapshot in snapshots]).values_list("version", "hash")
    hashes = {version: bytes(digest) for version, digest in rows}
    return [
        Sample(snapshot.version, snapshot.recorded_at, kept_value(snapshot, field))
        for snapshot in snapshots
        if hashes.get(snapshot.version) == bytes(snapshot.event_hash)
    ]


def _changed(values: Iterable[Sample]) -> list[Sample]:
    found: list[Sample] = []
    for sample in values:
        if not found or sample.value != found[-1].value:
            found.append(sample)
    return found


def _thinned(values: Sequence[Sample], most: int) -> Sequence[Sample]:
    """Choose evenly, but keep the first and the last, and the lowest and highest of all."""
    if len(values) <= most:
        return values
    step = (len(values) - 1) / (most - 3)
    chosen = {round(number * step) for number in range(most - 2)}
    numbers = [place for place, sample in enumerate(values) if sample.value is not None]
    if numbers:
        chosen |= {min(numbers, key=lambda at: values[at].value), max(numbers, key=lambda at: values[at].value)}
    return [values[place] for place in sorted(chosen)]


def _without_repeats(values: Iterable[Sample]) -> list[Sample]:
    return list({sample.version: sample for sample in values}.values())
