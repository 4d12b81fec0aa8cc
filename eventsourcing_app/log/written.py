"""Events that were just written, as rows of the log, without asking it for them again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from eventsourcing_app.conf import conf
from eventsourcing_app.log.recorded import COLUMNS
from eventsourcing_app.log.records import StoredEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from eventsourcing_app.log.watch import Written

_JSON = [COLUMNS.index(name) for name in ("data", "metadata")]


def events_of(written: Iterable[Written]) -> Iterator[StoredEvent]:
    """Yield what was written as a query would give it; nothing of what was written without being told its positions."""
    for each in written:
        for position, row in zip(each.positions or (), each.rows, strict=False):
            values = [position, *row]
            for column in _JSON:
                values[column] = json.loads(values[column])  # as the field does
            yield StoredEvent.from_db(conf.DATABASE, COLUMNS, values)
