"""Snapshots: kept states from which a fold may start, so that the past costs the same however long a stream is.

A cache that may be dropped, and one that must not lie. Only a fold from the log makes snapshots, never a row: rows may
have been written by older code, or by nobody. A snapshot is believed if its stamp fits, if the code that made it is
that of today, and if the event that it stands at is the one that it was made at; whatever was rolled back, changed in
the table or folded by other code is passed over, and replaced by the next fold that comes by.
"""

from __future__ import annotations

import json
import logging
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import DatabaseError, OperationalError, models, transaction
from django.db.models import OuterRef, Subquery
from django.utils.crypto import constant_time_compare, salted_hmac

from eventsourcing_app.aggregates.past.applycode import fingerprint_of
from eventsourcing_app.aggregates.recording import OF_THE_EVENT, Recording, history_fields
from eventsourcing_app.aggregates.records import StoredSnapshot
from eventsourcing_app.aggregates.values import json_text, json_value, member_value, value_of
from eventsourcing_app.conf import conf
from eventsourcing_app.log.clock import timestamp
from eventsourcing_app.log.connection import log_connection, without_waiting

if TYPE_CHECKING:
    from collections.abc import Collection

    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.log.recorded import RecordedEvent

logger = logging.getLogger("eventsourcing_app.aggregates")

_TOGETHER = 16
"""How many snapshots are stored by one statement; each may hold a large state."""
_SALT = "eventsourcing_app.snapshot"
_EXACT = frozenset({str, int, bool, float, Decimal, date, datetime, time, timedelta, UUID, bytes})
"""Types whose ``repr`` says all that there is to a value."""


class _Unfit(Exception):
    """A state that would not be read back from a snapshot as it is, because of one field. It tells no value."""

    def __init__(self, field: str, why: str) -> None:
        self.field, self.why = field, why
        super().__init__(f"{field} {why}")


def newest(
    model: type[EventSourcedModel],
    stream_key: str,
    *,
    until_version: int | None = None,
    until_time: datetime | None = None,
) -> StoredSnapshot | None:
    """Return the newest snapshot, up to a version or a moment, whose stamp and code are right, if there is one.

    The caller still has to compare its ``event_hash`` with that of the event.
    """
    if not conf.SNAPSHOT_EVERY or (until_version is not None and until_version < conf.SNAPSHOT_EVERY):
        return None
    rows = _of_code(model).filter(stream_key=stream_key).order_by("-version")
    if until_version is not None:
        rows = rows.filter(version__lte=until_version)
    if until_time is not None:
        rows = rows.filter(recorded_at__lte=until_time)
    found = rows.first()
    while found is not None and not _is_ours(found):
        found = rows.filter(version__lt=found.version).first()
    return found


def newest_of(
    model: type[EventSourcedModel], stream_keys: Collection[str], *, until_time: datetime
) -> dict[str, StoredSnapshot]:
    """Return what ``newest`` would for each of several streams, in one query; without one whose newest is no good."""
    if not conf.SNAPSHOT_EVERY or not stream_keys:
        return {}
    rows = _of_code(model).filter(recorded_at__lte=until_time)
    greatest = rows.filter(stream_key=OuterRef("stream_key")).order_by("-version").values("version")[:1]
    found = rows.filter(stream_key__in=stream_keys, version=Subquery(greatest))
    return {snapshot.stream_key: snapshot for snapshot in found if _is_ours(snapshot)}


def kept_at(model: type[EventSourcedModel], stream_key: str, versions: Collection[int]) -> list[StoredSnapshot]:
    """Return the snapshots of just these versions that ``newest`` would return, in order, in one query."""
    if not conf.SNAPSHOT_EVERY or not versions:
        return []
    found = _of_code(model).filter(stream_key=stream_key, version__in=versions).order_by("version")
    return [snapshot for snapshot in found if _is_ours(snapshot)]


def kept_value(snapshot: StoredSnapshot, field: models.Field[Any, Any]) -> Any:
    """Return the value of one field in the kept state."""
    state: dict[str, str | None] = json.loads(snapshot.state)
    return _read(field, state[field.attname])


def restore(instance: EventSourcedModel, snapshot: StoredSnapshot) -> None:
    """Give a blank instance the kept state; what the event tells is left to the caller."""
    state: dict[str, str | None] = json.loads(snapshot.state)
    for field in _fields(type(instance)):
        setattr(instance, field.attname, _read(field, state[field.attname]))
    instance.__dict__["_recording_"] = Recording.of_loaded(instance)


def drop_snapshots(model: type[EventSourcedModel]) -> int:
    """Delete the snapshots of a model, and return how many there were."""
    deleted, _ = StoredSnapshot.objects.using(conf.DATABASE).filter(stream_type=model.stream_type).delete()
    return deleted


