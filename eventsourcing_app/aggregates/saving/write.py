"""Saving aggregates: rows and events in one transaction, each row only at the version that was loaded."""

from __future__ import annotations

from contextlib import nullcontext
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, models, transaction
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save

from eventsourcing_app.aggregates.dispatch import commands_of
from eventsourcing_app.aggregates.plain_rows import plain_rows
from eventsourcing_app.aggregates.recording import forget_computed, outside_fields, unrecorded_names
from eventsourcing_app.aggregates.saving.ends import (
    announce_removal,
    loses_row,
    removes_row,
    require_free_keys,
    require_not_ended,
    require_unprotected,
)
from eventsourcing_app.aggregates.saving.fit import require_fit
from eventsourcing_app.aggregates.saving.renamed import require_no_older_stream
from eventsourcing_app.aggregates.saving.rows import (
    draw_key,
    draws_key_late,
    insert,
    insert_drawing_key,
    new_key,
    state_write,
)
from eventsourcing_app.aggregates.saving.updates import Loaded, update_many
from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import (
    CommandRejected,
    ConcurrencyError,
    DirectWriteRefused,
    NothingRecorded,
)
from eventsourcing_app.log import clock
from eventsourcing_app.log.append import COPY_FROM, Appended, NewEvent, append
from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.log.errors import conflicts_translated

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from django.db.backends.base.base import BaseDatabaseWrapper

    from eventsourcing_app.aggregates.model import EventSourcedModel


def write(instances: Sequence[EventSourcedModel], *, repeatable: bool = False) -> Appended:
    """Save the recorded events and the rows of ``instances``, all of them or none.

    On failure every instance is spent, because it no longer agrees with the database. Rows that exist must be locked by
    the caller in the order of their keys if there are several, or two writers could wait for each other.
    """
    for instance in instances:
        _require_recorded(instance)
    try:
        require_free_keys(instances)
        require_unprotected(instance for instance in instances if loses_row(instance))
        with _whole(instances):
            return _write(instances, repeatable)
    except BaseException as error:
        for instance in instances:
            instance._recording.spend(f"saving it failed ({type(error).__name__})")
        if isinstance(error, ConcurrencyError):
            require_not_ended(instances)
        raise


def _whole(instances: Sequence[EventSourcedModel]) -> AbstractContextManager[Any]:
    """A transaction if several statements or receivers of signals are part of the write: all are stored, or none."""
    if any(post_save.has_listeners(type(instance)) or removes_row(instance) for instance in instances):
        return transaction.atomic(using=conf.DATABASE, savepoint=False)
    if _takes_long(instances) and not log_connection().in_atomic_block:  # a lost race shall not break an outer one
        return transaction.atomic(using=conf.DATABASE)
    return nullcontext()


def _takes_long(instances: Sequence[EventSourcedModel]) -> bool:
    """Whether other statements, which may have to wait, come between reading the clock and inserting the events."""
    return len(instances) > 1 or len(instances[0]._recording.pending) >= COPY_FROM


def _require_recorded(instance: EventSourcedModel) -> None:
    instance._recording.check(instance)
    if not instance._recording.pending:
        raise NothingRecorded(
            f"This {type(instance).__name__} ({instance.pk}) has nothing to save: call a command that records an event "
            f"first ({', '.join(f'{name}()' for name in commands_of(type(instance)))}). Columns without history are "
            "saved with save(update_fields=[…])."
        )


def require_key(instance: EventSourcedModel) -> None:
    """Raise ``CommandRejected`` (code ``no_key``) if a new row would have no key."""
    key = instance._meta.pk
    if instance._state.adding and instance.pk in (None, "") and not isinstance(key, models.AutoField):
        raise CommandRejected(
            f"This {type(instance).__name__} has no key: assign {key.attname} in its creating command.", code="no_key"
        )


def _write(instances: Sequence[EventSourcedModel], repeatable: bool) -> Appended:
    connection = log_connection()
    removed = [instance for instance in instances if loses_row(instance)]
    kept = [instance for instance in instances if not removes_row(instance)]
    created = [instance._state.adding for instance in kept]
    announce_removal(pre_delete, removed)
    if _announce(pre_save, kept) or removed:
        for instance in instances:
            _require_recorded(instance)  # a receiver may assign fields, which would be no event, or save it itself
    for instance in instances:
        require_key(instance)
        require_fit(instance)
    expected = {id(instance): Loaded.of(instance) for instance in instances}
    before = [instance.changed_at for instance in instances if instance.changed_at is not None]
    recorded_at = clock.recording_time(
        not_before=max(before, default=None), announced=connection.in_atomic_block and _takes_long(instances)
    )
    for instance in instances:
        _advance(instance, recorded_at)
    if len(instances) == 1:
        appended = _write_one(connection, instances[0], expected, recorded_at, repeatable)
    else:
        appended = _write_several(connection, instances, expected, recorded_at, repeatable)
    for instance in instances:
        _finish(instance, appended)
    _announce(post_save, kept, created)
    announce_removal(post_delete, removed)
    return appended


def _write_one(
    connection: BaseDatabaseWrapper,
    instance: EventSourcedModel,
    expected: dict[int, Loaded],
    recorded_at: datetime,
    repeatable: bool,
) -> Appended:
    loaded = expected[id(instance)]
    with conflicts_translated(
        instance.stream_type, instance.stream_key, expected=loaded.version, primary_key=new_key(instance)
    ):
        if draws_key_late(connection, instance):
            with transaction.atomic(using=connection.alias, savepoint=False):
                insert_drawing_key(connection, instance)
                appended = append(_events([instance], expected), recorded_at=recorded_at, repeatable=repeatable)
        else:
            draw_key(connection, instance)
            state = state_write(connection, instance, loaded)
            events = _events([instance], expected)
            appended = append(events, recorded_at=recorded_at, state=state, repeatable=repeatable)
    if appended is None:
        raise _lost_race(instance, loaded.version)
    return appended


