"""``@subscriber`` and ``@handles``: what a project writes to react to events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.core.exceptions import ImproperlyConfigured

from eventsourcing_app.aggregates.declare import require_plain
from eventsourcing_app.events import topics
from eventsourcing_app.events.declare import declaration_of
from eventsourcing_app.subscriptions.registry import Definition, registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventsourcing_app.subscriptions.registry import OnFailure, Start

F = TypeVar("F", bound="Callable[..., object]")


def subscriber(
    name: str,
    *what: type | str,
    rate: str = "",
    burst: int | None = None,
    segments: int = 1,
    start: Start = "beginning",
    on_failure: OnFailure = "park",
    max_attempts: int | None = None,
    batch: int = 0,
    transactional: bool = False,
) -> Callable[[F], F]:
    """Subscribe a function to event classes and patterns of topics (``"bank.*"``, ``"bank.#"``).

    ``def alert(event, recorded)`` is called after the commit, at least once, outside any transaction, in the order of
    each stream, and never by a rebuild. Commands that it runs by ``perform`` or ``publish`` are not repeated if it is.

    - ``rate``: how many events at most in a time (``"50/s"``, ``"100/m"``), over all workers; ``burst`` at once.
    - ``segments``: into how many shares, by stream, it is divided for workers in parallel; fixed from its first day.
    - ``start``: where it begins when the database sees it first: ``"beginning"``, ``"now"``, or after a position.
    - ``on_failure``: ``"park"`` sets the failing event and the later ones of its stream aside; ``"halt"`` stops the
      whole subscription at it, for order across streams.
    - ``max_attempts``: how often an event is tried; the setting ``MAX_ATTEMPTS`` if left out.
    - ``batch``: the handler gets one argument, a list of ``(event, recorded)`` this long at most.
    - ``transactional``: it runs in the transaction that moves the checkpoint: exactly once, and it may write only to
      this database and not append.

    Raises ``ImproperlyConfigured`` for what cannot be.
    """

    def register(function: F) -> F:
        require_plain(function)
        registry.add(
            Definition(
                name=name,
                kind="subscriber",
                place=f"{function.__module__}.{function.__qualname__}",
                handlers=dict.fromkeys(checked_topics(what), (function,)),
                transactional=transactional,
                start=start,
                segments=segments,
                rate=rate,
                burst=burst,
                on_failure=on_failure,
                max_attempts=max_attempts,
                batch=batch,
            )
        )
        return function

    return register


def handles(*what: type | str) -> Callable[[F], F]:
    """Mark the method of a ``Projection`` that is called with events of these classes or topics."""
    if not checked_topics(what):
        raise ImproperlyConfigured("@handles() names no event: write @handles(EventClass).")

    def mark(method: F) -> F:
        require_plain(method)
        method.__handles__ = (*getattr(method, "__handles__", ()), *what)  # type: ignore[attr-defined]
        return method

    return mark


def checked_topics(what: tuple[type | str, ...]) -> tuple[Any, ...]:
    """Return ``what`` if each is a declared event or a pattern; ``TypeError`` or ``ImproperlyConfigured`` if not."""
    for each in what:
        if isinstance(each, str):
            topics.check_pattern(each)
        else:
            declaration_of(each)
    return what
