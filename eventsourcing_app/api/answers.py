"""Answers that are no single row, as serializers: what a command did, a trail, a difference, a problem."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin
from uuid import UUID

from rest_framework import serializers

from eventsourcing_app.api.fields import UTCField
from eventsourcing_app.api.serializers import StoredEventSerializer

_PLAIN: dict[Any, type[serializers.Field[Any, Any, Any, Any]]] = {
    str: serializers.CharField,
    int: serializers.IntegerField,
    bool: serializers.BooleanField,
    Decimal: serializers.CharField,
    date: serializers.DateField,
    datetime: UTCField,
    UUID: serializers.UUIDField,
}
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
    header = serializers.CharField(required=False, help_text="Of the request.")
    path = serializers.CharField(required=False, help_text="Into the event.")


class CommandFateSerializer(serializers.Serializer[Any]):
    """What became of one command of a batch that failed."""

    status = serializers.IntegerField(min_value=400, max_value=599)
    code = serializers.CharField(help_text="Its own, or `rolled_back`, or `not_run`.")


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
    errors_left_out = serializers.IntegerField(required=False, help_text="How many errors are not listed.")
    item = serializers.IntegerField(required=False, help_text="Number of the command of a batch that failed, from 0.")
    results = CommandFateSerializer(many=True, required=False, help_text="What became of each command of a batch.")
    position = serializers.IntegerField(required=False, help_text="What was waited for.")
    waiting = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="Projections that have not come to it."
    )


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
def value_serializer(name: str, annotation: Any) -> type[serializers.Serializer[Any]]:
    """Make the serializer of what a flow did, which returns what its annotation says."""
    return type(
        f"{name}OutcomeSerializer",
        (serializers.Serializer,),
        {
            "__doc__": "What a flow returned, and the events that it has written.",
            "value": _field_of(annotation),
            "events": StoredEventSerializer(many=True),
            "count": serializers.IntegerField(min_value=0, help_text="Of the events, of which the first are shown."),
            "position": serializers.IntegerField(min_value=1, allow_null=True, help_text="Of the last event."),
        },
    )


def _field_of(annotation: Any) -> serializers.Field[Any, Any, Any, Any]:
    arguments = get_args(annotation)
    if get_origin(annotation) in (Union, UnionType) and len(arguments) == 2 and NoneType in arguments:
        (inner,) = (each for each in arguments if each is not NoneType)
        return _PLAIN[inner](allow_null=True) if inner in _PLAIN else serializers.JSONField(allow_null=True)
    return _PLAIN[annotation]() if annotation in _PLAIN else serializers.JSONField(allow_null=True)


class AnyOfField(serializers.Field[Any, Any, Any, Any]):
    """What one of these serializers writes."""

    def __init__(self, *, members: Sequence[StateClass], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.members = members


@cache
def results_serializer(states: Sequence[StateClass]) -> type[serializers.Serializer[Any]]:
    """Make the serializer of what a batch did to aggregates of one or several kinds."""
    status = serializers.IntegerField(min_value=200, max_value=201)
    results = [
        type(
            f"{_subject(state)}ResultSerializer",
            (outcome_serializer(state),),
            {"__doc__": "What one command of a batch has done.", "status": status},
        )
        for state in states
    ]
    return type(
        f"{''.join(_subject(state) for state in states)}BatchResultsSerializer",
        (serializers.Serializer,),
        {
            "__doc__": "What each command of a batch has done.",
            "results": serializers.ListField(child=AnyOfField(members=results)),
            "position": serializers.IntegerField(min_value=1, allow_null=True, help_text="Of the last event."),
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
