"""Keys that a text names, as far as a column can hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError

if TYPE_CHECKING:
    from django.db.models import Field

_LARGEST = 2**63


def key_in(text: str, field: Field[Any, Any]) -> Any:
    """Return the key that a text names in a field; ``None`` if it can be none."""
    try:
        key = field.to_python(text)
    except (ValidationError, ValueError, TypeError, ArithmeticError):
        return None
    # A number that no column holds is not worth a query, and SQLite would refuse it.
    return None if isinstance(key, int) and abs(key) >= _LARGEST else key
