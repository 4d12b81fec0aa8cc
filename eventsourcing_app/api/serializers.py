"""How state and events look outside: amounts as text, times in UTC with ``Z``, hashes in hexadecimal."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from django.db import models
from rest_framework import serializers

from eventsourcing_app.api.fields import AmountField, UTCField

if TYPE_CHECKING:
    from eventsourcing_app.log.records import StoredEvent


class StateSerializer(serializers.ModelSerializer[Any]):
    """The state of an aggregate: every column, with ``version``, ``changed_at`` and ``ended``, and the ``position`` in
    the log of the event that brought it there. Never writes.
    """

    position = serializers.IntegerField(read_only=True, allow_null=True)

    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.DecimalField: AmountField,
        models.DateTimeField: UTCField,
    }


@cache
def state_serializer(model: type[models.Model]) -> type[StateSerializer]:
    """Make the serializer of a model's state."""
    names = [field.name for field in model._meta.concrete_fields]
    meta = type("Meta", (), {"model": model, "fields": [*names, "position"], "read_only_fields": names})
    described = f"The state: {model._meta.verbose_name}, at a version."
    return type(f"{model.__name__}StateSerializer", (StateSerializer,), {"Meta": meta, "__doc__": described})


class StoredEventSerializer(serializers.Serializer[Any]):
    """A stored event: every column."""

    position = serializers.IntegerField(read_only=True)
    event_id = serializers.UUIDField(read_only=True)
    stream_type = serializers.CharField(read_only=True)
    stream_key = serializers.CharField(read_only=True)
    version = serializers.IntegerField(read_only=True, allow_null=True)
    type = serializers.CharField(read_only=True)
    schema_version = serializers.IntegerField(read_only=True)
    data = serializers.JSONField(read_only=True)  # type: ignore[assignment]  # a field, collected by the metaclass
    metadata = serializers.JSONField(read_only=True)
    actor = serializers.CharField(read_only=True)
    correlation_id = serializers.CharField(read_only=True)
    causation_id = serializers.UUIDField(read_only=True, allow_null=True)
    recorded_at = UTCField(read_only=True)
    hash = serializers.SerializerMethodField()

    def get_hash(self, event: StoredEvent) -> str:
        """Its SHA-256."""
        return bytes(event.hash).hex()
