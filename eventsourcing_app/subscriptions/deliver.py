"""Calling the handlers of one event, or of a list of them, in the context of what they react to.

A handler runs in a context of its own: the decimal context, the time zone and the language that it sets are nobody
else's. What it leaves open on a connection is undone, and is its failure.
"""

from __future__ import annotations

import asyncio
import decimal
import inspect
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, NamedTuple

from django.db import connections

from eventsourcing_app.context import DEPTH, Reaction, caused, reacting
from eventsourcing_app.exceptions import ReactionRefused
from eventsourcing_app.log.connection import log_connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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
            _call(definition, handler, event, recorded)


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
            pairs = [pair for pair in batch if handler in definition.handlers_of(pair[1].type)]
            _call(definition, handler, pairs)


def _call(definition: Definition, handler: Callable[..., object], *arguments: object) -> None:
    returned = copy_context().run(_with_own_numbers, handler, arguments)
    if returned is not None and (
        inspect.isawaitable(returned) or inspect.isgenerator(returned) or inspect.isasyncgen(returned)
    ):
        if inspect.iscoroutine(returned):
            returned.close()
        raise ReactionRefused(
            f"A handler of {definition.name} returned a {type(returned).__name__}: its body has not run. Declare a "
            "plain function, and call asgiref's async_to_sync inside."
        )


def _with_own_numbers(handler: Callable[..., object], arguments: tuple[object, ...]) -> object:
    # A copied context shares the object that holds precision and rounding.
    with decimal.localcontext():
        return handler(*arguments)


def depth_of(recorded: RecordedEvent) -> int:
    """Return how many events stand before this one in the chain of those that subscribers caused."""
    # Few events have been caused by a reaction: the others need not be parsed.
    depth = recorded.metadata.get(DEPTH, 0) if f'"{DEPTH}"' in recorded.metadata_text else 0
    return depth if type(depth) is int else 0


@contextmanager
def _reacting(definition: Definition, reaction: Reaction) -> Iterator[None]:
    """Mark the running code as a handler, and put the connections in order if it has left them in disorder."""
    outside = _Transactions.of(log_connection())
    others = {alias: _Transactions.of(connection) for alias, connection in _others()}
    before = reacting.set(reaction)
    failed = True
    try:
        yield
        failed = False
    except asyncio.CancelledError as error:
        # Of a coroutine that the handler ran; it must not pass for an order to this worker.
        raise ReactionRefused(f"{definition.name} was cancelled while it handled an event.") from error
    finally:
        reacting.reset(before)
        disorder = _restored(log_connection(), outside)
        for alias, connection in _others():
            disorder = _restored(connection, others.get(alias, _NOTHING_OPEN)) or disorder
            if failed and not connection.in_atomic_block:
                # It may be what the handler failed of: one that was lost must not fail all that come after it.
                connection.close_if_unusable_or_obsolete()
    if disorder:
        raise ReactionRefused(
            f"{definition.name} left a transaction open: what others do after it would be neither committed nor rolled "
            "back. Use transaction.atomic() as a context manager."
        )


def _others() -> list[tuple[str, BaseDatabaseWrapper]]:
    """Return the connections that this thread has besides that of the log."""
    log = log_connection()
    return [(each.alias, each) for each in connections.all(initialized_only=True) if each is not log]


def _restored(connection: BaseDatabaseWrapper, outside: _Transactions) -> bool:
    """Undo what is open on a connection besides what was; return whether anything was."""
    if _Transactions.of(connection) == outside:
        return False
    outside.restore(connection)
    return True


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


_NOTHING_OPEN = _Transactions(autocommit=True, in_atomic_block=False, depth=0, blocks=0)
"""On a connection that the handler was the first to use."""
