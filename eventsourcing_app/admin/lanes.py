"""Events over time, a lane for each stream, as shapes of an SVG drawing: dots for events, lines from causes to effects.

From left to right it goes in the order of the log. Part of the width is given out evenly, so that events of one moment
stand beside each other, and the rest in the measure of time, so that a pause is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from django.utils.translation import ngettext

from eventsourcing_app.access.correlation import stream_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eventsourcing_app.access.correlation import Correlation
    from eventsourcing_app.log.records import StoredEvent

WIDTH = 800
_LABELS, _MARGIN, _TOP, _LANE = 240, 16, 12, 28
_MOST_LANES = 20
_LONGEST = 32
_EVEN = 0.4
"""The share of the width that is given out evenly."""


class Lane(NamedTuple):
    """One stream."""

    y: float
    label: str
    title: str


class Dot(NamedTuple):
    """One event."""

    x: float
    y: float
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """The drawing, in units of its view box."""

    lanes: Sequence[Lane]
    dots: Sequence[Dot]
    lines: Sequence[str]
    """The ``d`` of a path for each cause and its effect."""
    height: int
    width: int = WIDTH
    left: int = _LABELS
    """Where the lanes begin."""

    @property
    def right(self) -> int:
        """Where the lanes end."""
        return self.width - _MARGIN


def lanes_of(correlation: Correlation, names: Mapping[tuple[str, str], str]) -> Lanes:
    """Draw the events of a correlation. ``names`` are those of streams that have one, by the type that events say."""
    rows = _rows(correlation.streams)
    called = {stream_of(event): names.get((event.stream_type, event.stream_key)) for event in correlation.events}
    lanes = _lanes([f"{type_} {called.get((type_, key)) or key}".strip() for type_, key in correlation.streams])
    xs = _across(correlation.events)
    dots = {}
    for event, x in zip(correlation.events, xs, strict=True):
        y = lanes[rows[stream_of(event)]].y
        dots[event.event_id] = Dot(round(x, 1), y, f"#{event.position} {event.type}")
    lines = []
    for node in correlation.nodes():
        if node.cause is not None and node.cause.event_id in dots:
            cause, effect = dots[node.cause.event_id], dots[node.event.event_id]
            lines.append(f"M{cause.x} {cause.y}L{effect.x} {effect.y}")
    return Lanes(lanes=lanes, dots=list(dots.values()), lines=lines, height=2 * _TOP + _LANE * len(lanes))


def _rows(streams: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    return {stream: min(number, _MOST_LANES - 1) for number, stream in enumerate(streams)}


def _lanes(names: Sequence[str]) -> list[Lane]:
    more = len(names) - _MOST_LANES
    if more > 0:
        others = ngettext("%(count)d other stream", "%(count)d other streams", more + 1) % {"count": more + 1}
        names = [*names[: _MOST_LANES - 1], others]
    return [Lane(_TOP + _LANE * (number + 0.5), _short(name), name) for number, name in enumerate(names)]


def _short(name: str) -> str:
    """The beginning, which says what it is, and the end, in which keys that were made close to each other differ."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 9]}…{name[-8:]}"


def _across(events: Sequence[StoredEvent]) -> list[float]:
    if not events:
        return []
    times = [event.recorded_at.timestamp() for event in events]
    gaps = [max(0.0, later - earlier) for earlier, later in pairwise(times)]
    whole, room = sum(gaps), WIDTH - _LABELS - 3 * _MARGIN
    x = float(_LABELS + _MARGIN)
    found = [x]
    for gap in gaps:
        even = 1 / len(gaps)
        x += room * (_EVEN * even + (1 - _EVEN) * (gap / whole if whole else even))
        found.append(x)
    return found
