"""Stream keys: the primary key of an aggregate as text, in the one spelling that it has when it is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.db import models


def stream_key_of(model: type[models.Model], pk: Any) -> str:
    """Return the stream key of a primary key, however it was given: a UUID as text, a member of an enumeration, …"""
    value = model._meta.pk.to_python(pk)
    return str.__str__(value) if isinstance(value, str) else str(value)
