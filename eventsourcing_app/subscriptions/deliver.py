"""Calling the handlers of one event, in the context of the event that they react to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from eventsourcing_app.context import Reaction, apart, reacting
from eventsourcing_app.exceptions import ReactionRefused
from eventsourcing_app.log.connection import log_connection

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from eventsourcing_app.log.recorded import RecordedEvent
    from eventsourcing_app.subscriptions.registry import Definition


def deliver(definition: Definition, recorded: RecordedEvent) -> None:
    """Call what a subscription has for an event. What the handlers write is caused by that event."""
    event = recorded.event
    reaction = Reaction(
        subscription=definition.name,
        event_id=recorded.event_id,
        kind="projection" if definition.transactional else "subscriber",
    )
    before = reacting.set(reaction)
    connection = log_connection()
    outside = _Transactions.of(connection)
    try:
        with apart(
            actor=f"subscription:{definition.name}",
            correlation_id=recorded.correlation_id,
            causation_id=recorded.event_id,
        ):
            for handler in definition.handlers.get(type(event), ()):
                handler(event, recorded)
    except asyncio.CancelledError as error:
        # Of a coroutine that the handler ran; it must not pass for an order to this worker.
        raise ReactionRefused(f"{definition.name} was cancelled while it handled {recorded.type}.") from error
    finally:
        reacting.reset(before)
        disorder = _Transactions.of(connection) != outside
        if disorder:
            outside.restore(connection)
    if disorder:
        raise ReactionRefused(
            f"{definition.name} left a transaction open: what others do after it would be neither committed nor rolled "
            "back. Use transaction.atomic() as a context manager."
        )


class _Transactions(NamedTuple):
    """What is open on a connection, so that a handler which leaves more, or less, harms nobody after it."""

    autocommit: bool
    in_atomic_block: bool
    depth: int
    blocks: int

    @classmethod
    def of(cls, connection: BaseDatabaseWrapper) -> _Transactions:
        return cls(
            connection.get_autocommit(),
            connection.in_atomic_block,
            len(connection.savepoint_ids),
            len(connection.atomic_blocks),
        )

    def restore(self, connection: BaseDatabaseWrapper) -> None:
        """Undo what was done in what is left open."""
        if not self.in_atomic_block:
            connection.close()
            connection.connect()  # forgets every block that was open
            return
        left = connection.savepoint_ids[self.depth :]
        del connection.savepoint_ids[self.depth :], connection.atomic_blocks[self.blocks :]
        if left and left[0] is not None:
            connection.savepoint_rollback(left[0])
        else:
            connection.needs_rollback = True
