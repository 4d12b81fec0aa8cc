"""What one instance of an event-sourced model has done since it was loaded: its unsaved events and its baseline.

The baseline is the state as last loaded or applied. Comparing with it is how an assignment outside ``@applies`` is
noticed, without a trick on attribute access.
"""

from __future__ import annotations

import itertools
from copy import deepcopy
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from django.db import models

from eventsourcing_app.aggregates.dispatch import commands_of
from eventsourcing_app.aggregates.values import column_form, plain, same
from eventsourcing_app.exceptions import SpentInstance, UnrecordedChange

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from eventsourcing_app.events.declare import Declaration
    from eventsourcing_app.log.commits import CommitToken

_IMMUTABLE = frozenset({str, int, bool, float, Decimal, date, datetime, time, timedelta, UUID, bytes, type(None)})
_order = itertools.count()
OF_THE_EVENT = ("version", "changed_at", "ended")
"""The columns of the base: an event tells them by where it stands, not by its data."""


class PendingEvent(NamedTuple):
    """An event that was recorded and applied, but not yet saved."""

    order: int
    """When it was recorded, counted over all instances of this process: the order in which they are appended."""
    type: str
    schema_version: int
    data: str


@cache
def history_fields(model: type[models.Model]) -> tuple[models.Field[Any, Any], ...]:
    """Return the fields whose values come from events, besides the key: all concrete ones but ``unrecorded`` ones."""
    unrecorded: tuple[str, ...] = getattr(model, "unrecorded", ())
    return tuple(
        field
        for field in model._meta.concrete_fields
        if not field.primary_key and not field.generated and field.name not in unrecorded
    )


@cache
def _watched(model: type[models.Model]) -> tuple[str, ...]:
    return tuple(field.attname for field in history_fields(model))


@cache
def _forms(model: type[models.Model]) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    fields = [field for field in history_fields(model) if field.name not in OF_THE_EVENT]
    return tuple((field.attname, column_form(field)) for field in fields)


@cache
def outside_fields(model: type[models.Model]) -> tuple[models.Field[Any, Any], ...]:
    """Return the fields whose values have no history."""
    unrecorded: tuple[str, ...] = getattr(model, "unrecorded", ())
    return tuple(field for field in model._meta.concrete_fields if field.name in unrecorded)


@cache
def unrecorded_names(model: type[models.Model]) -> frozenset[str]:
    """Return what the fields without history may be called: a foreign key by its column as well."""
    return frozenset(name for field in outside_fields(model) for name in (field.name, field.attname))


@cache
def _generated(model: type[models.Model]) -> tuple[str, ...]:
    return tuple(field.attname for field in model._meta.concrete_fields if field.generated)


def forget_computed(instance: models.Model, *, written: Collection[str] | None = None) -> None:
    """Drop what the database has computed by writing the row, or only columns of it: it is loaded when asked for.

    These are generated columns, and expressions in columns without history, which a second save would compute again.
    """
    values, model = instance.__dict__, type(instance)
    for name in _generated(model):
        values.pop(name, None)
    for field in outside_fields(model):
        if (written is None or field.attname in written) and hasattr(values.get(field.attname), "resolve_expression"):
            del values[field.attname]


@cache
def _strict(model: type[models.Model]) -> frozenset[str]:
    """Fields in which equal values of several types are several values."""
    return frozenset(field.attname for field in model._meta.concrete_fields if isinstance(field, models.JSONField))


