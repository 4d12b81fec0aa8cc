"""Takes the samples of a row in turn: one of each contestant, then the next of each, and so on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.benchmarks.crew import Crew, WorkerFailed
from tests.benchmarks.job import Job
from tests.benchmarks.targets import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.job import Scale
    from tests.benchmarks.rows import Contestant, Row
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
        rates: list[list[float]] = [[] for _ in crews]
        peaks: list[list[float]] = [[] for _ in crews]
        for _ in range(plan.runs * row.rounds):
            for index, crew in enumerate(crews):
                rate, peak = _sample(row, crew)
                rates[index].append(rate)
                peaks[index] += [] if peak is None else [peak]
        for crew in crews:
            crew.end()
    finally:
        for crew in crews:
            crew.discard()
    return _figures(row, contestants, rates, peaks)


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


def _sample(row: Row, crew: Crew) -> tuple[float, float | None]:
    before = crew.stored() if row.writes else 0
    sampled = crew.sample()
    if row.writes and crew.stored() - before != sampled.units:
        raise WorkerFailed(f"{sampled.units} events were reported, but {crew.stored() - before} stored.")
    return sampled.units / sampled.seconds, sampled.peak


def _figures(
    row: Row, contestants: Sequence[Contestant], rates: list[list[float]], peaks: list[list[float]]
) -> dict[str, Figure]:
    return {
        contestant.key: Figure(
            who=contestant.who,
            dispatcher=contestant.shown_dispatcher,
            rates=tuple(rates[index]),
            peak=max(peaks[index], default=None) if row.memory else None,
        )
        for index, contestant in enumerate(contestants)
    }
