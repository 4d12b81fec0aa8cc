"""Folding events back into state: what an aggregate was at a version or at a moment. The log decides, never a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from eventsourcing_app.aggregates.keys import stream_key_of
from eventsourcing_app.aggregates.past.fold import Fold, blank
from eventsourcing_app.aggregates.past.snapshots import Keeper, make_plain, newest, restore
from eventsourcing_app.aggregates.plain_rows import plain_rows
from eventsourcing_app.aggregates.recording import Recording
from eventsourcing_app.conf import conf
from eventsourcing_app.events.registry import registry
from eventsourcing_app.exceptions import NoSuchVersion
from eventsourcing_app.log.horizon import is_final
from eventsourcing_app.log.read import WINDOW, read_stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.aggregates.records import StoredSnapshot
    from eventsourcing_app.log.recorded import RecordedEvent

M = TypeVar("M", bound="EventSourcedModel")

_PAST = "it is a past state, to be read only"


def resume(
    model: type[M],
    stream_key: str,
    *,
    snapshot_until: int | None = None,
    until_version: int | None = None,
    when: datetime | None = None,
) -> tuple[M, Iterator[RecordedEvent]]:
    """Return the state at the newest snapshot, or before the first event, and the events that lead on from there.

    The snapshot is of at most version ``snapshot_until``, and recorded at or before ``when``; the events go on up to
    ``until_version``. Events and snapshot are compared: one of other events is passed over.
    """
    until = snapshot_until
    # Nobody knows how many events a moment takes, but most often there is another snapshot after so many.
    window = WINDOW if when is None else min(WINDOW, (conf.SNAPSHOT_EVERY or WINDOW) + 1)
    while (snapshot := newest(model, stream_key, until_version=until, until_time=when)) is not None:
        events = read_stream(
            model.stream_type,
            stream_key,
            after_version=snapshot.version - 1,
            until_version=until_version,
            window=window,
        )
        instance = from_snapshot(model, snapshot, next(events, None))
        if instance is not None:
            return instance, events
        until = snapshot.version - 1
    events = read_stream(model.stream_type, stream_key, until_version=until_version, window=window)
    return blank(model, stream_key), events


def from_snapshot(model: type[M], snapshot: StoredSnapshot, recorded: RecordedEvent | None) -> M | None:
    """Return the state that a snapshot keeps, if ``recorded`` is the event at which it was made."""
    if recorded is None or recorded.version != snapshot.version or recorded.hash != bytes(snapshot.event_hash):
        return None
    instance = blank(model, recorded.stream_key)
    restore(instance, snapshot)
    instance.version, instance.changed_at = snapshot.version, recorded.recorded_at
    instance.ended, instance.position = registry.get(recorded.type).ends, recorded.position
    return instance


def state_at(model: type[M], stream_key: str, *, version: int | None = None, when: datetime | None = None) -> M:
    """Return the state after ``version``, or as of ``when``, or of now. See ``EventSourcedManager.at``."""
    # Asked before anything is read: what is committed in between is seen, and changes nothing about the answer.
    final = version is not None or (when is not None and is_final(when))
    instance, events = resume(model, stream_key, snapshot_until=version, until_version=version, when=when)
    folding, keeper = Fold.of(instance), Keeper(model)
    for recorded in events:
        if when is not None and recorded.recorded_at > when:
            final = True  # time never runs back within a stream, so nothing can come before this event
            break
        folding.add_recorded(recorded)
        keeper.passed(instance, recorded)
    keeper.close()
    if version is not None and 0 < instance.version < version:
        raise NoSuchVersion(
            f"{model.__name__} {stream_key} never had version {version}: its history ends at {instance.version}."
        )
    if instance.version == 0:
        moment = f"version {version}" if when is None else str(when)
        raise model.DoesNotExist(f"{model.__name__} {stream_key} did not exist at {moment}.")
    return as_past(instance, final=final or instance.ended)


def make_snapshots(model: type[EventSourcedModel]) -> Iterator[int]:
    """Fold every aggregate of ``model`` up to the newest version that is due a snapshot; yield how many events it took.

    One that is up to date takes none. Aggregates whose rows have gone are left out.
    """
    every, last = conf.SNAPSHOT_EVERY, None
    rows = plain_rows(model)
    rows = rows.filter(version__gte=every).order_by(model._meta.pk.attname)
    while every:
        page = (rows if last is None else rows.filter(pk__gt=last)).values_list("pk", "version")[:WINDOW]
        for pk, version in page:
            due, last, count = version - version % every, pk, 0
            key = stream_key_of(model, pk)
            instance, events = resume(model, key, snapshot_until=due, until_version=due)
            folding, keeper = Fold.of(instance), Keeper(model)
            for recorded in events:
                count += 1
                folding.add_recorded(recorded)
                keeper.passed(instance, recorded)
            keeper.close()
            yield count
        if len(page) < WINDOW:
            return


def as_past(instance: M, *, final: bool) -> M:
    """Make a folded or loaded state what readers get of the past: to be read only, and nothing of now in it."""
    make_plain(instance)
    values = instance.__dict__
    for field in instance._meta.concrete_fields:
        if field.generated:
            values[field.attname] = None
        elif field.name in type(instance).unrecorded:
            values[field.attname] = field.get_default()
    instance._state.adding = False
    instance._state.db = conf.DATABASE
    values["_recording_"] = recording = Recording.of_loaded(instance)
    recording.spend(_PAST)
    instance.past_is_final = final
    return instance


def replay(model: type[M], stream_key: str) -> Iterator[tuple[M, RecordedEvent]]:
    """Yield the state after each event, with that event. See ``EventSourcedManager.replay``."""
    instance = blank(model, stream_key)
    instance._recording.spend(_PAST)
    folding = Fold.of(instance)
    for recorded in read_stream(model.stream_type, stream_key):
        folding.add_recorded(recorded)
        yield instance, recorded
