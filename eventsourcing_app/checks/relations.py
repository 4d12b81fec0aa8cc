"""Checks of relations: no row of an event-sourced model changes or goes because another one was deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db import models

from eventsourcing_app.aggregates.model import EventSourcedModel

if TYPE_CHECKING:
    from collections.abc import Iterator

_SAFE_DELETES = (models.PROTECT, models.RESTRICT, models.DO_NOTHING)
_CASCADES = (models.CASCADE, getattr(models, "DB_CASCADE", models.CASCADE))  # the database's own: Django 6.1


def relation_problems(model: type[EventSourcedModel]) -> Iterator[checks.CheckMessage]:
    """Check the relations that an event-sourced model declares or inherits."""
    for field in model._meta.concrete_fields:
        if isinstance(field, models.ForeignKey):
            deletes = field.remote_field.on_delete
            # A column without history may become null, but its row may not go.
            outside = field.name in model.unrecorded and deletes not in _CASCADES
            if deletes not in _SAFE_DELETES and not outside:
                yield _deletes(model, field)
    if model._meta.many_to_many:
        yield _many_to_many(model)
    if any(map(_is_generic_relation, model._meta.private_fields)):
        yield _generic_relation(model)
    if model._meta.order_with_respect_to is not None:
        yield _ordered(model)


def cascade_problems(model: type[models.Model]) -> Iterator[checks.CheckMessage]:
    """Check whether deleting rows of any other model would delete event-sourced ones.

    A foreign key that points at an event-sourced model may have any ``on_delete``: the row it points at stays.
    """
    for field in filter(_is_generic_relation, model._meta.private_fields):
        related: Any = field.related_model
        if isinstance(related, type) and issubclass(related, EventSourcedModel):
            yield _generic_cascade(model, field, related)


def _is_generic_relation(field: Any) -> bool:
    return hasattr(field, "rel_class") and field.one_to_many


def _deletes(model: type[models.Model], field: models.Field[Any, Any]) -> checks.CheckMessage:
    return checks.Error(
        f"{model._meta.label}.{field.name} would delete or change the row without an event when what it points at is "
        "deleted.",
        hint="Use on_delete=models.PROTECT, RESTRICT or DO_NOTHING. A field from a mixin that is not yours is declared "
        "again in the model, under the same name.",
        obj=field,
        id="eventsourcing_app.E103",
    )


def _many_to_many(model: type[models.Model]) -> checks.CheckMessage:
    return checks.Error(
        f"{model._meta.label} has a many-to-many field: its rows would change without an event.",
        hint="Keep the relation in a projection, or as a list of keys in a JSONField.",
        obj=model,
        id="eventsourcing_app.E106",
    )


def _generic_relation(model: type[models.Model]) -> checks.CheckMessage:
    return checks.Error(
        f"{model._meta.label} has a GenericRelation, which deletes rows without asking them.",
        hint="Query the other model by content type and key instead.",
        obj=model,
        id="eventsourcing_app.E113",
    )


def _generic_cascade(model: type[models.Model], field: Any, related: type[models.Model]) -> checks.CheckMessage:
    return checks.Error(
        f"{model._meta.label}.{field.name} is a GenericRelation to the event-sourced {related._meta.label}: deleting a "
        f"{model._meta.object_name} would delete rows of it without an event.",
        hint=f"Query {related._meta.object_name} by content type and key instead.",
        obj=model,
        id="eventsourcing_app.E116",
    )


def _ordered(model: type[models.Model]) -> checks.CheckMessage:
    return checks.Error(
        f"{model._meta.label} is ordered with respect to {model._meta.order_with_respect_to}: Django would keep the "
        "order in a column that no event changes.",
        hint="Declare a field for the place, and assign it in @applies.",
        obj=model,
        id="eventsourcing_app.E117",
    )
