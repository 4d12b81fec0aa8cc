"""Calling the handlers of one event, or of a list of them, in the context of what they react to."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from eventsourcing_app.context import DEPTH, Reaction, caused, reacting
from eventsourcing_app.exceptions import ReactionRefused
from eventsourcing_app.log.connection import log_connection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

    from eventsourcing_app.log.recorded import RecordedEvent
    from eventsourcing_app.subscriptions.registry import Definition


def deliver(definition: Definition, recorded: RecordedEvent, event: object) -> None:
    """Call what a subscription has for an event. What the handlers write is caused by that event."""
    if definition.batch:
        deliver_batch(definition, [(event, recorded)])
        return
    depth = depth_of(recorded) + 1
    reaction = Reaction(
        subscription=definition.name,
        event_id=recorded.event_id,
        kind="projection" if definition.transactional else "subscriber",
        depth=depth,
    )
    around = caused(
        actor=f"subscription:{definition.name}",
        correlation_id=recorded.correlation_id,
        causation_id=recorded.event_id,
        depth=depth,
    )
    with _reacting(definition, reaction), around:
        for handler in definition.handlers_of(recorded.type):
            handler(event, recorded)


def deliver_batch(definition: Definition, batch: Sequence[tuple[object, RecordedEvent]]) -> None:
    """Call the handlers of a subscription that takes lists. What they write is caused by no one event of the list."""
    first = batch[0][1]
    depth = max(depth_of(recorded) for _, recorded in batch) + 1
    reaction = Reaction(
        subscription=definition.name,
        event_id=first.event_id,
        kind="projection" if definition.transactional else "batch",
        depth=depth,
    )
    around = caused(actor=f"subscription:{definition.name}", correlation_id="", causation_id=None, depth=depth)
    handlers = dict.fromkeys(handler for _, each in batch for handler in definition.handlers_of(each.type))
    with _reacting(definition, reaction), around:
        for handler in handlers:
            handler([pair for pair in batch if handler in definition.handlers_of(pair[1].type)])


def depth_of(recorded: RecordedEvent) -> int:
    """Return how many events stand before this one in the chain of those that subscribers caused."""
    # Few events have been caused by a reaction: the others need not be parsed.
    depth = recorded.metadata.get(DEPTH, 0) if f'"{DEPTH}"' in recorded.metadata_text else 0
    return depth if type(depth) is int else 0


@contextmanager
def _reacting(definition: Definition, reaction: Reaction) -> Iterator[None]:
    """Mark the running code as a handler, and put the connection in order if it has left it in disorder."""
    connection = log_connection()
    outside = _Transactions.of(connection)
    before = reacting.set(reaction)
    try:
        yield
    except asyncio.CancelledError as error:
        # Of a coroutine that the handler ran; it must not pass for an order to this worker.
        raise ReactionRefused(f"{definition.name} was cancelled while it handled an event.") from error
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