class Recording:
    """The unsaved part of one instance. See the module."""

    __slots__ = ("applying", "baseline", "ends", "held", "key", "latest", "outside", "pending", "spent", "token")

    def __init__(self) -> None:
        self.baseline: dict[str, Any] = {}
        self.held: dict[str, Any] = {}  # the values themselves that could change in their place, as last settled
        self.key: Any = None
        self.pending: list[PendingEvent] = []
        self.token: CommitToken | None = None
        self.latest = -1  # order of the last event recorded, saved or not
        self.outside: dict[str, Any] = {}  # the loaded values of columns without history
        self.spent = ""
        self.applying = False
        self.ends = False

    @classmethod
    def of_new(cls, instance: models.Model) -> Recording:
        """Begin with the defaults of the model: a new instance has no state before its first event."""
        recording, values = cls(), instance.__dict__
        for field in history_fields(type(instance)):
            name, default = field.attname, field.get_default()
            form = recording.baseline[name] = column_form(field)(default)
            untouched = name in values and type(values[name]) is type(default) and values[name] == default
            if untouched and type(form) in _IMMUTABLE:
                values[name] = form  # as a row would give it back to the first event
        return recording

    @classmethod
    def of_loaded(cls, instance: models.Model) -> Recording:
        """Begin with the state that was loaded."""
        recording = cls()
        recording.settle(instance)
        return recording

    def for_copy(self) -> Recording:
        """Begin for a copy of the instance: each goes its own way from here."""
        recording = type(self)()
        recording.baseline, recording.key = dict(self.baseline), self.key
        recording.pending, recording.ends = list(self.pending), self.ends
        recording.spent, recording.token = self.spent, self.token
        recording.latest, recording.outside = self.latest, dict(self.outside)
        return recording

    def __deepcopy__(self, memo: dict[int, Any]) -> Recording:
        # The token stands for a write of this process and connection: there is only one of it.
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # Of another process or time, a token would tell nothing.
        return (_unpickled, (self.baseline, self.outside, self.key, self.pending, self.ends, self.spent))

    def settle(self, instance: models.Model, *, only: Collection[str] | None = None) -> None:
        """Take the present state, as loaded, for the baseline; or the present values of ``only`` some fields."""
        values = instance.__dict__
        outside = {} if only is None else self.outside
        for column in outside_fields(type(instance)):
            if column.attname in values and (only is None or column.attname in only):
                value = values[column.attname]
                outside[column.attname] = value if type(value) in _IMMUTABLE else deepcopy(plain(value))
        self.outside = outside
        self._settle_history(instance, only)

    def _settle_history(self, instance: models.Model, only: Collection[str] | None) -> None:
        values = instance.__dict__
        self.key = instance.pk
        baseline = {} if only is None else self.baseline
        for name in _watched(type(instance)):
            if name in values and (only is None or name in only):
                value = values[name]
                baseline[name] = value if type(value) in _IMMUTABLE else self._kept(instance, name, value)
        self.baseline = baseline

    def _kept(self, instance: models.Model, name: str, value: Any) -> Any:
        """Return a copy of a value that could change in its place; the older one where it did not, which costs less."""
        was, self.held[name] = self.baseline.get(name), value
        value = plain(value)
        return was if same(value, was) else self._frozen(instance, name, value)

    def settle_applied(self, instance: models.Model) -> None:
        """Take the state after an event for the baseline, in the form in which its columns will give it back."""
        values, baseline, held = instance.__dict__, self.baseline, self.held
        self.key = instance.pk
        for name, form in _forms(type(instance)):
            if name not in values or (value := values[name]) is baseline.get(name, held):
                continue
            if type(value) not in _IMMUTABLE and value is held.get(name) and same(plain(value), baseline.get(name)):
                continue
            # A copy, where it can change in its place: another field may hold the very same object.
            values[name] = value = form(value)
            baseline[name] = value if type(value) in _IMMUTABLE else self._kept(instance, name, value)

    @staticmethod
    def _frozen(instance: models.Model, name: str, value: Any) -> Any:
        if hasattr(value, "resolve_expression"):
            raise TypeError(
                f"{type(instance).__name__}.{name} was assigned the expression {value!r}: only the database would know "
                "its value, and history could not be replayed. Assign a plain value in @applies."
            )
        if type(value).__eq__ is object.__eq__:  # type: ignore[comparison-overlap]  # of a class without its own
            raise TypeError(
                f"{type(instance).__name__}.{name} holds a {type(value).__name__}, which has no __eq__: whether it "
                "changed without an event could not be told. Give the class one; a dataclass has it."
            )
        return deepcopy(value)

    def add(self, declaration: Declaration, data: str) -> None:
        """Keep an event that has been applied."""
        self.latest = next(_order)
        self.pending.append(PendingEvent(self.latest, declaration.name, declaration.version, data))
        self.ends = self.ends or declaration.ends

    def spend(self, why: str) -> None:
        """Make the instance unusable: it no longer agrees with the database."""
        if not self.spent:
            self.spent = why
        self.pending.clear()

    def check(self, instance: models.Model) -> None:
        """Raise if the instance is spent, or was changed without an event."""
        self.check_unspent(instance)
        self.check_unchanged(instance)

    def check_unchanged(self, instance: models.Model) -> None:
        """Raise if the instance was changed without an event."""
        changed = self.changed(instance)
        if changed:
            raise UnrecordedChange(type(instance).__name__, changed, commands=commands_of(type(instance)))

    def require_undisturbed(self, instance: models.Model, names: Collection[str]) -> None:
        """Raise if fields are to be loaded again that unsaved events have changed: the row knows nothing of these."""
        fields = history_fields(type(instance)) if self.pending else ()
        undone = [
            each.name for each in fields if each.attname in self.baseline and {each.name, each.attname} & set(names)
        ]
        if undone:
            raise UnrecordedChange(type(instance).__name__, undone, commands=commands_of(type(instance)))

    def check_unspent(self, instance: models.Model) -> None:
        """Raise if the instance no longer agrees with the database."""
        if not self.spent and self.token is not None and not self.token.stands:
            self.spend("the transaction in which it was saved was rolled back")
        if self.spent:
            raise SpentInstance(
                f"This {type(instance).__name__} ({instance.pk}) cannot be used any more: {self.spent}. "
                "Load it again with objects.get()."
            )

    def changed(self, instance: models.Model) -> list[str]:
        """Return the names of the fields that differ from the baseline."""
        values, baseline, changed = instance.__dict__, self.baseline, []
        for name in _watched(type(instance)):
            if name in values:
                value = values[name]
                if value is not baseline.get(name, self) and self._other(instance, name, value, baseline):
                    changed.append(name)
            elif self.pending and name in baseline:  # dropped, and with it what an event has made of it
                changed.append(name)
        # A row that is new under another key would begin its history in the middle.
        if self.baseline.get("version") if instance._state.adding else self.key != instance.pk:
            changed.append(instance._meta.pk.attname)
        return changed

    @staticmethod
    def _other(instance: models.Model, name: str, value: Any, known: dict[str, Any]) -> bool:
        """Whether a value is not the known one. One of a deferred field, which nobody has loaded, is another."""
        if name not in known:
            return True
        value, was = plain(value), known[name]
        # Equal values are one to their column, whatever their types: full_clean() makes a Decimal of 0.
        if isinstance(value, dict | list) or name in _strict(type(instance)):
            return not same(value, was)
        return bool(value != was)

    def changed_outside(self, instance: models.Model) -> list[models.Field[Any, Any]]:
        """Return the columns without history that were assigned since they were loaded."""
        values = instance.__dict__
        columns = outside_fields(type(instance))
        names = {column.attname: column for column in columns if column.attname in values}
        return [column for name, column in names.items() if self._other(instance, name, values[name], self.outside)]


def _unpickled(
    baseline: dict[str, Any],
    outside: dict[str, Any],
    key: Any,
    pending: list[PendingEvent],
    ends: bool,
    spent: str,
) -> Recording:
    recording = Recording()
    recording.baseline, recording.outside, recording.key = baseline, outside, key
    recording.pending, recording.ends, recording.spent = pending, ends, spent
    return recording
