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
    """Yield what was written and stands, as a query would give it; not that whose positions nobody was told."""
    for each in written:
        if each.positions is None or not each.token.stands:
            continue
        for position, row in zip(each.positions, each.rows, strict=True):
            values = [position, *row]
            for column in _JSON:
                values[column] = json.loads(values[column])  # as the field does
            yield StoredEvent.from_db(conf.DATABASE, COLUMNS, values)
