"""A numeric field of an aggregate over time: a line in steps, and the same numbers as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from django.core.exceptions import BadRequest
from django.db import models
from django.utils.translation import gettext as _

from eventsourcing_app.access.folding import folding
from eventsourcing_app.admin.audited import told_fields
from eventsourcing_app.admin.plot import plot
from eventsourcing_app.admin.times import utc
from eventsourcing_app.admin.values import label_of, value_of_field
from eventsourcing_app.aggregates.past.samples import Samples, samples

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from eventsourcing_app.admin.audited import Audited
    from eventsourcing_app.admin.plot import Plot
    from eventsourcing_app.aggregates.model import EventSourcedModel

PARAMETER = "chart"
"""Names the field in the query."""
_NUMBERS = (models.IntegerField, models.DecimalField, models.FloatField)
_WIDTH, _HEIGHT = 640, 160


class Row(NamedTuple):
    """A value from a version on."""

    version: int
    recorded: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One field over time."""

    name: str
    label: str
    choices: Sequence[tuple[str, str]]
    """The fields that could be shown, by name and label."""
    plot: Plot
    rows: Sequence[Row]
    lowest: str
    highest: str
    is_whole: bool
    missing: tuple[int, int] | None
    problem: str | None
    mark: float | None
    """Where the drawing is marked, if it is: at the moment of a past state."""

    @property
    def span(self) -> tuple[int, int]:
        """The first moment and the last, in milliseconds, for the script that moves the mark."""
        first, last = self.plot.span
        return round(first * 1000), round(last * 1000)

    @property
    def first(self) -> Row:
        """The oldest value."""
        return self.rows[0]

    @property
    def last(self) -> Row:
        """The newest value."""
        return self.rows[-1]


def chart(
    audited: Audited, fields: Sequence[str], *, chosen: str | None, until: int, marked: datetime | None = None
) -> Chart | None:
    """Draw the chosen one of ``fields``, or the first that is numeric; ``None`` if none is. Mark it at a moment.

    Raises ``BadRequest`` for one that cannot be drawn.
    """
    names = [name for name in told_fields(audited.model, fields) if _is_numeric(audited.model, name)]
    if chosen is not None and chosen not in names:
        raise BadRequest(_("There is no chart of that field."))
    if not names or not until:
        return None
    name = chosen or names[0]
    found = Samples(points=(), is_whole=True)
    with folding(audited.model, audited.stream_key) as outcome:
        found = samples(audited.model, audited.stream_key, name, until=until)
    points = [(sample, float(sample.value)) for sample in found.points if sample.value is not None]

    def text(value: Any) -> str:
        return value_of_field(audited.model, name, value)

    values = [sample.value for sample, _number in points]
    drawing = plot(
        [(sample.recorded_at.timestamp(), number) for sample, number in points],
        width=_WIDTH,
        height=_HEIGHT,
        steps=True,
    )
    return Chart(
        name=name,
        label=label_of(audited.model, name),
        choices=[(each, label_of(audited.model, each)) for each in names],
        plot=drawing,
        rows=[Row(sample.version, utc(sample.recorded_at), text(sample.value)) for sample, _number in points],
        lowest=text(min(values)) if values else "",
        highest=text(max(values)) if values else "",
        is_whole=found.is_whole,
        missing=found.missing,
        problem=outcome.problem,
        mark=None if marked is None else drawing.across(marked.timestamp()),
    )


def _is_numeric(model: type[EventSourcedModel], name: str) -> bool:
    field = model._meta.get_field(name)
    return isinstance(field, _NUMBERS) and not field.choices
