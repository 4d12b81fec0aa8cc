"""Replay: while a projection is rebuilt, its handlers read and write shadow tables in place of its own.

The statements are rewritten on their way to the database: the quoted name of a table of the projection becomes that of
its shadow. What would reach further is refused: a write to any other table, a table named without quotes, another
database, what goes past Django's ``execute()``. So nothing that serves changes, and nothing happens outside; except by
another thread.
"""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from django.db import connections

from eventsourcing_app.conf import conf
from eventsourcing_app.context import reacting
from eventsourcing_app.exceptions import RebuildFailed
from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.log.records import SettledPosition
from eventsourcing_app.subscriptions.records import ParkedEvent, Segment, Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_LONGEST: Final = 63
"""Bytes of a name in PostgreSQL."""
_SUFFIX: Final = "~rebuild"
# What a statement consists of, as far as names matter: text, quoted names, comments, and words.
_TOKENS = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|[A-Za-z_][A-Za-z_0-9$]*""", re.DOTALL)
_TEXT_OR_COMMENT = re.compile(r"""'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/""", re.DOTALL)
_WRITES = re.compile(
    r"""(?<!FOR\s)(?<!KEY\s)(?<!DO\s)\b(?:INSERT\s+INTO|REPLACE\s+INTO|UPDATE|DELETE\s+FROM|MERGE\s+INTO|COPY)\s+"""
    r"""(?:OR\s+\w+\s+(?:INTO\s+)?)?(?:ONLY\s+)?("(?:[^"]|"")*"|[\w.]+)""",
    re.IGNORECASE,
)
# `("name", "name")`: after the table of an INSERT, or after ON CONFLICT, these are columns.
_COLUMNS = re.compile(r"""\(\s*"(?:[^"]|"")*"(?:\s*,\s*"(?:[^"]|"")*")*\s*\)""")
_SCHEMAS = frozenset({"public", "main", "temp"})
_BYPASSES = ("copy", "copy_expert", "copy_from", "copy_to", "executescript", "stream")
"""What cursors of drivers offer besides ``execute``, which no wrapper sees."""
_DEFINES = re.compile(r"^\s*(?:CREATE|ALTER|DROP|TRUNCATE|GRANT|REVOKE|CALL|DO)\b", re.IGNORECASE)


class ReplayRefused(BaseException):
    """A handler did in a replay what it may not. No fault of its event: it ends the rebuild, past all ``except``."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def shadow_of(table: str) -> str:
    """Return the name of a table's shadow."""
    if len(table.encode()) + len(_SUFFIX) <= _LONGEST:
        return f"{table}{_SUFFIX}"
    return f"{table[:36]}~{sha256(table.encode()).hexdigest()[:12]}{_SUFFIX}"


@contextmanager
def replaying(name: str, tables: Sequence[str], *, in_place: bool = False) -> Iterator[None]:
    """Let the block's handlers work on the shadows of these tables, on this thread's connections.

    With ``in_place`` each table is its own shadow: handlers are only kept from reaching further.
    """
    rewrite = _rewriter(name, tuple(tables), in_place=in_place)

    def on_log(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        return execute(rewrite(_text_of(sql, context)), params, many, context)

    def elsewhere(*_statement: Any) -> Any:
        raise ReplayRefused(f"{name} turned to another database than the log's while it was rebuilt.")

    with ExitStack() as stack:
        for alias in connections:
            wrapper = on_log if alias == conf.DATABASE else elsewhere
            stack.enter_context(connections[alias].execute_wrapper(wrapper))
            stack.enter_context(_without_side_doors(connections[alias], name))
        yield


@contextmanager
def _without_side_doors(connection: Any, name: str) -> Iterator[None]:
    """Refuse what writes past the wrapper, and let nothing happen on a commit that a handler has asked for."""

    def refuse(*_arguments: Any, **_options: Any) -> Any:
        raise ReplayRefused(
            f"{name} writes past Django's execute(), such as by COPY: a rebuild would change what serves."
        )

    def guarded(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def make_guarded(cursor: Any) -> Any:
            made = make(cursor)
            for bypass in _BYPASSES:
                setattr(made, bypass, refuse)
            return made

        return make_guarded

    def on_commit(function: Callable[[], object], robust: bool = False) -> None:
        if reacting.get() is None:
            type(connection).on_commit(connection, function, robust)

    own = {
        "make_cursor": guarded(connection.make_cursor),
        "make_debug_cursor": guarded(connection.make_debug_cursor),
        "on_commit": on_commit,
    }
    vars(connection).update(own)
    try:
        yield
    finally:
        for attribute in own:
            vars(connection).pop(attribute, None)


def _text_of(sql: Any, context: dict[str, Any]) -> str:
    """Return a statement as text, as the driver would have it: it also takes bytes, and what was composed of parts."""
    if isinstance(sql, bytes):
        return sql.decode()
    if isinstance(sql, str):
        return sql
    text: str = sql.as_string(context["connection"].connection)
    return text


def _rewriter(name: str, tables: tuple[str, ...], *, in_place: bool) -> Callable[[str], str]:
    quote = log_connection().ops.quote_name
    shadows = {quote(table): quote(table if in_place else shadow_of(table)) for table in tables}
    unquoted = {table.lower() for table in tables}
    kept = {quote(model._meta.db_table) for model in (Subscription, Segment, ParkedEvent, SettledPosition)}
    allowed = kept | set(shadows.values())

    def of_token(match: re.Match[str], columns: Sequence[tuple[int, int]]) -> str:
        token = match[0]
        if token in shadows and _is_column(match, columns):
            return token
        if token.lower() in unquoted and not in_place:
            raise ReplayRefused(
                f"{name} names the table {token} without quotes, in SQL of its own: write it with double quotes, as "
                "Django does, so that a rebuild can put its shadow in its place."
            )
        return shadows.get(token, token)

    @lru_cache(maxsize=1024)
    def rewrite(sql: str) -> str:
        columns = [found.span() for found in _COLUMNS.finditer(sql)]
        rewritten = _TOKENS.sub(lambda match: of_token(match, columns), sql)
        plain = _TEXT_OR_COMMENT.sub("''", rewritten)
        if _DEFINES.match(plain):
            raise ReplayRefused(f"{name} changes tables themselves: {sql:.80}")
        for written in _WRITES.findall(plain):
            if written not in allowed and not (in_place and written.lower() in unquoted):
                raise ReplayRefused(
                    f"{name} writes to {written}, which is not among its `models`: a rebuild would change what serves. "
                    "Add its model to them, or do it in a subscriber."
                )
        return rewritten

    return rewrite


def _is_column(match: re.Match[str], columns: Sequence[tuple[int, int]]) -> bool:
    """Whether a quoted name that a table has is that of a column here: after a dot, before ``=``, or in a list of them.

    After the name of a schema it is that of the table.
    """
    sql, (start, end) = match.string, match.span()
    before, after = sql[:start].rstrip(), sql[end:].lstrip()
    if before.endswith("."):
        qualifier = re.search(r'("(?:[^"]|"")*"|[\w$]+)\s*\.$', before)
        return qualifier is None or qualifier[1].strip('"').lower() not in _SCHEMAS
    return after.startswith("=") or any(first < start < last for first, last in columns)


def refusal(error: ReplayRefused) -> RebuildFailed:
    """Return the error that ends the rebuild."""
    return RebuildFailed(error.why)
