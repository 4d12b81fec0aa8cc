"""Checks of database routers: events, state and progress are written in one transaction, so in one database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core import checks
from django.db import connections, models, router

from eventsourcing_app.conf import conf
from eventsourcing_app.projections.base import projection_named
from eventsourcing_app.subscriptions.registry import registry

if TYPE_CHECKING:
    from collections.abc import Iterator


def check_routing(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Check where routers send this app's models, every event-sourced model and the read models of projections."""
    if conf.DATABASE not in connections:
        return []
    messages = []
    read_models = set(_read_models())
    for model in apps.get_models():
        if not _belongs_to_the_log(model) and model not in read_models:
            continue
        written_to = router.db_for_write(model)
        if written_to != conf.DATABASE:
            messages.append(_written_elsewhere(model, written_to))
        if not router.allow_migrate_model(conf.DATABASE, model):
            messages.append(_not_migrated(model))
    return messages


def _read_models() -> Iterator[type[models.Model]]:
    for definition in registry.all():
        projection = projection_named(definition.name)
        yield from projection.models if projection is not None else ()


def _belongs_to_the_log(model: type[models.Model]) -> bool:
    # The log's own column of that name is no text but a descriptor.
    return model._meta.app_label == "eventsourcing_app" or isinstance(getattr(model, "stream_type", None), str)


def _written_elsewhere(model: type[models.Model], alias: str) -> checks.CheckMessage:
    return checks.Error(
        f"A database router sends {model._meta.label} to {alias!r}, but the log is in {conf.DATABASE!r}.",
        hint=f"Let db_for_write() return {conf.DATABASE!r} for it, or change EVENTSOURCING['DATABASE'].",
        obj=model,
        id="eventsourcing_app.E050",
    )


def _not_migrated(model: type[models.Model]) -> checks.CheckMessage:
    return checks.Error(
        f"A database router keeps {model._meta.label} out of {conf.DATABASE!r}, where the log is.",
        hint=f"Let allow_migrate({conf.DATABASE!r}, {model._meta.app_label!r}) return True or None.",
        obj=model,
        id="eventsourcing_app.E051",
    )
