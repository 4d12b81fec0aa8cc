"""A release takes over: after ``migrate``, the database knows of subscriptions what this code says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventsourcing_app.subscriptions.definitions import create, declared_rate, store, stored
from eventsourcing_app.subscriptions.hurry import hurry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventsourcing_app.subscriptions.registry import Definition


def define(definitions: Sequence[Definition]) -> None:
    """Store what this code says of its subscriptions. Called after ``migrate``: so a release takes over."""
    known = {row.name: row for row in stored()}
    for definition in definitions:
        row = known.get(definition.name)
        if row is None:
            create(definition)
            continue
        if row.fingerprint != definition.fingerprint:
            store(definition)
        if row.declared_rate != declared_rate(definition):
            rate = {"rate": definition.rate, "burst": definition.burst, "tokens": 0, "refilled_at": None}
            stored().filter(name=row.name).update(declared_rate=declared_rate(definition), **rate)
            hurry([row.name])  # what waits does so at the rate until now
