"""What is done once events are committed, and how an instance learns that its events were rolled back.

Django forgets the ``on_commit`` callbacks of a savepoint or transaction that is rolled back; a token among them
therefore tells, without a query as long as it is there, whether a write still stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from django.db import DatabaseError, transaction
from django.dispatch import Signal

from eventsourcing_app.failpoints import reach
from eventsourcing_app.signals import events_appended

if TYPE_CHECKING:
    from uuid import UUID

    from django.db.backends.base.base import BaseDatabaseWrapper

    from eventsourcing_app.log.records import StoredEvent

log_grew = Signal()
"""Sent at most once for each commit that wrote to the log, after it."""


class _Transaction:
    """What the writes of one transaction have in common."""

    __slots__ = ("_callbacks", "_read", "_tokens", "announced")

    def __init__(self) -> None:
        self.announced = False
        self._callbacks: list[Any] = []
        self._tokens: set[int] = set()
        self._read = 0

    def holds(self, token: CommitToken, callbacks: list[Any]) -> bool:
        """Whether a token is among the callbacks. Each is read once; a rollback puts another list in their place."""
        if callbacks is not self._callbacks or len(callbacks) < self._read:
            self._callbacks, self._tokens, self._read = callbacks, set(), 0
        self._tokens.update(id(entry[1]) for entry in callbacks[self._read :])
        self._read = len(callbacks)
        return id(token) in self._tokens


_current: WeakKeyDictionary[BaseDatabaseWrapper, _Transaction] = WeakKeyDictionary()


class CommitToken:
    """Stands for one write: pending until its transaction commits, gone if it is rolled back."""

    __slots__ = (
        "_connection",
        "_count",
        "_event_id",
        "_sender",
        "_transaction",
        "_types",
        "committed",
        "position",
        "undone",
    )

    def __init__(
        self,
        connection: BaseDatabaseWrapper,
        sender: type[StoredEvent],
        *,
        event_id: UUID,
        position: int,
        count: int,
        types: frozenset[str],
    ) -> None:
        self.committed = False
        self.undone = False
        """Whether it was found to be rolled back by a savepoint that Django has not undone itself."""
        self._connection, self._sender = connection, sender
        self._event_id, self.position, self._count, self._types = event_id, position, count, types
        shared = _current.get(connection)
        if shared is None or shared.announced:
            shared = _current[connection] = _Transaction()
        self._transaction = shared
        transaction.on_commit(self, using=connection.alias, robust=True)

    @property
    def stands(self) -> bool:
        """Whether the write is committed, or still can be."""
        if self.committed or self.undone:
            return not self.undone
        if self._transaction.holds(self, self._connection.run_on_commit):
            return True
        # While Django runs the callbacks of a commit, those whose turn comes later are in no list.
        try:
            return self.is_stored()
        except DatabaseError:  # a transaction that is broken, and so rolled back
            return False

    def is_stored(self) -> bool:
        """Ask the log. Django keeps the callbacks of a savepoint that is rolled back by other means than ``atomic``."""
        return self._sender.objects.using(self._connection.alias).filter(event_id=self._event_id).exists()

    def __call__(self) -> None:
        if self.undone:
            return
        self.committed = True
        reach("commit.wake")
        if not self._transaction.announced:
            self._transaction.announced = True
            log_grew.send_robust(sender=self._sender)
        events_appended.send_robust(sender=self._sender, position=self.position, count=self._count, types=self._types)
