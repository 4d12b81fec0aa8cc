"""From the name of a stream to the model behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import apps

from eventsourcing_app.aggregates.model import EventSourcedModel

if TYPE_CHECKING:
    from collections.abc import Mapping


def models_by_stream_type() -> Mapping[str, type[EventSourcedModel]]:
    """Return the installed event-sourced models by every name that their streams have had, in the order of the names.

    A name that is in use now is never taken for another model's older one.
    """
    models = [
        model
        for model in apps.get_models()
        if issubclass(model, EventSourcedModel) and not model._meta.proxy and hasattr(model, "stream_type")
    ]
    older = {name: model for model in models for name in model.stream_type_aliases}
    return dict(sorted({**older, **{model.stream_type: model for model in models}}.items()))
