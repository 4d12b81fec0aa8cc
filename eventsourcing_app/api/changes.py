"""How changes look outside: only of fields that the state shows, in the form in which it shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework import serializers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventsourcing_app.aggregates.past.changes import Change


def shown_changes(
    state: serializers.BaseSerializer[Any], changes: Mapping[str, Change]
) -> dict[str, dict[str, object]]:
    """Return changes by the names that the state's serializer gives to fields; what that leaves out stays out."""
    if not isinstance(state, serializers.Serializer):
        return {}
    shown = {}
    for name, field in state.fields.items():
        change = changes.get(field.source or "")
        if change is not None and not field.write_only:
            shown[name] = {"before": _shown(field, change.before), "after": _shown(field, change.after)}
    return shown


def _shown(field: serializers.Field[Any, Any, Any, Any], value: Any) -> object:
    # What changed of a relation is its key, and of a file its name: there is no object to follow them to.
    if value is None or isinstance(field, serializers.RelatedField | serializers.FileField):
        return value
    return field.to_representation(value)
