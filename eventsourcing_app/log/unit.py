"""A unit: the writes of one transaction that a flow makes of it, and what they have in common.

They share one recorded time, so that no past moment shows half of them, and if their flow has an idempotency key, they
can be repeated without keys of their own.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from eventsourcing_app.log.connection import log_connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from django.db.backends.base.base import BaseDatabaseWrapper

    from eventsourcing_app.log.commits import CommitToken


class Unit:
    """See the module."""

    __slots__ = ("_doubtful", "connection", "moment", "over", "repeatable", "writes")

    def __init__(self, connection: BaseDatabaseWrapper, *, repeatable: bool) -> None:
        self.connection, self.repeatable = connection, repeatable
        self.moment: datetime | None = None
        """The recorded time of what was written last; ``None`` before that."""
        self.writes: list[CommitToken] = []
        self.over = False
        self._doubtful = False

    def watch(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, facts: dict[str, Any]) -> Any:
        """Notice that a savepoint is rolled back, by whatever code; a wrapper of Django for its statements."""
        if "rollback" in str(sql).lower():  # one too many costs a query
            self._doubtful = True
        return execute(sql, params, many, facts)

    def find_undone(self) -> bool:
        """Note which writes were rolled back since, and return whether the last one was.

        After a rollback it asks the log, since Django does not know what a savepoint took with it that it has not
        undone itself. To be called before each further write, and at the end: these are always the last writes. It asks
        only then: to look at the log is what a serializable transaction can fail for.
        """
        if self._doubtful:
            for write in reversed(self.writes):
                if not write.undone:
                    if write.is_stored():
                        break
                    write.undone = True
            self._doubtful = False
        return bool(self.writes) and self.writes[-1].undone

    def position(self, *, since: int = 0) -> int | None:
        """Return the position of the last event that stands, of the writes from number ``since`` on."""
        return next((write.position for write in reversed(self.writes[since:]) if write.stands), None)


_unit: ContextVar[Unit | None] = ContextVar("eventsourcing_app.unit", default=None)


def unit_of_writes() -> Unit | None:
    """Return the unit that a write of the running code belongs to, if any.

    The context may have been copied, into another thread or for later: what is written on another connection, or after
    the unit has ended, is in another transaction.
    """
    unit = _unit.get()
    if unit is None or unit.over or unit.connection is not log_connection():
        return None
    return unit


@contextmanager
def one_unit(*, repeatable: bool) -> Iterator[Unit]:
    """Make one unit of all that the block writes; within another unit it is a part of that.

    To be entered inside the transaction and left before it is committed, so that what the commit sets off is outside.
    """
    outer = unit_of_writes()
    if outer is not None:
        yield outer
        return
    unit = Unit(log_connection(), repeatable=repeatable)
    before = _unit.set(unit)
    try:
        with unit.connection.execute_wrapper(unit.watch):
            yield unit
    finally:
        unit.over = True
        _unit.reset(before)
