"""What becomes of a row while Django makes an instance of it: ``__init__()`` and ``post_init`` may not change it.

They run before the baseline of the instance is taken, so a field that they assign would pass for what was loaded.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.query_utils import DeferredAttribute
from django.db.models.signals import post_init

from eventsourcing_app.aggregates.dispatch import commands_of
from eventsourcing_app.aggregates.recording import history_fields
from eventsourcing_app.exceptions import UnrecordedChange

if TYPE_CHECKING:
    from collections.abc import Collection


def require_as_loaded(instance: models.Model, names: Collection[str], values: Collection[Any]) -> None:
    """Raise ``UnrecordedChange`` if fields do not have the values that were loaded for them."""
    model = type(instance)
    if model.__init__ is models.Model.__init__ and not post_init.has_listeners(model):
        return
    loaded, present = dict(zip(names, values, strict=False)), instance.__dict__
    watched = [name for name in _watched(model) if name in loaded]
    changed = [name for name in watched if present.get(name) is not loaded[name] and present.get(name) != loaded[name]]
    if changed:
        error = UnrecordedChange(model.__name__, changed, commands_of(model))
        error.add_note("They were assigned while the row was loaded: by __init__() or by a receiver of post_init.")
        raise error


@cache
def _watched(model: type[models.Model]) -> tuple[str, ...]:
    # The descriptors of other fields may turn what is loaded into something else.
    names = [field.attname for field in history_fields(model)]
    return tuple(name for name in names if isinstance(inspect.getattr_static(model, name, None), DeferredAttribute))