def _write_several(
    connection: BaseDatabaseWrapper,
    instances: Sequence[EventSourcedModel],
    expected: dict[int, Loaded],
    recorded_at: datetime,
    repeatable: bool,
) -> Appended:
    with transaction.atomic(using=connection.alias, savepoint=False):
        # In one order for all writers, so that two who create the same keys do not wait for each other.
        for instance in sorted((i for i in instances if i._state.adding), key=lambda instance: instance.stream_key):
            with conflicts_translated(
                instance.stream_type, instance.stream_key, expected=0, primary_key=new_key(instance)
            ):
                _create(connection, instance)
        existing = [(instance, expected[id(instance)]) for instance in instances if not instance._state.adding]
        first = instances[0]
        with conflicts_translated(first.stream_type, first.stream_key, expected=expected[id(first)].version):
            lost = _change(connection, existing)
            if lost is not None:
                raise _lost_race(lost, expected[id(lost)].version)
            appended = append(_events(instances, expected), recorded_at=recorded_at, repeatable=repeatable)
    assert appended is not None, "only a state that was not found leaves the log as it is"
    return appended


def _create(connection: BaseDatabaseWrapper, instance: EventSourcedModel) -> None:
    if draws_key_late(connection, instance):
        insert_drawing_key(connection, instance)
        return
    draw_key(connection, instance)
    if not removes_row(instance):
        with connection.cursor() as cursor:
            cursor.execute(*insert(connection, instance))


def _change(
    connection: BaseDatabaseWrapper, existing: Sequence[tuple[EventSourcedModel, Loaded]]
) -> EventSourcedModel | None:
    """Write or remove rows; return one that was not found as it was loaded."""
    with connection.cursor() as cursor:
        for instance, loaded in existing:
            if removes_row(instance):
                state = state_write(connection, instance, loaded)
                assert state is not None, "there is a row to remove"
                cursor.execute(*state)
                if cursor.rowcount != 1:
                    return instance
    return update_many(connection, [entry for entry in existing if not removes_row(entry[0])])


def _advance(instance: EventSourcedModel, recorded_at: datetime) -> None:
    recording = instance._recording
    instance.version += len(recording.pending)
    instance.changed_at = recorded_at
    instance.ended = recording.ends


def _events(instances: Sequence[EventSourcedModel], expected: dict[int, Loaded]) -> list[NewEvent]:
    """The events of all instances, in the order in which they were recorded."""
    require_no_older_stream(instances)
    ordered: list[tuple[int, NewEvent]] = []
    for instance in instances:
        stream_type, stream_key, version = instance.stream_type, instance.stream_key, expected[id(instance)].version
        for order, type_, schema_version, data in instance._recording.pending:
            version += 1
            ordered.append((order, NewEvent(stream_type, stream_key, version, type_, schema_version, data)))
    if len(instances) > 1:
        ordered.sort(key=itemgetter(0))
    return [event for _order, event in ordered]


def _finish(instance: EventSourcedModel, appended: Appended) -> None:
    recording = instance._recording
    recording.pending.clear()
    recording.token = appended.token
    instance._state.adding = False
    instance._state.db = conf.DATABASE
    forget_computed(instance)
    recording.settle(instance)
    instance.position = appended.last[instance.stream_type, instance.stream_key]


def _announce(
    signal: Any,
    instances: Sequence[EventSourcedModel],
    created: Sequence[bool] | None = None,
    *,
    update_fields: frozenset[str] | None = None,
) -> bool:
    announced = False
    for index, instance in enumerate(instances):
        origin = type(instance)  # as Django does: of a proxy, the proxy
        if not signal.has_listeners(origin):
            continue
        facts: dict[str, Any] = {"raw": False, "using": conf.DATABASE, "update_fields": update_fields}
        if created is not None:
            facts["created"] = created[index]
        signal.send(sender=origin, instance=instance, **facts)
        announced = True
    return announced


def _lost_race(instance: EventSourcedModel, expected: int) -> ConcurrencyError:
    rows = plain_rows(type(instance))
    actual = rows.filter(pk=instance.pk).values_list("version", flat=True).first()
    return ConcurrencyError(instance.stream_type, instance.stream_key, expected=expected, actual=actual)


def save_unrecorded(instance: EventSourcedModel, names: frozenset[str]) -> None:
    """Write columns that have no history, without an event."""
    if not names:
        return
    refused = names - unrecorded_names(type(instance))
    if refused or instance._state.adding:
        raise DirectWriteRefused(
            f"{type(instance).__name__}: save(update_fields={sorted(names)}) would leave no event behind: only columns "
            f"listed in `unrecorded` ({', '.join(type(instance).unrecorded) or 'none'}) are written so, on a row that "
            "exists."
        )
    instance._recording.check(instance)
    _announce(pre_save, [instance], update_fields=names)
    columns = [field for field in outside_fields(type(instance)) if not names.isdisjoint((field.name, field.attname))]
    rows = plain_rows(type(instance))
    changes = [(field, None, field.pre_save(instance, False)) for field in columns]
    if not rows.filter(pk=instance.pk)._update(changes):  # type: ignore[attr-defined]  # as Model.save() does
        raise DatabaseError(f"{type(instance).__name__} {instance.pk}: save(update_fields=…) did not find the row.")
    written = {field.attname for field in columns}
    forget_computed(instance, written=written)
    instance._recording.settle(instance, only=written)
    _announce(post_save, [instance], [False], update_fields=names)
