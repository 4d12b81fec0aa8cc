"""Who acts, why, and because of what: read once by each append, and never a place for secrets.

The context lives in one ``ContextVar`` whose values are immutable all the way down, because threads, tasks and
``sync_to_async`` work on copies that share them. A new thread starts with no context; carry it there with
``contextvars.copy_context().run``. Asyncio tasks inherit a copy of the one they were made in.

Keys that name a secret and values that look like one are refused on entry: see ``denied``.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NoReturn, ParamSpec, TypeAlias, TypeVar, cast
from uuid import UUID

from asgiref.sync import iscoroutinefunction

from eventsourcing_app.denied import refused_key, refused_value
from eventsourcing_app.exceptions import MetadataRefused
from eventsourcing_app.identifiers import uuid7

if TYPE_CHECKING:
    from collections.abc import Awaitable

P = ParamSpec("P")
R = TypeVar("R")
JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
"""A plain JSON value."""
Actor: TypeAlias = "str | Callable[[], str]"
"""The actor's name, or a function that tells it when something is appended."""

MAX_ACTOR: Final = 150
MAX_CORRELATION_ID: Final = 128
MAX_METADATA_BYTES: Final = 16 * 1024
"""Largest metadata as JSON, all nested contexts together."""
DEPTH: Final = "causation_depth"
"""The key of the metadata that says how long the chain of events is that subscribers caused."""
MAX_METADATA_DEPTH: Final = 8
"""Deepest nesting of metadata; the mapping of the keywords themselves is the first level."""


@dataclass(frozen=True, kw_only=True, slots=True, weakref_slot=True)
class Context:
    """What an append stores besides the events. Outside any ``with context(…)`` every field is empty."""

    actor: Actor = ""
    correlation_id: str = ""
    causation_id: UUID | None = None
    more: Mapping[str, JSON] = field(default_factory=lambda: MappingProxyType({}))
    """Frozen to its leaves: arrays are tuples here and objects read-only mappings. ``metadata`` has them plain."""
    _flat: bool = field(default=True, repr=False, compare=False)
    # Weak, or tasks that each start the next from inside a context would keep all their ancestors alive.
    _outer: Callable[[], Context | None] = field(default=lambda: None, repr=False, compare=False)

    @property
    def metadata(self) -> dict[str, JSON]:
        """``more`` as plain JSON (``dict``, ``list``, …): a new copy each time, the caller's own."""
        return dict(self.more) if self._flat else {key: _plain(value) for key, value in self.more.items()}

    def resolve_actor(self) -> str:
        """The actor now, ``""`` if there is none. A function is asked each time; what it raises is passed on."""
        actor = self.actor
        return actor if isinstance(actor, str) else _name("actor", actor(), MAX_ACTOR)


_current: ContextVar[Context] = ContextVar("eventsourcing_app.context", default=Context())  # noqa: B039 - immutable


def current() -> Context:
    """The context of the running code."""
    return _current.get()


