"""Checks of what a model inherits or overrides: one table, one stream, one meaning of each event, one of each name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db import models

from eventsourcing_app.aggregates.declare import Command
from eventsourcing_app.aggregates.dispatch import applies_of, commands_of
from eventsourcing_app.aggregates.model import EventSourcedModel
from eventsourcing_app.aggregates.recording import OF_THE_EVENT

if TYPE_CHECKING:
    from collections.abc import Iterator

_OF_THE_STREAM = (
    *("stream_type", "stream_type_aliases", "unrecorded"),
    *("remove_row_at_end", "snapshot_version", "adoption_event"),
)
"""What a model says of its streams: a proxy has the same ones."""
_RESERVED = frozenset(name for name in dir(EventSourcedModel) if not name.startswith("_")) - {"id", "pk", "objects"}
"""What ``EventSourcedModel`` itself means by a name: its columns, attributes and methods, and those of Django."""


def inheritance_problems(model: type[EventSourcedModel]) -> Iterator[checks.CheckMessage]:
    """Check the place of an event-sourced model among its parents."""
    if model._meta.proxy:
        yield from _proxy(model)
    elif model._meta.parents:
        yield _inherited_table(model)
    yield from _names(model)
    yield from _overridden(model)
    for field in model._meta.concrete_fields:
        if getattr(field, "width_field", None) or getattr(field, "height_field", None):
            yield _measured(model, field)


def _proxy(model: type[EventSourcedModel]) -> Iterator[checks.CheckMessage]:
    concrete = model._meta.concrete_model
    if concrete is None or not issubclass(concrete, EventSourcedModel):
        return
    differing = [name for name in _OF_THE_STREAM if getattr(model, name, ()) != getattr(concrete, name, ())]
    methods = applies_of(model)
    differing += [
        f"{name}()"
        for event, name in methods.items()
        if applies_of(concrete).get(event) != name or getattr(concrete, name) is not getattr(model, name)
    ]
    if differing:
        yield _proxy_differs(model, concrete, differing)


def _names(model: type[EventSourcedModel]) -> Iterator[checks.CheckMessage]:
    own = EventSourcedModel._meta
    fields = {field.name for field in model._meta.get_fields(include_hidden=True) if field.name in _RESERVED}
    fields -= {name for name in OF_THE_EVENT if type(model._meta.get_field(name)) is type(own.get_field(name))}
    taken = fields | (commands_of(model).keys() & _RESERVED)
    if taken:
        yield _reserved(model, taken)


def _overridden(model: type[EventSourcedModel]) -> Iterator[checks.CheckMessage]:
    commands = {name for base in model.__mro__ for name, found in vars(base).items() if _is_command(found)}
    for name in sorted(commands - commands_of(model).keys()):
        if callable(getattr(model, name, None)):
            yield _undecorated(model, name)


def _is_command(attribute: object) -> bool:
    return isinstance(getattr(attribute, "__command__", None), Command)


def _inherited_table(model: type[models.Model]) -> checks.CheckMessage:
    return checks.Error(
        f"{model._meta.label} inherits from a model with a table of its own (multi-table inheritance).",
        hint="Inherit from abstract models only.",
        obj=model,
        id="eventsourcing_app.E107",
    )


def _proxy_differs(model: type[models.Model], concrete: type[models.Model], names: list[str]) -> checks.CheckMessage:
    return checks.Error(
        f"The proxy {model._meta.label} has {', '.join(names)} of its own: the same stream would mean one state to it "
        f"and another to {concrete._meta.label}.",
        hint=f"Move that to {concrete._meta.object_name}. A proxy may have commands, managers and options of its own.",
        obj=model,
        id="eventsourcing_app.E118",
    )


def _undecorated(model: type[models.Model], name: str) -> checks.CheckMessage:
    return checks.Error(
        f"{model._meta.label}.{name}() overrides a command, but is none itself.",
        hint=f"Decorate it with @command, or write {name} = None if the model does not have that command.",
        obj=model,
        id="eventsourcing_app.E119",
    )


def _reserved(model: type[models.Model], names: set[str]) -> checks.CheckMessage:
    return checks.Error(
        f"{model._meta.label} gives a meaning of its own to {', '.join(sorted(names))}, which EventSourcedModel uses.",
        hint="Give the field or command another name; db_column keeps the name of an existing column.",
        obj=model,
        id="eventsourcing_app.E120",
    )


def _measured(model: type[models.Model], field: models.Field[Any, Any]) -> checks.CheckMessage:
    return checks.Error(
        f"{model._meta.label}.{field.name} sets width_field or height_field from the file, which no replay can open.",
        hint="Measure the image in the command, record its size in the event, and leave out width_field/height_field.",
        obj=field,
        id="eventsourcing_app.E121",
    )
