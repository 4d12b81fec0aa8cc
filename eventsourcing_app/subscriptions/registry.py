"""What this process reacts to: ``Definition``, and the registry of subscriptions by name.

A name is the key of a durable checkpoint, so it is given explicitly and never changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from django.core.exceptions import ImproperlyConfigured

from eventsourcing_app.events import topics
from eventsourcing_app.events.registry import registry as events
from eventsourcing_app.log.names import renamed
from eventsourcing_app.subscriptions.rates import Rate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Start = Literal["beginning", "now"] | int
OnFailure = Literal["park", "halt"]

_MAX_NAME = 120
_MAX_SEGMENTS = 1024
_MOST, _LAST_POSITION = 2**31 - 1, 2**63 - 1
"""As much as columns hold."""


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A subscription as the code defines it. Raises ``ImproperlyConfigured`` for one that cannot be."""

    name: str
    kind: Literal["projection", "subscriber", "rebuild"]
    place: str
    """Where it is defined, as text."""
    handlers: Mapping[type | str, tuple[Callable[..., Any], ...]] = field(repr=False)
    """For each event class or pattern of topics, what is called with the event and its ``RecordedEvent``."""
    transactional: bool
    """Whether handlers run in the transaction that moves the checkpoint: exactly once, in this database only."""
    start: Start = "beginning"
    """Where a subscription begins that the database does not know yet."""
    segments: int = 1
    """Into how many shares it is divided that workers handle in parallel; fixed once the database knows it."""
    rate: str = ""
    """How many events it may handle in a time, such as ``"50/s"``; empty: as many as come."""
    burst: int | None = None
    on_failure: OnFailure = "park"
    """What becomes of an event that fails: it is parked with its stream, or the whole subscription stops at it."""
    max_attempts: int | None = None
    """How often an event is tried; ``None``: as the setting ``MAX_ATTEMPTS`` says."""
    batch: int = 0
    """0: a handler gets one event at a time. Else a list of ``(event, recorded)``, this long at most."""
    handler: str = ""
    """Path of its handler, if it was subscribed at run time."""
    _matching: dict[str, tuple[Callable[..., Any], ...]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        where = f"Subscription {self.name!r} ({self.place})"
        for wrong, why in self._rules():
            if wrong:
                raise ImproperlyConfigured(f"{where} {why}")
        if self.rate:
            Rate.parse(self.rate, self.burst)
        for what in self.handlers:
            if isinstance(what, str):
                topics.check_pattern(what)

    def _rules(self) -> tuple[tuple[bool, str], ...]:
        start, most = self.start, self.max_attempts
        longest = _MAX_NAME if self.kind != "rebuild" else 2 * _MAX_NAME
        named = bool(self.name) and len(self.name) <= longest and self.name.isprintable()
        return (
            (not named, f"needs a name of 1 to {_MAX_NAME} printable characters."),
            (not self.handlers, "names no event to react to."),
            (
                start not in ("beginning", "now") and not _is_whole(start, 0, _LAST_POSITION),
                f"starts at {start!r}: it may be 'beginning', 'now' or a position.",
            ),
            (
                not _is_whole(self.segments, 1) or self.segments > _MAX_SEGMENTS,
                f"has {self.segments!r} segments: it may have 1 to {_MAX_SEGMENTS}.",
            ),
            (self.on_failure not in ("park", "halt"), f"has on_failure={self.on_failure!r}: it is 'park' or 'halt'."),
            (
                self.on_failure == "halt" and self.segments != 1,
                (
                    f"halts on failure, to keep the order across streams, but has {self.segments} segments, which go "
                    "on without one another. Give it one segment, or on_failure='park'."
                ),
            ),
            (
                most is not None and not _is_whole(most, 1, _MOST),
                f"has max_attempts={most!r}: it is 1 or more, up to {_MOST}.",
            ),
            (
                not _is_whole(self.batch, 0, _MOST),
                f"has batch={self.batch!r}: it is the longest list that its handler takes, up to {_MOST}.",
            ),
            (
                self.burst is not None and _is_whole(self.burst, _MOST + 1),
                f"has burst={self.burst!r}: it is {_MOST} at most.",
            ),
            (self.burst is not None and not self.rate, "has a burst, but no rate."),
        )

    @cached_property
    def types(self) -> frozenset[str]:
        """The wire names it reacts to, older names included, and its patterns."""
        named = (events.names_of(what) if isinstance(what, type) else (what,) for what in self.handlers)
        return frozenset(name for names in named for name in names)

    @property
    def has_patterns(self) -> bool:
        """Whether it reacts to patterns of topics."""
        return any(isinstance(what, str) for what in self.handlers)

    @cached_property
    def fingerprint(self) -> str:
        """Tells this definition from another of the same name: by its events, and by the streams that were renamed.

        Code that does not know a stream's older name would take it for another, in another segment. If it was made at
        run time, also by how it is handled, so that workers which run notice a new handler.
        """
        how = (self.handler, self.transactional, self.on_failure, self.max_attempts, self.batch) if self.handler else ()
        aliases = sorted(" ".join(names) for names in renamed())
        return sha256("\n".join((self.name, *sorted(self.types), *aliases, *map(str, how))).encode()).hexdigest()

    def handlers_of(self, type_: str) -> tuple[Callable[..., Any], ...]:
        """Return what is called for events of this wire name; empty if it does not react to them."""
        found = self._matching.get(type_)
        if found is None:
            # A pattern names an event by any of its names: by that of today it is known to who writes the pattern.
            declaration = None if type_ in events.ambiguous else events.find(type_)
            names = (type_,) if declaration is None else declaration.names
            each: dict[Callable[..., Any], None] = {}
            for what, handlers in self.handlers.items():
                if isinstance(what, str):
                    wanted = any(topics.matches(what, name) for name in names)
                else:
                    wanted = type_ in events.names_of(what)
                if wanted:
                    each.update(dict.fromkeys(handlers))
            found = self._matching[type_] = tuple(each)
        return found


def _is_whole(value: object, least: int, most: int | None = None) -> bool:
    return type(value) is int and value >= least and (most is None or value <= most)


class Registry:
    """The subscriptions of this process."""

    def __init__(self) -> None:
        self._by_name: dict[str, Definition] = {}

    def add(self, definition: Definition) -> None:
        """Register; the same place again replaces, since its module was loaded again.

        Raises ``ImproperlyConfigured`` if the name is taken: two subscriptions would move one checkpoint.
        """
        name = definition.name
        taken = self._by_name.get(name)
        if taken is not None and taken.place != definition.place:
            raise ImproperlyConfigured(
                f"Subscription {name!r} is defined by {taken.place} and by {definition.place}: two would move one "
                "checkpoint. Give each a name of its own."
            )
        self._by_name[name] = definition

    def remove(self, name: str) -> None:
        """Forget a subscription in this process; its row in the database stays."""
        self._by_name.pop(name, None)

    def get(self, name: str) -> Definition | None:
        """Return the subscription with this name, if this code defines it."""
        return self._by_name.get(name)

    def all(self) -> tuple[Definition, ...]:
        """Return every subscription, in order of its name."""
        return tuple(self._by_name[name] for name in sorted(self._by_name))


registry = Registry()
"""The one registry of this process."""
