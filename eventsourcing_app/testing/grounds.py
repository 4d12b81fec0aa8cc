"""Where a scenario runs: in memory, or in rows of a test database. What passes in the one passes in the other.

Memory does what ``save()`` does, without a row: events go through their canonical text, the state must fit its columns,
and the next command meets the state as it would be loaded.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from django.db import models, transaction

from eventsourcing_app.aggregates.dispatch import own_command
from eventsourcing_app.aggregates.keys import stream_key_of
from eventsourcing_app.aggregates.recording import Recording, history_fields
from eventsourcing_app.aggregates.saving.ends import has_row
from eventsourcing_app.aggregates.saving.fit import require_fit
from eventsourcing_app.aggregates.saving.write import require_key
from eventsourcing_app.conf import conf
from eventsourcing_app.events import evolution
from eventsourcing_app.log import clock
from eventsourcing_app.log.read import read_stream
from eventsourcing_app.testing.histories import prepared, stored_history
from eventsourcing_app.testing.no_database import database_refused
from eventsourcing_app.testing.old_events import record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from eventsourcing_app.aggregates.declare import Command
    from eventsourcing_app.aggregates.model import EventSourcedModel

M = TypeVar("M", bound="EventSourcedModel")

_DRAWN_KEY = 1
"""What memory gives an aggregate whose key the database would draw."""


class Ground(Protocol[M]):
    """One state of one aggregate, and what a command makes of it."""

    def run(
        self, command: Callable[..., object], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Ground[M], list[object]]:
        """Run a command and save; return the ground that it leaves, and the events that it recorded.

        Raises ``DoesNotExist`` where there is no row for it.
        """

    def instance(self) -> M:
        """Return the state: the caller's own copy."""

    def looked_at(self) -> AbstractContextManager[None]:
        """Surround a look at the state."""

    def stored(self) -> Ground[M]:
        """Return the same state in rows."""


class Memory(Generic[M]):
    """A state without a row."""

    def __init__(
        self, instance: M, facts: tuple[object, ...], *, pk: Any, unrecorded: Mapping[str, Any] | None
    ) -> None:
        self._instance, self._facts, self._pk, self._unrecorded = instance, facts, pk, unrecorded

    @classmethod
    def begin(
        cls, model: type[M], facts: tuple[object, ...], *, pk: Any, unrecorded: Mapping[str, Any] | None
    ) -> Memory[M]:
        """Apply a history to a new instance."""
        instance = prepared(model, pk, unrecorded)
        if facts and instance.pk in (None, "") and not isinstance(model._meta.pk, models.AutoField):
            raise ValueError(f"given({model.__name__}, …): its key has no default; give it one: pk=….")
        with database_refused(f"The history given of {model.__name__}"):
            for fact in facts:
                record(instance, fact)
            _settle(instance)
        return cls(instance, facts, pk=pk, unrecorded=unrecorded)

    def run(
        self, command: Callable[..., object], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Memory[M], list[object]]:
        declared = own_command(type(self._instance), command)
        _require_row(self._instance, declared)
        instance = self.instance()
        with database_refused(declared.function.__qualname__):
            command(instance, *args, **kwargs)
            pending = instance._recording.pending
            events = [evolution.read(each.type, each.schema_version, each.data) for each in pending]
            _settle(instance)
        return Memory(instance, (*self._facts, *events), pk=self._pk, unrecorded=self._unrecorded), events

    def instance(self) -> M:
        return deepcopy(self._instance)

    def looked_at(self) -> AbstractContextManager[None]:
        return database_refused("then_state()")

    def stored(self) -> Ground[M]:
        model = type(self._instance)
        if not self._facts:
            return Rows(model, self._pk, self._unrecorded or {})
        pk = self._pk if isinstance(model._meta.pk, models.AutoField) else self._instance.pk
        outside = {name: getattr(self._instance, name) for name in model.unrecorded}
        if pk is not None and model.objects.filter(pk=pk).exists():
            raise ValueError(f"{model.__name__} {pk} is stored already: give the second one another pk=….")
        return Rows(model, stored_history(model, *self._facts, pk=pk, unrecorded=outside).pk)


