"""The aggregate whose history a page tells, with or without a row, and which of its fields the page may tell of."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import flatten_fieldsets
from django.core.exceptions import ValidationError

from eventsourcing_app.access.folding import folding
from eventsourcing_app.access.visibility import visible_events
from eventsourcing_app.aggregates.keys import stream_key_of
from eventsourcing_app.aggregates.past.history import state_at
from eventsourcing_app.aggregates.plain_rows import plain_rows
from eventsourcing_app.aggregates.recording import history_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.contrib.admin import ModelAdmin
    from django.db import models
    from django.http import HttpRequest

    from eventsourcing_app.access.visibility import Viewer
    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.log.records import StoredEventQuerySet

_COLUMNS = {"has_ended": "ended"}
"""What is shown of a column under a name of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """An aggregate whose history is told."""

    model: type[EventSourcedModel]
    stream_key: str
    row: EventSourcedModel | None
    """``None`` if its row has gone; its history remains."""

    @classmethod
    def of(cls, row: EventSourcedModel) -> Audited:
        """Return the one that has a row."""
        return cls(model=type(row), stream_key=row.stream_key, row=row)

    @property
    def label(self) -> str:
        """What it is called. One without a row has its key only: what it was called, its events said."""
        return f"{self.model._meta.verbose_name} {self.stream_key}" if self.row is None else str(self.row)

    def visible(self, user: Viewer) -> StoredEventQuerySet:
        """Return what the user may see of its history, in order."""
        return visible_events(user).of_stream(self.model.stream_type, self.stream_key)

    def state(self) -> EventSourcedModel | None:
        """Return its row, or what it was in the end; ``None`` if no code can tell."""
        if self.row is not None:
            return self.row
        with folding(self.model, self.stream_key), suppress(self.model.DoesNotExist):
            return state_at(self.model, self.stream_key)
        return None


def without_row(model: type[EventSourcedModel], key: str, user: Viewer) -> Audited | None:
    """Return the aggregate of this key whose row has gone, if the user may see events of it.

    One whose row exists is none: who was not given that row is told nothing of it here, either.
    """
    try:
        pk = model._meta.pk.to_python(key)
        stream_key = stream_key_of(model, pk)
        exists = plain_rows(model).filter(pk=pk).exists()
    except (ValidationError, ValueError, TypeError, ArithmeticError):
        return None
    gone = Audited(model=model, stream_key=stream_key, row=None)
    return gone if not exists and gone.visible(user).order_by().exists() else None


def shown_fields(model_admin: ModelAdmin[Any], request: HttpRequest, obj: models.Model | None) -> list[str]:
    """Return the names of the fields that a page of the admin shows of ``obj``, in its order."""
    hidden = set(model_admin.get_exclude(request, obj) or ())
    names = flatten_fieldsets(model_admin.get_fieldsets(request, obj))
    return [name for name in names if isinstance(name, str) and name not in hidden]


def fields_told_by(
    model_admin: ModelAdmin[Any], request: HttpRequest, model: type[EventSourcedModel], obj: EventSourcedModel | None
) -> Sequence[str]:
    """Return the names of the fields of an aggregate that a history may tell of, as the admin of its model has it.

    They are what its ``audited_fields()`` answers if it has that, see ``AuditTrailMixin``; else what its page shows.
    """
    asked = getattr(model_admin, "audited_fields", None)
    if asked is not None:
        names: Sequence[str] = asked(request, model, obj)
        return names
    return [] if obj is None else shown_fields(model_admin, request, obj)


def told_fields(model: type[EventSourcedModel], names: Sequence[str]) -> list[str]:
    """Keep those of ``names`` that are fields which come from events. Version and time are told of every event."""
    own = {field.name for field in history_fields(model)} - {"version", "changed_at"}
    return [name for name in map(_COLUMNS.get, names, names) if name in own]


def untold_fields(model: type[EventSourcedModel], names: Sequence[str]) -> list[str]:
    """Keep those of ``names`` that are columns without history, of which nobody knows what they held."""
    columns = {field.name for field in model._meta.concrete_fields if not field.primary_key}
    own = {field.name for field in history_fields(model)}
    return [name for name in names if name in columns - own]