class Keeper:
    """Takes the states that a fold passes, and stores those that are due. Never fails the fold, nor makes it wait.

    Outside of transactions it stores as the fold goes on. Inside one it would hold locks to its end, and spoil it by an
    error: it keeps only the newest state, and stores that after the commit; with ``defers=False`` nothing.
    """

    def __init__(self, model: type[EventSourcedModel], *, defers: bool = True) -> None:
        self._model = model
        self._every = conf.SNAPSHOT_EVERY
        self._in_transaction = log_connection().in_atomic_block
        if self._in_transaction and not defers:
            self._every = 0
        self._rows: list[StoredSnapshot] = []

    def passed(self, instance: EventSourcedModel, recorded: RecordedEvent) -> None:
        """Look at the state after ``recorded``."""
        if not self._every or instance.version % self._every:
            return
        make_plain(instance)
        try:
            row = _made(instance, recorded)
        except _Unfit as error:
            _warn_once(self._model._meta.label, error)
            self._every = 0
            return
        if self._in_transaction:
            self._rows = [row]
        else:
            self._rows.append(row)
            if len(self._rows) == _TOGETHER:
                self.close()

    def close(self) -> None:
        """Store what has been taken and is not stored yet."""
        rows, self._rows = self._rows, []
        if not rows:
            return
        if self._in_transaction:
            transaction.on_commit(partial(_store, rows), using=conf.DATABASE, robust=True)
        else:
            _store(rows)


def _of_code(model: type[EventSourcedModel]) -> models.QuerySet[StoredSnapshot]:
    return StoredSnapshot.objects.using(conf.DATABASE).filter(
        stream_type=model.stream_type, fingerprint=fingerprint_of(model)
    )


def make_plain(instance: models.Model) -> None:
    """Replace members of enumerations by their plain values, as a row gives them back: snapshots hold no others."""
    values = instance.__dict__
    for field in history_fields(type(instance)):
        values[field.attname] = member_value(values[field.attname])


@cache
def _fields(model: type[models.Model]) -> tuple[models.Field[Any, Any], ...]:
    return tuple(field for field in history_fields(model) if field.name not in OF_THE_EVENT)


def _made(instance: EventSourcedModel, recorded: RecordedEvent) -> StoredSnapshot:
    state = {field.attname: _written(instance, field) for field in _fields(type(instance))}
    snapshot = StoredSnapshot(
        stream_type=instance.stream_type,  # of today; the event may have an older name
        stream_key=recorded.stream_key,
        version=instance.version,
        recorded_at=recorded.recorded_at,
        event_hash=recorded.hash,
        fingerprint=fingerprint_of(type(instance)),
        state=json.dumps(state, sort_keys=True, separators=(",", ":")),
    )
    snapshot.stamp = _stamp(snapshot)
    return snapshot


def _written(instance: EventSourcedModel, field: models.Field[Any, Any]) -> str | None:
    """Write a value as a serializer would, and see that it is read back as it is."""
    value = value_of(instance, field)
    if value is None:
        return None
    try:
        if isinstance(field, models.JSONField):
            text = json_text(field, value)
        elif isinstance(field, models.FileField):
            text = str(value)
        else:
            text = str(field.value_to_string(instance))
        again = _read(field, text)
    except (TypeError, ValueError, ArithmeticError, ValidationError) as error:
        why = f"holds a {type(value).__name__} that is not read back ({type(error).__name__})"
        raise _Unfit(field.name, why) from error
    if not _same(value, again):
        other = "another" if type(value) is type(again) else f"a {type(again).__name__}"
        raise _Unfit(field.name, f"holds a {type(value).__name__} that would be read back as {other}")
    return text


def _read(field: models.Field[Any, Any], text: str | None) -> Any:
    if text is None:
        return None
    if isinstance(field, models.JSONField):
        return json_value(field, text)
    value = field.to_python(text)
    return bytes(value) if isinstance(value, memoryview) else value


def _same(value: Any, again: Any) -> bool:
    """Whether a fold could not tell the two apart."""
    if type(value) in _EXACT:  # also tells 1.0 from 1.00, and zones with the same offset
        return type(value) is type(again) and repr(value) == repr(again)
    return type(value) is type(again) and bool(value == again)


def _stamp(snapshot: StoredSnapshot) -> bytes:
    stamped = [
        snapshot.stream_type,
        snapshot.stream_key,
        snapshot.version,
        timestamp(snapshot.recorded_at),
        bytes(snapshot.event_hash).hex(),
        bytes(snapshot.fingerprint).hex(),
        snapshot.state,
    ]
    return salted_hmac(_SALT, json.dumps(stamped), algorithm="sha256").digest()


def _is_ours(snapshot: StoredSnapshot) -> bool:
    return constant_time_compare(bytes(snapshot.stamp), _stamp(snapshot))


def _store(rows: list[StoredSnapshot]) -> None:
    connection = log_connection()
    try:
        with without_waiting(connection):  # a reader must not wait for a writer, for a cache
            # In one order, so that two readers who store the same ones do not wait for each other in a circle.
            StoredSnapshot.objects.using(connection.alias).bulk_create(
                sorted(rows, key=lambda row: (row.stream_key, row.version)),
                update_conflicts=True,
                unique_fields=["stream_type", "stream_key", "version"],
                update_fields=["recorded_at", "event_hash", "fingerprint", "state", "stamp"],
            )
    except OperationalError as error:  # SQLite has a writer, or the time limit for locks is over: next time, then
        logger.debug("Snapshots were not stored: %s", error)
    except DatabaseError as error:
        logger.warning("Snapshots of %s cannot be stored: %s", rows[0].stream_type, error)


_warned: set[tuple[str, str]] = set()
"""Model and field. Not the reason, of which there could be any number."""


def _warn_once(label: str, unfit: _Unfit) -> None:
    if (label, unfit.field) not in _warned:
        _warned.add((label, unfit.field))
        logger.warning("No snapshot is made of %s: %s.", label, unfit)
