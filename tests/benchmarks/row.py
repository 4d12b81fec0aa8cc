"""``Row``, one kind of work that is measured, and ``Contestant``, one way to do it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.benchmarks.job import Reactions
    from tests.benchmarks.stores import Store
    from tests.benchmarks.targets import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One way to do a row's work."""

    key: str
    """What targets call it; ``ours`` is whom they are about."""
    who: str
    work: str
    store: Store
    peer: bool = False
    """Whether it needs a package that only the benchmark needs."""
    dispatcher: str = "none"
    prepared: bool = False
    """Whether Django's connection lets statements be prepared. The floor and eventsourcing see to it themselves."""

    reactions: Reactions | None = None
    """What reacts to events, in its process and in those that it starts."""
    cluster: str = ""
    """Its settings of django-q2, if they are not those of everybody."""

    @property
    def shown_dispatcher(self) -> str:
        """Its dispatcher; peers and floors have none."""
        return self.dispatcher if self.work.startswith("ours") else "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind of work."""

    name: str
    title: str
    unit: str
    contestants: tuple[Contestant, ...]
    targets: tuple[Target, ...] = ()
    several: bool = False
    """Whether several processes work at the same time."""
    writes: bool = True
    """Whether a unit is a stored event, so that they can be counted afterwards."""
    memory: str = ""
    """What the memory is that is shown; nothing is shown without it."""
    more: str = ""
    """What else was measured, as a unit and in words."""
    warm: bool = True
    """Whether one sample of each contestant is taken before, and not counted."""
    rounds: int = 1
    """How many times as many samples are taken as of other rows: where small differences matter."""
    profiled: str = ""
    """The work that is profiled, if it is not the one that is measured."""
