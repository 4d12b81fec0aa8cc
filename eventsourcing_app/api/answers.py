"""Answers that are no single row, as serializers: what a command did, a trail, a difference, a problem."""

from __future__ import annotations

from functools import cache
from typing import Any

from rest_framework import serializers

from eventsourcing_app.api.serializers import StoredEventSerializer

StateClass = Any  # a class of serializers: that of the stubs is not hashable


class ChangeSerializer(serializers.Serializer[Any]):
    """A field before and after."""

    before = serializers.JSONField()  # null included
    after = serializers.JSONField()  # null included


class TrailEntrySerializer(StoredEventSerializer):
    """A stored event of an object, with the fields that it changed."""

    changes = serializers.DictField(child=ChangeSerializer(), allow_null=True, read_only=True)


class DiffSerializer(serializers.Serializer[Any]):
    """The fields that differ between two versions."""

    since = serializers.IntegerField(min_value=0, help_text="The version before; 0 if it did not exist yet.")
    until = serializers.IntegerField(min_value=0, help_text="The version after.")
    is_final = serializers.BooleanField(help_text="Whether no open append can still give another answer.")
    changes = serializers.DictField(child=ChangeSerializer())


class ErrorSerializer(serializers.Serializer[Any]):
    """What is wrong with one part of a request."""

    detail = serializers.CharField()
    code = serializers.CharField()
    pointer = serializers.CharField(required=False, help_text="RFC 6901, into the body.")
    parameter = serializers.CharField(required=False, help_text="Of the query.")
    path = serializers.CharField(required=False, help_text="Into the event.")


class ProblemSerializer(serializers.Serializer[Any]):
    """What was refused and why (RFC 9457). The code is stable; programs decide by it."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField(min_value=400, max_value=599)
    detail = serializers.CharField()
    code = serializers.CharField()
    instance = serializers.CharField(help_text="The path of the request.")
    correlation_id = serializers.CharField()
    errors = ErrorSerializer(many=True, required=False)  # type: ignore[assignment]  # collected by the metaclass
    expected = serializers.JSONField(required=False, help_text="The version that was expected.")
    actual = serializers.IntegerField(required=False, help_text="The version that the object has.")


@cache
def outcome_serializer(state: StateClass) -> type[serializers.Serializer[Any]]:
    """Make the serializer of what a command did, from that of the state which it shows."""
    return type(
        f"{_subject(state)}OutcomeSerializer",
        (serializers.Serializer,),
        {
            "__doc__": "The events that a command has written, and the state that they led to.",
            "events": StoredEventSerializer(many=True),
            "state": state(),
            "version": serializers.IntegerField(min_value=1),
            "position": serializers.IntegerField(min_value=1, allow_null=True),
        },
    )


@cache
def past_serializer(state: StateClass) -> StateClass:
    """Make the serializer of a state of now or of the past, from that of the state."""
    is_final = serializers.BooleanField(
        required=False, help_text="Of a past state only: no open append can still change the answer."
    )
    return type(
        f"{_subject(state)}StateAtSerializer",
        (state,),
        {"__doc__": state.__doc__, "is_final": is_final, **_meta_with_is_final(state)},
    )


def _meta_with_is_final(state: StateClass) -> dict[str, Any]:
    meta = getattr(state, "Meta", None)
    fields = getattr(meta, "fields", None)
    if meta is None or not isinstance(fields, (list, tuple)):
        return {}
    return {"Meta": type("Meta", (meta,), {"fields": [*fields, "is_final"]})}


def _subject(state: StateClass) -> str:
    name: str = state.__name__
    return name.removesuffix("Serializer").removesuffix("State")
