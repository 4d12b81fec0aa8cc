"""Checks of event-sourced models: what would change a row past its events, or could not be replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models.fields import NOT_PROVIDED

from eventsourcing_app.aggregates.dispatch import commands_of
from eventsourcing_app.aggregates.keys import key_field
from eventsourcing_app.aggregates.manager import EventSourcedManager
from eventsourcing_app.aggregates.model import EventSourcedModel
from eventsourcing_app.aggregates.queryset import EventSourcedQuerySet
from eventsourcing_app.aggregates.recording import OF_THE_EVENT, history_fields
from eventsourcing_app.checks.inheritance import inheritance_problems
from eventsourcing_app.checks.relations import cascade_problems, relation_problems
from eventsourcing_app.events.declare import MAX_NAME, is_name
from eventsourcing_app.events.registry import registry as events

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LONGEST_KEY = 255
_KEYS = (models.IntegerField, models.AutoField, models.CharField, models.UUIDField)
_STORES = ("get_prep_value", "get_db_prep_value", "get_db_prep_save", "from_db_value", "pre_save")
"""The methods of a field by which a row may hold another value than the instance does."""
_OWN_PRE_SAVE = (models.FileField, models.DateField, models.TimeField)
"""Fields that change their value when saved: a file is stored; the others only with auto_now, which has its check."""


def check_models(*, app_configs: Iterable[Any] | None = None, **_kwargs: Any) -> list[checks.CheckMessage]:
    """Check every event-sourced model of the given apps."""
    del app_configs  # stream types must be unique over all of them
    found = [] if settings.USE_TZ else [_naive_times()]
    by_stream: dict[str, type[models.Model]] = {}
    for model in apps.get_models():
        if not issubclass(model, EventSourcedModel):
            found += cascade_problems(model)
            continue
        found += _problems(model)
        if not model._meta.proxy:
            found += _streams(model, by_stream)
    return found


def _streams(model: type[EventSourcedModel], by_stream: dict[str, type[models.Model]]) -> Iterator[checks.CheckMessage]:
    """Check that a model shares none of the names of its streams, older ones included."""
    for stream_type in filter(None, (getattr(model, "stream_type", ""), *model.stream_type_aliases)):
        if stream_type in by_stream:
            yield _same_stream(model, by_stream[stream_type], stream_type)
        by_stream[stream_type] = model
        if events.find(stream_type) is not None:
            yield _stream_is_topic(model, stream_type)


def _problems(model: type[EventSourcedModel]) -> Iterator[checks.CheckMessage]:
    older: object = model.stream_type_aliases
    if not is_name(getattr(model, "stream_type", "")) or not isinstance(older, tuple) or not all(map(is_name, older)):
        yield _no_stream(model)
    yield from inheritance_problems(model)
    yield from relation_problems(model)
    yield from _key(model)
    for field in history_fields(model):
        yield from _field(model, field)
    yield from _managers(model)
    unknown = set(model.unrecorded) - {field.name for field in model._meta.concrete_fields}
    if unknown:
        yield _unknown_unrecorded(model, unknown)
    identity = set(model.unrecorded) & {*OF_THE_EVENT, model._meta.pk.name}
    if identity:
        yield _identity_unrecorded(model, identity)
    yield from _commands(model)


def _managers(model: type[EventSourcedModel]) -> Iterator[checks.CheckMessage]:
    managers = (*model._meta.managers, model._base_manager)
    open_ones = {found.name for found in managers if not isinstance(found.get_queryset(), EventSourcedQuerySet)}
    if not isinstance(model._default_manager, EventSourcedManager):
        open_ones.add(model._default_manager.name)
    for name in sorted(open_ones):
        yield _manager(model, name)


def _key(model: type[EventSourcedModel]) -> Iterator[checks.CheckMessage]:
    key = model._meta.pk
    if getattr(key, "db_default", NOT_PROVIDED) is not NOT_PROVIDED:
        yield _database_default(model, key)
    if not key.concrete:
        yield checks.Error(
            f"{model._meta.label} has a composite primary key, which cannot name a stream.",
            hint="Give it a single key; keep the parts as columns with a UniqueConstraint.",
            obj=model,
            id="eventsourcing_app.E110",
        )
    elif not isinstance(key_field(model), _KEYS):
        yield checks.Error(
            f"The primary key of {model._meta.label} is a {type(key).__name__}: one key could be spelled in several "
            "ways, and each would name a stream of its own.",
            hint="Use an integer, a CharField or a UUIDField, or a OneToOneField to a model with such a key.",
            obj=model,
            id="eventsourcing_app.E110",
        )
    elif _own_storage(key_field(model)):
        yield checks.Error(
            f"The primary key of {model._meta.label} is a {type(key_field(model)).__name__}, whose "
            f"{' and '.join(_own_storage(key_field(model)))} may store another value than the instance holds: one row "
            "would have a stream for each.",
            hint="Use a field of Django, and bring the key into its one spelling in the creating command; or do that "
            "in the field's to_python(), by which streams are named, too.",
            obj=model,
            id="eventsourcing_app.E110",
        )
    elif (key.max_length or 0) > _LONGEST_KEY:
        yield checks.Error(
            f"The primary key of {model._meta.label} may be longer than a stream key ({_LONGEST_KEY} characters).",
            hint=f"Set max_length={_LONGEST_KEY} or less.",
            obj=model,
            id="eventsourcing_app.E110",
        )


def _own_storage(key: models.Field[Any, Any]) -> list[str]:
    """Return what of its storage a field of somebody else does in its own way."""
    found = {name: getattr(type(key), name, None) for name in _STORES}
    return [f"{name}()" for name, method in found.items() if method and not method.__module__.startswith("django.")]


def _field(model: type[EventSourcedModel], field: models.Field[Any, Any]) -> Iterator[checks.CheckMessage]:
    if getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False):
        yield _clock_field(model, field)
    if getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED:
        yield _database_default(model, field)
    if type(field).pre_save is not models.Field.pre_save and not isinstance(field, _OWN_PRE_SAVE):
        yield _computed_on_save(model, field)
    if callable(field.default) and field.get_default() != field.get_default():
        yield _unstable_default(model, field)


def _commands(model: type[EventSourcedModel]) -> Iterator[checks.CheckMessage]:
    for command in commands_of(model).values():
        try:
            _ = command.parameters
        except (ImproperlyConfigured, NameError) as error:
            yield checks.Error(
                f"Command {command.name}() of {model._meta.label} cannot be described: {error}",
                hint="Name and annotate each argument with a type that can be imported at run time.",
                obj=model,
                id="eventsourcing_app.E112",
            )


def _naive_times() -> checks.CheckMessage:
    return checks.Error(
        "USE_TZ is False: events are recorded in UTC, and naive times would be ambiguous.",
        hint="Set USE_TZ = True.",
        id="eventsourcing_app.E100",
    )


def _no_stream(model: type[models.Model]) -> checks.CheckMessage:
    return checks.Error(
        f"{model._meta.label} has no stream_type, or one, or a tuple stream_type_aliases of some, that cannot name "
        "streams: it is made of words of ASCII letters, digits, '_' and '-', joined by single dots, at most "
        f"{MAX_NAME} characters.",
        hint=f'Add stream_type = "{model._meta.app_label}.{model._meta.model_name}". It names the streams for ever.',
        obj=model,
        id="eventsourcing_app.E101",
    )


def _same_stream(model: type[models.Model], other: type[models.Model], name: str) -> checks.CheckMessage:
    if model is other:
        message = f"{model._meta.label} lists the name {name!r} of its streams twice."
    else:
        message = f"{model._meta.label} and {other._meta.label} both name streams {name!r}: their histories would mix."
    return checks.Error(
        message,
        hint="Give each a stream_type of its own; in stream_type_aliases stand only names that it had before.",
        obj=model,
        id="eventsourcing_app.E102",
    )


def _stream_is_topic(model: type[models.Model], name: str) -> checks.CheckMessage:
    return checks.Error(
        f"{model._meta.label} names streams {name!r}, which is also the wire name of an event, whose published facts "
        "would stand among them.",
        hint="Give one of them another name.",
        obj=model,
        id="eventsourcing_app.E115",
    )


def _clock_field(model: type[models.Model], field: models.Field[Any, Any]) -> checks.CheckMessage:
    return checks.Error(
        f"{model._meta.label}.{field.name} sets itself to the time of saving, which no replay can repeat.",
        hint="Remove auto_now/auto_now_add; changed_at tells when the last event was recorded.",
        obj=field,
        id="eventsourcing_app.E104",
    )


def _computed_on_save(model: type[models.Model], field: models.Field[Any, Any]) -> checks.CheckMessage:
    return checks.Error(
        f"{model._meta.label}.{field.name} computes its value when it is saved, which no replay can repeat.",
        hint="Compute it in @applies, or list the field in `unrecorded`.",
        obj=field,
        id="eventsourcing_app.E114",
    )


def _database_default(model: type[models.Model], field: models.Field[Any, Any]) -> checks.CheckMessage:
    return checks.Error(
        f"{model._meta.label}.{field.name} has a db_default, which only the database would know.",
        hint="Use default=…, or assign it in @applies.",
        obj=field,
        id="eventsourcing_app.E105",
    )


def _unstable_default(model: type[models.Model], field: models.Field[Any, Any]) -> checks.CheckMessage:
    return checks.Error(
        f"The default of {model._meta.label}.{field.name} is another one each time, which no replay can repeat.",
        hint="Draw the value in the creating command and record it in its event.",
        obj=field,
        id="eventsourcing_app.E108",
    )


def _manager(model: type[models.Model], name: str) -> checks.CheckMessage:
    return checks.Error(
        f"The manager {name!r} of {model._meta.label} does not refuse writes that leave no event.",
        hint="Inherit custom managers from eventsourcing_app.models.EventSourcedManager and custom querysets from "
        "EventSourcedQuerySet (EventSourcedManager.from_queryset(…)); base_manager_name in Meta names such a one, too.",
        obj=model,
        id="eventsourcing_app.E109",
    )


def _unknown_unrecorded(model: type[models.Model], names: set[str]) -> checks.CheckMessage:
    return checks.Error(
        f"{model._meta.label}.unrecorded names no column: {', '.join(sorted(names))}.",
        hint="List names of fields of the model.",
        obj=model,
        id="eventsourcing_app.E111",
    )


def _identity_unrecorded(model: type[models.Model], names: set[str]) -> checks.CheckMessage:
    return checks.Error(
        f"{model._meta.label}.unrecorded names {', '.join(sorted(names))}: without history no state could be told from "
        "another.",
        hint="List columns of your own only.",
        obj=model,
        id="eventsourcing_app.E122",
    )