class Rows(Generic[M]):
    """A state in a row, or one that will be in a row once a command has created it."""

    def __init__(self, model: type[M], pk: Any = None, unrecorded: Mapping[str, Any] | None = None) -> None:
        self._model, self._pk, self._unrecorded = model, pk, unrecorded
        self._exists = unrecorded is None

    def run(
        self, command: Callable[..., object], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Rows[M], list[object]]:
        declared = own_command(self._model, command)
        if not self._exists:
            _require_row(self.instance(), declared)
            return self._create(command, args, kwargs)
        receipt = self._model.objects.perform(self._pk, command, *args, **kwargs)
        return self, self._recorded(receipt.pk, receipt.version, receipt.count)

    def instance(self) -> M:
        if not self._exists:
            return prepared(self._model, self._pk, self._unrecorded)
        return self._model.objects.get(pk=self._pk)

    def looked_at(self) -> AbstractContextManager[None]:
        return nullcontext()

    def stored(self) -> Ground[M]:
        return self

    def _create(
        self, command: Callable[..., object], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Rows[M], list[object]]:
        if self._pk is None and not self._unrecorded:
            receipt = self._model.objects.perform_new(command, *args, **kwargs)
            pk, version, count = receipt.pk, receipt.version, receipt.count
        else:  # perform_new() makes its instance itself, so what was prepared goes the way of save()
            with transaction.atomic(using=conf.DATABASE):
                instance = self.instance()
                command(instance, *args, **kwargs)
                count = len(instance._recording.pending)
                if count:
                    instance.save()
            pk, version = instance.pk, instance.version
        return (Rows(self._model, pk), self._recorded(pk, version, count)) if count else (self, [])

    def _recorded(self, pk: Any, version: int, count: int) -> list[object]:
        """Return the last ``count`` events up to ``version``."""
        key = stream_key_of(self._model, pk)
        stream = read_stream(self._model.stream_type, key, after_version=version - count, until_version=version)
        return [recorded.event for recorded in stream]


def _require_row(instance: EventSourcedModel, declared: Command) -> None:
    """Raise ``DoesNotExist`` where ``perform`` would: it finds no row of what has not begun, or left none."""
    model = type(instance)
    if instance._state.adding and not declared.creates:
        raise model.DoesNotExist(f"This {model.__name__} does not exist yet, and {declared.name}() does not create it.")
    if not has_row(instance):
        raise model.DoesNotExist(f"This {model.__name__} has ended and left no row: {declared.name}() finds none.")


def _settle(instance: EventSourcedModel) -> None:
    """Do what ``save()`` does and ``objects.get()`` after it, without a row."""
    recording = instance._recording
    recording.check(instance)
    if not recording.pending:
        return
    require_key(instance)
    require_fit(instance)
    instance.version += len(recording.pending)
    instance.changed_at = clock.now(not_before=instance.changed_at)
    instance.ended = recording.ends
    if instance.pk is None:
        instance.pk = _DRAWN_KEY
    instance._state.adding = False
    values = instance.__dict__
    for field in history_fields(type(instance)):
        values[field.attname] = as_loaded(field, values[field.attname])
    values["_recording_"] = Recording.of_loaded(instance)


def as_loaded(field: models.Field[Any, Any], value: Any) -> Any:
    """Return the value that a column gives back: no member of an enumeration, decimals with the column's places."""
    if isinstance(value, Enum):
        value = value.value
    if value is None:
        return None
    value = field.to_python(value)
    if isinstance(value, Decimal) and isinstance(field, models.DecimalField):
        return value.quantize(Decimal(1).scaleb(-(field.decimal_places or 0)), context=field.context)
    return value
