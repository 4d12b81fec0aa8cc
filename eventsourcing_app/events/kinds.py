"""How one annotation of an event field is written and read."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Unsupported(Exception):
    """An annotation that has no JSON form; says what to write instead."""


@dataclasses.dataclass(slots=True)
class Kind:
    """How one annotation is written and read."""

    dump: Callable[[Any], object]
    wire: Any
    build: Callable[[Any], object] | None = None
    """Makes the value of what msgspec decoded; None if that is the value already."""
    depth: float = 0
    """How deep its text can nest; infinite for recursive types."""
    hashable: bool = True
    sortable: bool = False
    """Whether what ``dump`` returns can be compared."""
