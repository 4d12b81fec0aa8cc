"""The end of an aggregate: its row is kept or removed, by choice, and its key is never used again.

A row is removed only together with the event that ends its stream, and nothing else is removed with it: no event would
tell of that. The signals tell what happens to the row: ``pre_delete`` and ``post_delete`` where it is removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.deletion import Collector, ProtectedError

from eventsourcing_app.aggregates.dispatch import ending_names
from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import StreamEnded
from eventsourcing_app.log.connection import log_connection, stored_event
from eventsourcing_app.log.names import names_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from eventsourcing_app.aggregates.model import EventSourcedModel

_KEYS = 500


def removes_row(instance: EventSourcedModel) -> bool:
    """Whether saving what was recorded ends the aggregate and leaves no row of it."""
    recording = instance._recording
    return recording.ends and bool(recording.pending) and type(instance).remove_row_at_end


def has_row(state: EventSourcedModel) -> bool:
    """Whether there is to be a row of an aggregate in this state."""
    return not (state.ended and type(state).remove_row_at_end)


def loses_row(instance: EventSourcedModel) -> bool:
    """Whether saving what was recorded removes a row; one that begins and ends at once never had any."""
    return not instance._state.adding and removes_row(instance)


def require_unprotected(instances: Iterable[EventSourcedModel]) -> None:
    """Raise ``ProtectedError`` or ``RestrictedError`` if rows point at one of these, which are to be removed.

    Those that are deleted or changed with it elsewhere in Django (``CASCADE``, ``SET_NULL``, …) protect it as well.
    ``DO_NOTHING`` leaves it to the constraint of the database.
    """
    for instance in instances:
        collector = Collector(using=conf.DATABASE, origin=instance)
        collector.collect([instance])
        touched = set(_touched(collector, instance))
        if touched:
            labels = ", ".join(sorted({each._meta.label for each in touched}))
            raise ProtectedError(
                f"This {type(instance).__name__} ({instance.pk}) cannot end while rows point at it that would be "
                f"deleted or changed with its own ({labels}): no event would tell of that. Delete them first, or keep "
                "the row: remove_row_at_end = False.",
                touched,
            )


def _touched(collector: Collector, instance: EventSourcedModel) -> Iterator[models.Model]:
    """Yield what Django would delete or change with the row, or some of it."""
    updates: Any = collector.field_updates.values()
    for found in (*collector.data.values(), *collector.fast_deletes, *(objs for lists in updates for objs in lists)):
        objs: Any = found[:1] if isinstance(found, models.QuerySet) else found
        yield from (each for each in objs if each is not instance)


def announce_removal(signal: Any, instances: Iterable[EventSourcedModel]) -> None:
    """Send ``pre_delete`` or ``post_delete`` as Django does."""
    for instance in instances:
        signal.send(
            sender=instance._meta.concrete_model or type(instance),
            instance=instance,
            using=conf.DATABASE,
            origin=instance,
        )


def require_free_keys(instances: Sequence[EventSourcedModel]) -> None:
    """Raise ``StreamEnded`` if a new aggregate is to have the natural key of one that has ended.

    Asked before the write only inside a transaction, which on PostgreSQL answers nothing more after a conflict; see
    ``require_not_ended``. A key that is drawn is no other's, and not asked for.
    """
    if log_connection().in_atomic_block:
        _raise_ended([instance for instance in instances if instance._state.adding and _has_natural_key(instance)])


def require_not_ended(instances: Sequence[EventSourcedModel]) -> None:
    """Raise ``StreamEnded`` after a conflict, if that is why. Outside a transaction only, where it can be asked."""
    if not log_connection().in_atomic_block:
        _raise_ended([instance for instance in instances if instance._state.adding and instance.pk is not None])


def _has_natural_key(instance: EventSourcedModel) -> bool:
    key = instance._meta.pk
    return not (isinstance(key, models.AutoField) or key.has_default())


def _raise_ended(instances: Sequence[EventSourcedModel]) -> None:
    for start in range(0, len(instances), _KEYS):
        part = instances[start : start + _KEYS]
        for model in {type(instance) for instance in part}:
            keys = {instance.stream_key for instance in part if type(instance) is model}
            for ended in _ended(model, keys):
                raise StreamEnded(
                    f"{model._meta.object_name} {ended!r} has ended, and its history remains under that key: it begins "
                    "no second one. Use another key."
                )


def _ended(model: type[EventSourcedModel], keys: set[str]) -> models.QuerySet[Any, str] | tuple[str, ...]:
    endings = ending_names(model)
    if not endings:
        return ()
    events = stored_event().objects.using(conf.DATABASE)
    found = events.filter(stream_type__in=names_of(model.stream_type), stream_key__in=keys, type__in=endings)
    return found.order_by("stream_key").values_list("stream_key", flat=True)