class context:  # noqa: N801 - used like a function, as contextlib.suppress
    """Say who acts and why: ``with context(actor="user:42", reason="audit"):``, or the same as a decorator.

    Inside another context, what is given here wins and the rest is inherited; ``more`` is merged key by key. Without a
    correlation id, given or inherited, each entry makes a fresh one. One object may be entered many times, also within
    itself and in several threads or tasks at once. As a decorator it covers functions and coroutine functions.

    Raises ``MetadataRefused`` on entry for what cannot be stored (not plain JSON, too long) or must not be (secrets).
    """

    def __init__(
        self,
        *,
        actor: Actor | None = None,
        correlation_id: str | None = None,
        causation_id: UUID | None = None,
        **more: JSON,
    ) -> None:
        self._actor, self._correlation_id, self._causation_id = actor, correlation_id, causation_id
        self._more = more
        self._open: dict[int, tuple[Context, Context]] = {}

    def __enter__(self) -> Context:
        outer = _current.get()
        entered = self._within(outer)
        self._open[id(entered)] = (entered, outer)
        _current.set(entered)
        return entered

    def __exit__(self, *exception: object) -> None:
        # A suspended generator may have left its context on top of ours, or outlive the one it was opened in. So we
        # look for our own entry from the top down, and leave everything as it is where it has been unwound already.
        entry: Context | None = _current.get()
        while entry is not None:
            if opened := self._open.pop(id(entry), None):
                _current.set(opened[1])
                return
            entry = entry._outer()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        if inspect.isclass(function) or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"context(…) cannot decorate {function!r}: the context would end before its body runs. "
                "Decorate a function or a coroutine function, or write `with context(…):` inside."
            )
        if iscoroutinefunction(function):

            @wraps(function)
            async def covered_coroutine(*args: P.args, **kwargs: P.kwargs) -> object:
                with self:
                    return await cast("Awaitable[object]", function(*args, **kwargs))

            return cast("Callable[P, R]", covered_coroutine)

        @wraps(function)
        def covered(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        return covered

    def _within(self, outer: Context) -> Context:
        more, flat = outer.more, outer._flat
        if self._more:
            given = _frozen_items(self._more.items(), "", 1)
            more = MappingProxyType({**more, **given})
            flat = not any(isinstance(value, (tuple, MappingProxyType)) for value in more.values())
        entered = Context(
            actor=outer.actor if self._actor is None else _checked_actor(self._actor),
            correlation_id=self._correlation(outer),
            causation_id=outer.causation_id if self._causation_id is None else _checked_causation(self._causation_id),
            more=more,
            _flat=flat,
            _outer=weakref.ref(outer),
        )
        if self._more and len(json.dumps(entered.metadata, ensure_ascii=False).encode()) > MAX_METADATA_BYTES:
            _refuse(
                "metadata", f"is larger than {MAX_METADATA_BYTES} bytes as JSON. Store the data and name its key here."
            )
        return entered

    def _correlation(self, outer: Context) -> str:
        if self._correlation_id is None:
            return outer.correlation_id or str(uuid7())
        if self._correlation_id == "":
            _refuse("correlation_id", "is empty. Leave it out to inherit one or to get a fresh one.")
        return _name("correlation_id", self._correlation_id, MAX_CORRELATION_ID)


@contextmanager
def caused(*, actor: str, correlation_id: str, causation_id: UUID | None, depth: int) -> Iterator[None]:
    """Be in the context of a handler, which takes nothing over from outside. What it says comes from the log, and was
    checked on its way there.
    """
    before = _current.set(
        Context(
            actor=actor,
            correlation_id=correlation_id or str(uuid7()),
            causation_id=causation_id,
            more=MappingProxyType({DEPTH: depth}),
        )
    )
    try:
        yield
    finally:
        _current.reset(before)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reaction:
    """The handler that is running, and the event that it handles."""

    subscription: str
    event_id: UUID
    kind: Literal["projection", "subscriber", "batch"]
    depth: int = 1
    """How many events stand before what it writes in a chain of those that subscribers caused."""
    # Shared by the copies of threads and tasks on purpose: within one run no ordinal may be given twice.
    _ordinals: dict[tuple[str, str], Iterator[int]] = field(
        default_factory=lambda: defaultdict(lambda: count(1)), repr=False, compare=False
    )

    def next_ordinal(self, operation: str, stream_key: str) -> int:
        """1, 2, …: the place of a command among those of its kind that this run of the handler gives to one stream."""
        return next(self._ordinals[operation, stream_key])


reacting: ContextVar[Reaction | None] = ContextVar("eventsourcing_app.reacting", default=None)
"""Set by the drain loop while a handler runs."""


def _refuse(path: str, why: str) -> NoReturn:
    raise MetadataRefused(path, why)


# What can be stored

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_LARGEST_INTEGER = 2**53 - 1


def _name(path: str, value: object, limit: int) -> str:
    if not isinstance(value, str):
        _refuse(path, f"is {type(value).__name__}, not text. Pass text such as 'user:42'.")
    return _text(path, value, limit, _CONTROL)


def _text(path: str, value: str, limit: int, unwanted: re.Pattern[str]) -> str:
    if len(value) > limit:
        _refuse(path, f"is longer than {limit} characters. Store the text elsewhere and pass its key.")
    if match := unwanted.search(value):
        _refuse(path, f"contains {match[0]!a}, a character that must not be stored here. Remove it.")
    if why := refused_value(value):
        _refuse(path, why)
    return str.__str__(value)  # of a subclass, such as an enum's member, only the text


def _checked_actor(actor: object) -> Actor:
    if not callable(actor):
        return _name("actor", actor, MAX_ACTOR)
    if inspect.isclass(actor) or iscoroutinefunction(actor):
        _refuse("actor", "is a class or a coroutine function. Pass text, or a plain function that returns text.")
    return cast("Callable[[], str]", actor)


def _checked_causation(value: object) -> UUID:
    if not isinstance(value, UUID):
        _refuse("causation_id", f"is {type(value).__name__}, not a UUID. Pass the causing event's event_id.")
    return value


def _frozen_items(items: Iterable[tuple[object, object]], path: str, depth: int) -> dict[str, JSON]:
    frozen: dict[str, JSON] = {}
    for key, value in items:
        if not isinstance(key, str) or _UNSTORABLE.search(key):
            _refuse(path or "more", f"has the key {key!a}. Keys are text without NUL and lone surrogates.")
        here = f"{path}.{key}" if path else key
        if why := refused_key(key):
            _refuse(here, why)
        frozen[str.__str__(key)] = _frozen(value, here, depth + 1)
    return frozen


def _frozen(value: object, path: str, depth: int) -> JSON:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(path, value, MAX_METADATA_BYTES, _UNSTORABLE)
    if isinstance(value, int):
        if abs(value) > _LARGEST_INTEGER:
            _refuse(path, "is beyond ±(2^53-1), where JSON readers round. Pass it as text.")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            _refuse(path, "is not a finite number. Leave it out or pass None.")
        return float(value)
    if not isinstance(value, (dict, MappingProxyType, list, tuple)):
        _refuse(path, f"is {type(value).__name__}, not plain JSON. Pass text, for example str(value).")
    if depth > MAX_METADATA_DEPTH:
        _refuse(path, f"is nested deeper than {MAX_METADATA_DEPTH} levels. Pass something flatter.")
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value))
    return MappingProxyType(_frozen_items(value.items(), path, depth))


def _plain(value: JSON) -> JSON:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, MappingProxyType):
        return {key: _plain(item) for key, item in value.items()}
    return value
