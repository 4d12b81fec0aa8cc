"""From the name of a stream to the model behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import apps

from eventsourcing_app.aggregates.model import EventSourcedModel

if TYPE_CHECKING:
    from collections.abc import Mapping


def models_by_stream_type() -> Mapping[str, type[EventSourcedModel]]:
    """Return the installed event-sourced models by the name of their streams, in the order of the names."""
    found = {
        model.stream_type: model
        for model in apps.get_models()
        if issubclass(model, EventSourcedModel) and not model._meta.proxy and hasattr(model, "stream_type")
    }
    return dict(sorted(found.items()))
