"""Folding events back into state: what an aggregate was at a version or at a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.db import models

from eventsourcing_app.aggregates.recording import Recording
from eventsourcing_app.events.registry import registry
from eventsourcing_app.exceptions import NoSuchVersion
from eventsourcing_app.log.read import read_stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.log.recorded import RecordedEvent

M = TypeVar("M", bound="EventSourcedModel")

_PAST = "it is a past state, to be read only"


def blank(model: type[M], stream_key: str) -> M:
    """Return an instance as it is before its first event."""
    instance = model()
    key: models.Field[Any, Any] = model._meta.pk
    while isinstance(key, models.ForeignKey):  # has the type of the key that it points at
        key = key.target_field
    setattr(instance, model._meta.pk.attname, key.to_python(stream_key))
    return instance


def fold_onto(instance: EventSourcedModel, recorded: RecordedEvent) -> None:
    """Apply one stored event to the state before it."""
    instance._apply(recorded.event, folding=True)
    instance.version = recorded.version or 0
    instance.changed_at = recorded.recorded_at
    instance.ended = registry.get(recorded.type).ends
    instance.position = recorded.position


def state_at(model: type[M], stream_key: str, *, version: int | None = None, when: datetime | None = None) -> M:
    """Return the state after ``version``, or as of ``when``. See ``EventSourcedManager.at``."""
    instance = blank(model, stream_key)
    for recorded in read_stream(model.stream_type, stream_key, until_version=version):
        if when is not None and recorded.recorded_at > when:
            break
        fold_onto(instance, recorded)
    if version is not None and 0 < instance.version < version:
        raise NoSuchVersion(
            f"{model.__name__} {stream_key} never had version {version}: its history ends at {instance.version}."
        )
    if instance.version == 0:
        moment = f"version {version}" if when is None else str(when)
        raise model.DoesNotExist(f"{model.__name__} {stream_key} did not exist at {moment}.")
    instance._state.adding = False
    instance.__dict__["_recording_"] = recording = Recording.of_loaded(instance)
    recording.spend(_PAST)
    return instance


def replay(model: type[M], stream_key: str) -> Iterator[tuple[M, RecordedEvent]]:
    """Yield the state after each event, with that event. See ``EventSourcedManager.replay``."""
    instance = blank(model, stream_key)
    instance._recording.spend(_PAST)
    for recorded in read_stream(model.stream_type, stream_key):
        fold_onto(instance, recorded)
        yield instance, recorded
