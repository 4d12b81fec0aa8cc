"""``publish``: a fact that belongs to no aggregate, under a topic to which anybody may subscribe."""

from __future__ import annotations

from django.db import transaction

from eventsourcing_app.aggregates.once import Operation, Receipts, reaction_key, run_once
from eventsourcing_app.aggregates.receipts import Receipt
from eventsourcing_app.conf import conf
from eventsourcing_app.events.codec import encode
from eventsourcing_app.events.declare import declaration_of
from eventsourcing_app.log import clock
from eventsourcing_app.log.append import NewEvent, append


def publish(event: object, *, key: str = "") -> int:
    """Append a fact of no aggregate and return its position. Its topic is its wire name.

    Facts with the same ``key`` are delivered in order; without a key no order is promised. Inside a transaction it is
    stored with it or not at all. Raises ``EventRefused`` if it cannot be stored exactly.
    """
    declaration = declaration_of(event)
    data = encode(event)
    new = NewEvent(declaration.name, key, None, declaration.name, declaration.version, data)
    operation = Operation(f"publish.{declaration.name}", key)
    repeatable = reaction_key(*operation)
    if repeatable is None:
        return _append(new, repeatable=False)

    def act() -> Receipt:
        return Receipt(pk="", position=_append(new, repeatable=True), version=0)

    with transaction.atomic(using=conf.DATABASE):
        return run_once(repeatable, operation, request={"data": data}, act=act, answers=Receipts(str)).position


def _append(new: NewEvent, *, repeatable: bool) -> int:
    appended = append([new], recorded_at=clock.recording_time(), repeatable=repeatable)
    assert appended is not None, "only a state that was not found leaves the log as it is"
    return appended.position
