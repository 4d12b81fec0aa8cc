"""What the checker judges by: plain data, collected when a storm is over. Nothing here knows the library."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Outcome = Literal["ok", "refused", "unknown"]


class Row(NamedTuple):
    """An event as it is stored."""

    position: int
    event_id: str
    stream_type: str
    stream_key: str
    version: int | None
    type: str
    reference: str
    """The operation that wrote it; empty if none of the writers did."""
    causation: str
    """The event that caused it, if any."""
    amount: int
    """By how much it changes a balance, in the smallest unit."""

    def __str__(self) -> str:
        return f"#{self.position} {self.type} v{self.version} of {self.stream_type} {self.stream_key}"


class Operation(NamedTuple):
    """What a writer set out to do, and what it was told about it."""

    id: str
    events: int
    """How many events it writes if it succeeds."""
    outcome: Outcome
    position: int | None = None
    """The position it was told, if any."""


class Observation(NamedTuple):
    """What a reader saw in one snapshot."""

    accounts: int
    total: int


class Parked(NamedTuple):
    """An event that a subscription has set aside."""

    segment: int
    position: int
    state: str
    attempts: int


@dataclass(kw_only=True)
class Watched:
    """A subscription: what it should have done, and all that is known of what it did."""

    name: str
    types: frozenset[str]
    """The wire names that it reacts to."""
    once: bool
    """Whether its effects are in the database of the log: exactly once. Else at least once."""
    checkpoints: dict[int, int]
    """By number of segment."""
    started_after: int = 0
    max_attempts: int = 8
    parked: list[Parked] = field(default_factory=list)
    parked_counts: dict[int, int] = field(default_factory=dict)
    """What the segments' rows say of how many events they have parked."""
    delivered: list[int] | None = None
    """The positions that it handled, in the order in which it did; ``None`` if only ``folds`` tell."""
    deaths: list[int] = field(default_factory=list)
    """The positions at which it killed its process, each time."""
    folds: dict[str, str] | None = None
    """Its read model, by stream: see ``fold``."""
    publishes: str = ""
    """The wire name of the event that it publishes, once for each that it handles."""


@dataclass(kw_only=True)
class Facts:
    """Everything."""

    log: list[Row]
    watched: list[Watched]
    operations: list[Operation] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    expected: Observation | None = None
    """What every reader must see."""
    balances: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Version and balance of each account, by stream key."""
    account_type: str = ""
    """The stream type of the accounts."""
    broken: list[str] = field(default_factory=list)
    """Processes and operations that ended in a way nobody has foreseen."""
    at_rest: bool = True
    """Whether the subscriptions had all the time they needed: then nothing may be left to do."""


class Violation(NamedTuple):
    """A promise that was broken."""

    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"
