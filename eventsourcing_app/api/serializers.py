"""How state and events look outside: amounts as text, times in UTC with ``Z``, payloads only for who may see them."""

from __future__ import annotations

from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from django.db import models
from rest_framework import serializers

from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.access.surroundings import Upcast, children_of, neighbours_of, parent_of, upcast_of
from eventsourcing_app.api.fields import AmountField, UTCField

if TYPE_CHECKING:
    from eventsourcing_app.log.records import StoredEvent, StoredEventQuerySet


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

    def to_representation(self, instance: Any) -> Any:
        if (fields := _plain_fields(type(self))) is None:
            return super().to_representation(instance)
        values = ((field.field_name, field, field.get_attribute(instance)) for field in fields)
        return {name: None if value is None else field.to_representation(value) for name, field, value in values}


@cache
def _plain_fields(serializer: Any) -> tuple[serializers.Field[Any, Any, Any, Any], ...] | None:
    """The fields of a class that was made here, once and for all: to make them costs more than to show a state.

    ``None`` for any other class, whose fields may change from one instance to the next, and if one of them follows a
    relation or asks for the request.
    """
    if serializer not in _made:
        return None
    fields = tuple(serializer().fields.values())
    asks = (serializers.RelatedField, serializers.ManyRelatedField, serializers.FileField)
    return None if any(isinstance(field, asks) for field in fields) else fields


_made: set[Any] = set()


@cache
def state_serializer(model: type[models.Model]) -> type[StateSerializer]:
    """Make the serializer of a model's state."""
    names = [field.name for field in model._meta.concrete_fields]
    meta = type("Meta", (), {"model": model, "fields": [*names, "position"], "read_only_fields": names})
    described = f"The state: {model._meta.verbose_name}, at a version."
    made = type(f"{model.__name__}StateSerializer", (StateSerializer,), {"Meta": meta, "__doc__": described})
    _made.add(made)
    return made


class PayloadField(serializers.JSONField):
    """What only those see who may see payloads; ``null`` to the others."""

    def get_attribute(self, instance: StoredEvent) -> Any:
        shown = self.parent.shows_payload  # type: ignore[attr-defined]  # that of an event, see below
        return super().get_attribute(instance) if shown else None


class HashField(PayloadField):
    """A hash in hexadecimal, as much of a secret as what it is of."""

    def to_representation(self, value: Any) -> str:
        return bytes(value).hex()


_UTC = UTCField()


class StoredEventSerializer(serializers.Serializer[Any]):
    """A stored event: every column. ``data``, ``metadata`` and ``hash`` are ``null``, and ``masked`` is true, for users
    without ``eventsourcing_app.view_payload``, and where no ``request`` in the context tells who asks.
    """

    position = serializers.IntegerField(read_only=True)
    event_id = serializers.UUIDField(read_only=True)
    stream_type = serializers.CharField(read_only=True)
    stream_key = serializers.CharField(read_only=True)
    version = serializers.IntegerField(read_only=True, allow_null=True)
    type = serializers.CharField(read_only=True)
    schema_version = serializers.IntegerField(read_only=True)
    data = PayloadField(read_only=True, allow_null=True)  # type: ignore[assignment]  # a field, see the metaclass
    metadata = PayloadField(read_only=True, allow_null=True)
    actor = serializers.CharField(read_only=True)
    correlation_id = serializers.CharField(read_only=True)
    causation_id = serializers.UUIDField(read_only=True, allow_null=True)
    recorded_at = UTCField(read_only=True)
    hash = HashField(read_only=True, allow_null=True)
    masked = serializers.SerializerMethodField()

    def to_representation(self, instance: StoredEvent) -> Any:
        if type(self) is not StoredEventSerializer:  # a subclass may have other fields
            return super().to_representation(instance)
        shown = self.shows_payload
        return {  # as its fields would, in a fraction of the time
            "position": instance.position,
            "event_id": str(instance.event_id),
            "stream_type": instance.stream_type,
            "stream_key": instance.stream_key,
            "version": instance.version,
            "type": instance.type,
            "schema_version": instance.schema_version,
            "data": instance.data if shown else None,
            "metadata": instance.metadata if shown else None,
            "actor": instance.actor,
            "correlation_id": instance.correlation_id,
            "causation_id": None if instance.causation_id is None else str(instance.causation_id),
            "recorded_at": _UTC.to_representation(instance.recorded_at),
            "hash": bytes(instance.hash).hex() if shown else None,
            "masked": not shown,
        }

    @cached_property
    def shows_payload(self) -> bool:
        """Whether whoever asks may see it."""
        return may_view_payload(getattr(self.context.get("request"), "user", None))

    def get_masked(self, event: StoredEvent) -> bool:
        """Whether something is not shown."""
        return not self.shows_payload


class NamedEventSerializer(serializers.Serializer[Any]):
    """An event that is named by another one."""

    position = serializers.IntegerField(read_only=True)
    event_id = serializers.UUIDField(read_only=True)
    type = serializers.CharField(read_only=True)


class EventPageSerializer(StoredEventSerializer):
    """A stored event with what is around it."""

    # The context needs `visible`, the events that the user may see.
    upcast = serializers.SerializerMethodField()
    upcast_problem = serializers.SerializerMethodField()
    parent = serializers.SerializerMethodField()  # type: ignore[assignment]  # a field, see the metaclass
    children = serializers.SerializerMethodField()
    has_more_children = serializers.SerializerMethodField()
    previous = serializers.SerializerMethodField()
    next = serializers.SerializerMethodField()

    def to_representation(self, instance: StoredEvent) -> dict[str, Any]:
        visible: StoredEventQuerySet = self.context["visible"]
        self._children = children_of(visible, instance)
        self._neighbours = neighbours_of(visible, instance)
        self._upcast = upcast_of(instance) if self.shows_payload else Upcast(data=None, problem=None)
        shown: dict[str, Any] = super().to_representation(instance)
        return shown

    def get_upcast(self, event: StoredEvent) -> dict[str, Any] | None:
        """Its data by today's declaration; ``null`` if masked, or if it cannot be read."""
        return self._upcast.data

    def get_upcast_problem(self, event: StoredEvent) -> str | None:
        """Why it cannot be read; ``null`` if masked, since the reason may quote the data."""
        return self._upcast.problem

    def get_parent(self, event: StoredEvent) -> dict[str, Any] | None:
        """The event that caused it, if one did that the user may see."""
        parent = parent_of(self.context["visible"], event)
        return None if parent is None else NamedEventSerializer(parent).data

    def get_children(self, event: StoredEvent) -> list[dict[str, Any]]:
        """The first events that it caused."""
        shown: list[dict[str, Any]] = NamedEventSerializer(self._children.events, many=True).data  # type: ignore[assignment]
        return shown

    def get_has_more_children(self, event: StoredEvent) -> bool:
        """Whether it caused more than those."""
        return self._children.has_more

    def get_previous(self, event: StoredEvent) -> int | None:
        """The position of the event before it in its stream."""
        return self._neighbours[0]

    def get_next(self, event: StoredEvent) -> int | None:
        """The position of the event after it in its stream."""
        return self._neighbours[1]
