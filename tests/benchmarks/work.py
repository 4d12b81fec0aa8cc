"""What every side's work has in common: what is deposited, and how small commands are repeated for a sample."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.job import Job

K = TypeVar("K")

AMOUNT = Decimal("12.50")
REFERENCE = "Invoice 2026-0001 of the fourth of March, paid at the counter of the branch in the High Street; ".ljust(
    170, "."
)
"""So long that the data of a deposit has about 200 bytes."""
METADATA: dict[str, Any] = {
    "channel": "counter",
    "request_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "reason": "cash paid in",
}
"""About 100 bytes as JSON. Only the package (and its floor) stores it: the peers have no place for it."""

EVENTS_A_SAVE = 10
BULK_EVENTS, BULK_AGGREGATES = 1_000, 100


class Done(NamedTuple):
    """What a sample did."""

    units: int
    peak: float | None = None
    """The most memory that one of the processes held which it started, in MB; ``None`` if it started none."""
    span: tuple[float, float] | None = None
    """Its first and last moment by the monotonic clock, if it began or ended with something that is not measured."""
    more: Mapping[str, float] = MappingProxyType({})
    """What else was measured, by the names that targets give it."""


Sample: TypeAlias = Callable[[], Done]


def repeated(act: Callable[[], object], job: Job, *, units: int = 1) -> Sample:
    """Return a sample that acts, ``units`` each time, until its seconds are over."""

    def sample() -> Done:
        done, end = 0, perf_counter() + job.scale.seconds
        while perf_counter() < end:
            act()
            done += units
        return Done(done)

    return sample


def turns(keys: Sequence[K], job: Job) -> Iterator[K]:
    """Give this worker's share of the keys in an order of its own, again and again."""
    mine = list(keys[job.worker :: job.workers])
    random.Random(job.worker).shuffle(mine)
    while True:
        yield from mine
