"""What a command returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The outcome of a command: where its last event stands."""

    pk: Any
    """Primary key of the aggregate."""
    position: int
    """Position in the log of the aggregate's last event."""
    version: int
    """Version of the aggregate afterwards."""
    count: int = 1
    """How many events the command recorded: the versions up to ``version``. 0 if it found nothing to do."""
    replayed: bool = False
    """Whether this answers an earlier request with the same idempotency key; nothing was done again."""
