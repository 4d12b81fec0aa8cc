"""Stream keys: the primary key of an aggregate as text, in the one spelling that it has when it is loaded."""

from __future__ import annotations

from typing import Any

from django.db import models


def key_field(model: type[models.Model]) -> models.Field[Any, Any]:
    """Return the field that says what type the keys of a model have."""
    key: models.Field[Any, Any] = model._meta.pk
    while isinstance(key, models.ForeignKey):  # has the type of the key that it points at
        key = key.target_field
    return key


def stream_key_of(model: type[models.Model], pk: Any) -> str:
    """Return the stream key of a primary key, however it was given: a UUID as text, a member of an enumeration, …"""
    value = model._meta.pk.to_python(pk)
    return str.__str__(value) if isinstance(value, str) else str(value)


def pk_of(model: type[models.Model], stream_key: str) -> Any:
    """Return the primary key whose stream key this is."""
    return key_field(model).to_python(stream_key)
