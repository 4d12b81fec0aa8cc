"""What commands and flows return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

R = TypeVar("R")


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
    """How many events the command recorded, with those that receivers of its signals recorded on the same instance: the
    versions up to ``version``. 0 if it found nothing to do."""
    replayed: bool = False
    """Whether this answers an earlier request with the same idempotency key; nothing was done again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowReceipt(Generic[R]):
    """The outcome of a flow: what its function returned, and where its last event stands."""

    value: R
    """What the function returned when it acted."""
    position: int | None
    """Position in the log of the last event that it wrote; ``None`` if it wrote none."""
    replayed: bool = False
    """Whether this answers an earlier request with the same idempotency key; nothing was done again."""
