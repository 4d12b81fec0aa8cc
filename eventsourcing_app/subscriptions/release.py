"""A release takes over: after ``migrate``, the database knows of subscriptions what this code says of them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured

from eventsourcing_app.subscriptions.definitions import create, declared_rate, present, store, stored
from eventsourcing_app.subscriptions.hurry import hurry
from eventsourcing_app.subscriptions.subscribed import definition_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventsourcing_app.subscriptions.records import Subscription
    from eventsourcing_app.subscriptions.registry import Definition


def define(definitions: Sequence[Definition]) -> None:
    """Store what this code says of its subscriptions. Called after ``migrate``."""
    known = {row.name: row for row in stored()}
    now = cache(present)
    for definition in definitions:
        row = known.pop(definition.name, None)
        if row is None:
            create(definition, now=now)
            continue
        if row.fingerprint != definition.fingerprint:
            store(definition)
        if row.handler:
            stored().filter(name=row.name).update(handler="", options={})  # it was made at run time before
        if row.declared_rate != declared_rate(definition):
            rate = {"rate": definition.rate, "burst": definition.burst, "tokens": 0, "refilled_at": None}
            stored().filter(name=row.name).update(declared_rate=declared_rate(definition), **rate)
            hurry([row.name])  # what waits does so at the rate until now
    for row in known.values():
        if row.handler:
            _define_again(row)


def _define_again(row: Subscription) -> None:
    """Let one that was made at run time go on with the names of streams that this code knows."""
    try:
        definition = definition_of(row)
    except ImproperlyConfigured:
        return  # a check has said so
    if row.fingerprint != definition.fingerprint:
        stored().filter(name=row.name).update(fingerprint=definition.fingerprint)
