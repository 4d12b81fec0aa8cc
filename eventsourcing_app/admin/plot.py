"""From numbers to the points of a line in SVG, drawn by the server: no script, and no style but that of classes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MARGIN = 4.0
"""Room for the thickness of the line, in units of the drawing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A line through points, in a drawing of ``width`` × ``height`` units; y falls, as SVG has it."""

    width: int
    height: int
    points: Sequence[tuple[float, float]]
    """Where each of the given points is drawn."""
    steps: bool
    span: tuple[float, float] = (0.0, 0.0)
    """The x of the first value and of the last."""

    @property
    def left(self) -> float:
        """Where the first value is drawn."""
        return _MARGIN

    @property
    def right(self) -> float:
        """Where the last value is drawn."""
        return self.width - _MARGIN

    def across(self, x: float) -> float:
        """Where ``x`` is drawn; what lies before the first value or after the last, at that."""
        first, last = self.span
        part = (min(max(x, first), last) - first) / (last - first) if last > first else 0.5
        return self.left + (self.right - self.left) * part

    @property
    def path(self) -> str:
        """The ``d`` of an SVG path; empty without points. In steps, a value holds until the next one."""
        parts: list[str] = []
        for index, (x, y) in enumerate(self.points):
            if index == 0:
                parts.append(f"M{x:.2f} {y:.2f}")
            else:
                parts.append(f"H{x:.2f}V{y:.2f}" if self.steps else f"L{x:.2f} {y:.2f}")
        return "".join(parts)


def plot(
    values: Sequence[tuple[float, float]],
    *,
    width: int,
    height: int,
    steps: bool = False,
    floor: float | None = None,
) -> Plot:
    """Scale ``values``, pairs of x and y with rising x, to a drawing. ``floor`` is a y that it shows in any case."""
    if not values:
        return Plot(width=width, height=height, points=(), steps=steps)
    ys = [y for _, y in values]
    low, high = min(ys if floor is None else [*ys, floor]), max(ys if floor is None else [*ys, floor])
    level = 0.5 if floor is None else 0.0  # of a line that is flat: where nothing happens, it lies on the floor

    def up(y: float) -> float:
        return height - _MARGIN - (height - 2 * _MARGIN) * ((y - low) / (high - low) if high > low else level)

    empty = Plot(width=width, height=height, points=(), steps=steps, span=(values[0][0], values[-1][0]))
    return replace(empty, points=[(empty.across(x), up(y)) for x, y in values])
