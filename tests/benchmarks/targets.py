"""What is aimed at. A target looks at the figures of the run and says whether it was met; it never hides a figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What was measured of one contestant."""

    who: str
    dispatcher: str
    rates: tuple[float, ...]
    """Units a second, a sample each."""
    cpu: float
    """Processor time of its processes for a unit, in µs, the least of all samples; the database's is not in it."""
    peak: float | None
    """The highest memory in MB, where it was measured: see the row."""
    more: Mapping[str, float] = field(default_factory=dict)
    """What else was measured, the median of all samples: see the row."""

    @property
    def rate(self) -> float:
        """The median."""
        return median(self.rates)


Figures: TypeAlias = Mapping[tuple[str, str], Figure]
"""By the row's name and the contestant's key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a target came out."""

    target: str
    measured: float
    met: bool


class Target(Protocol):
    """Judges a row. ``beside`` is the contestant on whose line it is shown."""

    @property
    def beside(self) -> str: ...

    def judge(self, row: str, figures: Figures) -> Verdict | None:
        """Return the verdict, or ``None`` if what it needs was not measured."""


@dataclass(frozen=True, slots=True)
class Faster:
    """Ours, or ``who`` of ours, does at least ``least`` times as much as ``beside``."""

    beside: str
    least: float
    who: str = "ours"

    def judge(self, row: str, figures: Figures) -> Verdict | None:
        ours, other = figures.get((row, self.who)), figures.get((row, self.beside))
        if ours is None or other is None:
            return None
        ratio = ours.rate / other.rate
        named = "" if self.who == "ours" else f"{self.who} "
        return Verdict(target=f"{named}≥ {self.least:g} ×", measured=ratio, met=ratio >= self.least)


@dataclass(frozen=True, slots=True)
class Slower:
    """Ours takes at most ``most`` times the time of ``beside``."""

    beside: str
    most: float

    def judge(self, row: str, figures: Figures) -> Verdict | None:
        ours, other = figures.get((row, "ours")), figures.get((row, self.beside))
        if ours is None or other is None:
            return None
        ratio = other.rate / ours.rate
        return Verdict(target=f"≤ {self.most:g} × its time", measured=ratio, met=ratio <= self.most)


@dataclass(frozen=True, slots=True)
class Memory:
    """Ours holds at most ``most`` MB, counted as the row says."""

    most: float
    beside: str = "ours"

    def judge(self, row: str, figures: Figures) -> Verdict | None:
        ours = figures.get((row, "ours"))
        if ours is None or ours.peak is None:
            return None
        return Verdict(target=f"≤ {self.most:g} MB", measured=ours.peak, met=ours.peak <= self.most)


@dataclass(frozen=True, slots=True)
class RateOrShare:
    """Ours does ``rate`` units a second, or ``share`` of what it does in another row."""

    rate: float
    share: float
    of_row: str
    beside: str = "ours"

    def judge(self, row: str, figures: Figures) -> Verdict | None:
        ours, other = figures.get((row, "ours")), figures.get((self.of_row, "ours"))
        if ours is None:
            return None
        least = self.rate if other is None else min(self.rate, self.share * other.rate)
        text = f"≥ {self.rate:,.0f}/s or {self.share:g} × `{self.of_row}`"
        return Verdict(target=text, measured=ours.rate, met=ours.rate >= least)


@dataclass(frozen=True, slots=True)
class NoMore:
    """``beside`` does at most ``most`` units a second."""

    most: float
    beside: str = "ours"

    def judge(self, row: str, figures: Figures) -> Verdict | None:
        ours = figures.get((row, self.beside))
        if ours is None:
            return None
        return Verdict(target=f"≤ {self.most:g}/s", measured=ours.rate, met=ours.rate <= self.most)


@dataclass(frozen=True, slots=True)
class Within:
    """What else was measured of ``beside`` under the name ``what`` is at most ``most``."""

    what: str
    most: float
    beside: str = "ours"

    def judge(self, row: str, figures: Figures) -> Verdict | None:
        figure = figures.get((row, self.beside))
        if figure is None or self.what not in figure.more:
            return None
        measured = figure.more[self.what]
        return Verdict(target=f"{self.what} ≤ {self.most:g}", measured=measured, met=measured <= self.most)


@dataclass(frozen=True, slots=True)
class NotBehind:
    """Of what else was measured under the name ``what``, ours has at most ``most`` times as much as ``beside``."""

    beside: str
    what: str
    most: float

    def judge(self, row: str, figures: Figures) -> Verdict | None:
        ours, other = figures.get((row, "ours")), figures.get((row, self.beside))
        if ours is None or other is None or self.what not in ours.more or not other.more.get(self.what):
            return None
        ratio = ours.more[self.what] / other.more[self.what]
        return Verdict(target=f"its {self.what} ≤ {self.most:g} ×", measured=ratio, met=ratio <= self.most)
