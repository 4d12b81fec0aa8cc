"""The opening event of a row that is older than its history: made of its fields by name, and never approximately."""

from __future__ import annotations

import dataclasses
import json
import math
from decimal import Decimal
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

import msgspec
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import models

from eventsourcing_app.aggregates.adoption.opening_code import stated_fields, suggested_code
from eventsourcing_app.aggregates.dispatch import method_for
from eventsourcing_app.aggregates.keys import stream_key_of
from eventsourcing_app.aggregates.past.fold import blank
from eventsourcing_app.aggregates.rebuild.drift import differences
from eventsourcing_app.aggregates.recording import history_fields
from eventsourcing_app.events.codec import decode, encode, problems
from eventsourcing_app.events.declare import declaration_of, field_types, unwrapped
from eventsourcing_app.events.registry import registry
from eventsourcing_app.exceptions import AdoptionRefused, EventRefused, EventUnreadable

if TYPE_CHECKING:
    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.events.registry import Declaration

_Sources = dict[str, tuple["models.Field[Any, Any]", object]]


@dataclasses.dataclass(frozen=True, slots=True)
class Opening:
    """How the rows of one model become events."""

    model: type[EventSourcedModel]
    declaration: Declaration
    sources: _Sources
    """For each field of the event that the row fills: the model's field, and the event field's type."""

    @classmethod
    def of(cls, model: type[EventSourcedModel]) -> Opening:
        """Raises ``ImproperlyConfigured``, with the code to write, unless the model's event covers all its fields."""
        for field in stated_fields(model):
            if isinstance(field, models.BinaryField):
                raise ImproperlyConfigured(
                    f"{model._meta.label}.{field.name} is a {type(field).__name__}, and events are JSON, which holds "
                    "no bytes. Keep them in a FileField, or list the field in `unrecorded`: it then has no history."
                )
        event = model.adoption_event
        if event is None:
            raise _undeclared(model, "does not say with which event the history of a row begins.")
        try:
            declaration = declaration_of(event)
            method_for(model, event)
        except (TypeError, ImproperlyConfigured) as error:
            raise _undeclared(model, f"cannot be adopted. {error}") from error
        registry.check(declaration.name)
        if unstorable := problems(declaration.cls):
            raise ImproperlyConfigured(f"Event {declaration.name!r} cannot be stored. {' '.join(unstorable)}")
        if declaration.ends:
            raise ImproperlyConfigured(f"{declaration.name} ends a stream: it cannot open one. Declare another event.")
        return cls(model, declaration, _sources(model, declaration.cls))

    def data_of(self, row: EventSourcedModel) -> str:
        """Return the data of the row's opening event. Raises ``AdoptionRefused`` unless that says what the row is."""
        try:
            data = encode(decode(self.declaration, self._text(row)))
        except (EventUnreadable, EventRefused) as error:
            raise self._refused(row, f"it gives no {self.declaration.name}. {error}") from error
        fields = self._differences(row, data)
        if fields:
            named = ", ".join(f"{name} is {was!r}, by its event {told!r}" for name, (was, told) in fields.items())
            raise self._refused(row, named, fields)
        return data

    def _text(self, row: EventSourcedModel) -> str:
        values = {name: self._plain(row, name, *source) for name, source in self.sources.items()}
        try:
            return msgspec.json.encode(values).decode()
        except (TypeError, ValueError) as error:
            raise self._refused(row, f"it gives no {self.declaration.name}: {error}.") from error

    def _plain(self, row: EventSourcedModel, name: str, field: models.Field[Any, Any], annotation: object) -> Any:
        """Return what stands for a value in JSON; msgspec writes the types that are not here as the log does."""
        value = getattr(row, field.attname)
        if isinstance(field, models.FileField):
            return value.name if value or _takes(annotation, NoneType) else ""
        if isinstance(field, models.JSONField) and _takes(annotation, str):
            if value is None and _takes(annotation, NoneType):
                return None
            return json.dumps(value, cls=field.encoder, ensure_ascii=False)
        if isinstance(value, Decimal):
            return str(value).upper()
        if isinstance(value, float) and not math.isfinite(value):
            raise self._refused(row, f"{name} is {value}, which no event can hold.")
        return value

    def _differences(self, row: EventSourcedModel, data: str) -> dict[str, tuple[Any, Any]]:
        state = blank(self.model, stream_key_of(self.model, row.pk))
        event = decode(self.declaration, data)
        try:
            state._apply(event)
            state.version, state.changed_at = row.version, row.changed_at  # are what adopting changes
            return differences(state, [getattr(row, field.attname) for field in history_fields(type(row))])
        except (ValidationError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            method = method_for(self.model, type(event))
            raise self._refused(row, f"{method}() makes no state of its event: {error!r}.") from error

    def _refused(
        self, row: EventSourcedModel, why: str, fields: dict[str, tuple[Any, Any]] | None = None
    ) -> AdoptionRefused:
        return AdoptionRefused(self.model._meta.label, row.pk, why, fields or {})


def _sources(model: type[EventSourcedModel], event: type) -> _Sources:
    columns = {name: field for field in model._meta.concrete_fields for name in (field.name, field.attname)}
    types = field_types(event)
    found = {name: (columns[name], types[name]) for name in types if name in columns}
    covered = {field for field, _type in found.values()}
    missing = [field.name for field in stated_fields(model) if field not in covered]
    unknown = [spec.name for spec in dataclasses.fields(event) if spec.name not in found and not _has_default(spec)]
    if missing:
        raise _undeclared(model, f"has fields that {event.__name__} does not state: {', '.join(missing)}.")
    if unknown:
        raise _undeclared(model, f"has no fields for what {event.__name__} states: {', '.join(unknown)}.")
    return found


def _has_default(spec: dataclasses.Field[Any]) -> bool:
    return spec.default is not dataclasses.MISSING or spec.default_factory is not dataclasses.MISSING


def _takes(annotation: object, plain: type) -> bool:
    """Whether a type is ``plain``, or ``plain | None``."""
    found = unwrapped(annotation)
    return found is plain or (get_origin(found) in (Union, UnionType) and plain in get_args(found))


def _undeclared(model: type[EventSourcedModel], why: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"{model._meta.label} {why} Write it, for example like this:\n\n{suggested_code(model)}"
    )
