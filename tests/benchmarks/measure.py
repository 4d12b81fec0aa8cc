"""Takes the samples of a row in turn: one of each contestant, then the next of each, and so on."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from tests.benchmarks.crew import Crew, Sampled, WorkerFailed
from tests.benchmarks.job import Job
from tests.benchmarks.targets import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.job import Scale
    from tests.benchmarks.row import Contestant, Row
    from tests.benchmarks.stores import Stores


@dataclass(frozen=True, slots=True)
class Plan:
    """How a run is made."""

    scale: Scale
    stores: Stores
    runs: int
    peers: bool
    """Whether the peers are measured too."""

    def contestants(self, row: Row) -> list[Contestant]:
        """Who takes part in a row."""
        return [contestant for contestant in row.contestants if self.peers or not contestant.peer]

    def jobs(self, row: Row, contestant: Contestant, *, work: str = "") -> list[Job]:
        """What its processes are told."""
        workers = self.scale.workers if row.several else 1
        return [
            Job(
                work=work or contestant.work,
                place=self.stores.place(contestant.store),
                scale=self.scale,
                worker=worker,
                workers=workers,
                dispatcher=contestant.dispatcher,
                prepared=contestant.prepared,
                reactions=contestant.reactions,
                cluster=contestant.cluster,
            )
            for worker in range(workers)
        ]


def measure(plan: Plan, row: Row) -> dict[str, Figure]:
    """Measure a row; the figures by contestant. Raises ``WorkerFailed`` if a process failed or a count is wrong."""
    contestants = plan.contestants(row)
    jobs = [plan.jobs(row, contestant) for contestant in contestants]  # makes the databases, before anything is started
    crews: list[Crew] = []
    try:
        crews += [Crew(each) for each in jobs]
        for crew in crews:
            crew.wait_until_ready()
        for crew in crews if row.warm else ():
            crew.sample()
        samples: list[list[Sampled]] = [[] for _ in crews]
        for _ in range(plan.runs * row.rounds):
            for crew, taken in zip(crews, samples, strict=True):
                taken.append(_sample(row, crew))
        for crew in crews:
            crew.end()
    finally:
        for crew in crews:
            crew.discard()
    return {
        contestant.key: _figure(row, contestant, taken) for contestant, taken in zip(contestants, samples, strict=True)
    }


def profile(plan: Plan, row: Row) -> str:
    """Say where the time of one sample of ours goes."""
    crew = Crew(plan.jobs(row, row.contestants[0], work=row.profiled)[:1])
    try:
        crew.wait_until_ready()
        text = crew.profile()
        crew.end()
    finally:
        crew.discard()
    return text


def _sample(row: Row, crew: Crew) -> Sampled:
    before = crew.stored() if row.writes else 0
    sampled = crew.sample()
    if row.writes and (stored := crew.stored() - before) != sampled.units:
        raise WorkerFailed(f"{sampled.units} events were reported, but {stored} stored.")
    return sampled


def _figure(row: Row, contestant: Contestant, samples: Sequence[Sampled]) -> Figure:
    peaks = [sampled.peak for sampled in samples if sampled.peak is not None]
    return Figure(
        who=contestant.who,
        dispatcher=contestant.shown_dispatcher,
        rates=tuple(sampled.units / sampled.seconds for sampled in samples),
        cpu=min(sampled.cpu / sampled.units for sampled in samples) * 1e6,
        peak=max(peaks, default=None) if row.memory else None,
        more={name: median(sampled.more[name] for sampled in samples) for name in samples[0].more},
    )
