"""Keeps the database out of a block of a test, so that what it finds out holds without one."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NoReturn
from unittest.mock import patch

from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Iterator

_WAYS_IN = ("connect", "temporary_connection", "cursor", "chunked_cursor", "make_cursor")
"""The methods of a connection that Django's ``SimpleTestCase`` closes, too, and that of prepared statements."""


@contextmanager
def database_refused(what: str) -> Iterator[None]:
    """Let this thread use no database inside the block. ``what`` says, in the error, who asked it.

    Raises ``AssertionError`` where it is asked, in tests that may use a database as in those that may not.
    """

    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        raise AssertionError(
            f"{what} asked the database, and given(…) works without one: related objects (not their ids), querysets "
            "and publish() need it. Write given(…).stored(), in a test that may use the database, and go on from "
            "there. Methods that apply events may never use it."
        )

    with ExitStack() as closed:
        for connection in connections.all():
            # A write that is refused here has reached no database: it must not break a transaction that is open.
            closed.callback(setattr, connection, "needs_rollback", connection.needs_rollback)
            for name in _WAYS_IN:
                closed.enter_context(patch.object(connection, name, refuse))
        yield
