"""Examples: of request bodies, made from the fields of a command where its view gives none, and of problems."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from rest_framework import serializers

from eventsourcing_app.api.described import FACTS_OF_PROBLEMS, PROBLEMS
from eventsourcing_app.api.fields import OneOfField

if TYPE_CHECKING:
    from eventsourcing_app.api.commands import CommandSerializer

_BY_FIELD: tuple[tuple[type[serializers.Field[Any, Any, Any, Any]], object], ...] = (
    (serializers.DecimalField, "50.00"),
    (serializers.BooleanField, True),
    (serializers.IntegerField, 1),
    (serializers.UUIDField, "0199c0de-7a11-7000-8000-000000000001"),
    (serializers.DateTimeField, "2026-11-01T00:00:00Z"),
    (serializers.DateField, "2026-11-01"),
)


def example_of(serializer: CommandSerializer) -> dict[str, object]:
    """Return a body that has every required argument."""
    return {name: _value(name, field) for name, field in serializer.fields.items() if field.required}


def _value(name: str, field: Any) -> object:
    if isinstance(field, OneOfField):
        return next(iter(field.members))
    if isinstance(field, serializers.ListField):
        return [_value(name, field.child)]
    for kind, value in _BY_FIELD:
        if isinstance(field, kind):
            return value
    return name[: field.max_length] if getattr(field, "max_length", None) else name


def problem_of(status: int, code: str) -> dict[str, object]:
    """Return a problem of that status and code."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": PROBLEMS[status][code],
        "code": code,
        "instance": "/api/v1/accounts/",
        "correlation_id": "checkout-4711",
        **FACTS_OF_PROBLEMS.get(code, {}),
    }
