"""Who reacts to what: ``@subscriber``, ``@handles``, and the registry of subscriptions by name.

A name is the key of a durable checkpoint, so it is given explicitly and never changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from django.core.exceptions import ImproperlyConfigured

from eventsourcing_app.aggregates.declare import require_plain
from eventsourcing_app.events.declare import declaration_of
from eventsourcing_app.events.registry import registry as events

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eventsourcing_app.log.recorded import RecordedEvent

Start = Literal["beginning", "now"] | int
F = TypeVar("F", bound="Callable[[Any, RecordedEvent], object]")
M = TypeVar("M", bound="Callable[[Any, Any, RecordedEvent], object]")

_MAX_NAME = 120


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A subscription as the code defines it."""

    name: str
    kind: Literal["projection", "subscriber"]
    place: str
    """Where it is defined, as text."""
    handlers: Mapping[type, tuple[Callable[..., Any], ...]] = field(repr=False)
    """For each event class, what is called with the event and its ``RecordedEvent``."""
    transactional: bool
    """Whether handlers run in the transaction that moves the checkpoint: exactly once, in this database only."""
    start: Start = "beginning"
    """Where a subscription begins that the database does not know yet."""

    @property
    def types(self) -> frozenset[str]:
        """The wire names it reacts to, older names included."""
        return frozenset(name for cls in self.handlers for name in events.names_of(cls))

    @property
    def fingerprint(self) -> str:
        """Tells this definition from another of the same name."""
        return sha256("\n".join((self.name, *sorted(self.types))).encode()).hexdigest()


class Registry:
    """The subscriptions of this process."""

    def __init__(self) -> None:
        self._by_name: dict[str, Definition] = {}

    def add(self, definition: Definition) -> None:
        """Register; the same place again replaces, since its module was loaded again.

        Raises ``ImproperlyConfigured`` if the name is taken: two subscriptions would move one checkpoint.
        """
        name = definition.name
        if not name or len(name) > _MAX_NAME or not name.isprintable():
            raise ImproperlyConfigured(f"A subscription needs a name of 1 to {_MAX_NAME} characters, not {name!r}.")
        if not definition.handlers:
            raise ImproperlyConfigured(f"Subscription {name!r} ({definition.place}) names no event to react to.")
        start = definition.start
        if start not in ("beginning", "now") and (type(start) is not int or start < 0):
            raise ImproperlyConfigured(
                f"Subscription {name!r} ({definition.place}) starts at {start!r}: it may be 'beginning', 'now' or a "
                "position."
            )
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


def subscriber(name: str, *what: type, start: Start = "beginning", transactional: bool = False) -> Callable[[F], F]:
    """Subscribe a function to event classes: ``def alert(event, recorded)``, called after the commit, at least once.

    It runs outside any transaction, in the order of each stream, and is never called by a rebuild. Commands that it
    runs by ``perform`` or ``publish`` are not repeated if it is. With ``transactional=True`` it runs in the transaction
    that moves the checkpoint instead: exactly once, and it may write only to this database and not append.

    ``start`` says where it begins when the database sees it first: ``"beginning"``, ``"now"``, or after a position.
    """

    def register(function: F) -> F:
        require_plain(function)
        for cls in what:
            declaration_of(cls)
        registry.add(
            Definition(
                name=name,
                kind="subscriber",
                place=f"{function.__module__}.{function.__qualname__}",
                handlers=dict.fromkeys(what, (function,)),
                transactional=transactional,
                start=start,
            )
        )
        return function

    return register


def handles(*what: type) -> Callable[[M], M]:
    """Mark the method of a ``Projection`` that is called with events of these classes."""
    for cls in what:
        declaration_of(cls)

    def mark(method: M) -> M:
        require_plain(method)
        method.__handles__ = what  # type: ignore[attr-defined]
        return method

    return mark
