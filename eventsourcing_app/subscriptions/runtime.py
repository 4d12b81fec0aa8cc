"""What a program says at run time: ``subscribe`` and ``unsubscribe``, for every worker, and ``wait_for``.

The handler is a function of a module, stored by its path: each worker imports it. These words can be imported before
models can be; what needs the database is looked up when they are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from eventsourcing_app.aggregates.declare import require_plain
from eventsourcing_app.events.registry import registry as events
from eventsourcing_app.exceptions import OperationRefused
from eventsourcing_app.subscriptions.declare import checked_topics
from eventsourcing_app.subscriptions.registry import Definition, registry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from eventsourcing_app.subscriptions.registry import OnFailure, Start

OPTIONS = ("transactional", "start", "segments", "rate", "burst", "on_failure", "max_attempts", "batch")
"""What is stored of how a subscription was made, besides its events and its handler."""
_DEFAULTS = (False, "beginning", 1, "", None, "park", None, 0)
_MAX_PATH = 250


def subscribe(
    name: str,
    what: type | str | Sequence[type | str] = (),
    handler: Callable[..., object] | str | None = None,
    *,
    rate: str = "",
    burst: int | None = None,
    segments: int = 1,
    start: Start = "beginning",
    on_failure: OnFailure = "park",
    max_attempts: int | None = None,
    batch: int = 0,
    transactional: bool = False,
    reason: str = "",
) -> None:
    """Subscribe a function to events, on every worker; the arguments are those of ``@subscriber``.

    It begins with the first event of the log, as those do, unless ``start`` says otherwise.

    ``handler`` is a function of a module, or its dotted path. A name that was unsubscribed goes on where it was, if its
    checkpoint was kept; so does one that the code declares, for which nothing but the name is given. The same call
    again changes nothing; with other events, handler or options it replaces them, but the number of segments and the
    checkpoint stay.

    Raises ``ImproperlyConfigured`` for what cannot be, ``TypeError`` for events or options without a handler,
    ``OperationRefused`` for a name that is the code's own, ``NoSuchSubscription`` if nothing but an unknown name is
    given.
    """
    declared = registry.get(name)
    given = (transactional, start, segments, rate, burst, on_failure, max_attempts, batch)
    says_how = bool(what or handler) or given != _DEFAULTS
    if declared is not None and says_how:
        raise OperationRefused(
            f"{name!r} is declared by {declared.place}: its events, handler and options are the code's. Call "
            f"subscribe({name!r}) to go on with it, or choose another name."
        )
    if declared is None and handler is None:
        if says_how:
            raise TypeError(f"subscribe({name!r}) was given events or options, but no handler for them.")
        _stored("go_on")(name, reason)
        return
    if declared is None and handler is not None:
        topics = checked_topics(tuple(what) if isinstance(what, (tuple, list)) else (what,))  # type: ignore[arg-type]
        names = [each if isinstance(each, str) else events.names_of(each)[0] for each in topics]
        declared = defined(name, path_of(handler), names, dict(zip(OPTIONS, given, strict=True)))
    _stored("start")(declared, reason)


def unsubscribe(name: str, *, keep_checkpoint: bool = True, reason: str = "") -> None:
    """Stop a subscription until it is subscribed again, also if the code declares it.

    With ``keep_checkpoint`` it then goes on with what it has missed; without, it begins as its ``start`` says, and its
    parked events are forgotten. Raises ``NoSuchSubscription``.
    """
    _stored("stop")(name, keep_checkpoint=keep_checkpoint, reason=reason)


def wait_for(position: int, *, subscription: str | Collection[str] | None = None, timeout: float = 5.0) -> None:
    """Wait until subscriptions have reached a position of the log: those named, or all active projections of this code.

    A subscription has reached it when it has handled, or parked, all that it reacts to at or below it. ``position`` is
    what commands return and ``save()`` leaves on the instance. Not inside the transaction that wrote it: nobody else
    can see that event yet.

    Raises ``NotCaughtUp`` after ``timeout`` seconds, or at once for one that is paused, halted, stopped or unknown.
    """
    import_string("eventsourcing_app.subscriptions.waiting.wait")(position, subscription, timeout)


def defined(name: str, path: str, topics: Sequence[str], options: Mapping[str, Any]) -> Definition:
    """Define a subscription whose handler is at ``path``; raises whatever importing it raises."""
    function = import_string(path)
    require_plain(function)
    return Definition(
        name=name,
        kind="subscriber",
        place=path,
        handlers=dict.fromkeys(topics, (function,)),
        handler=path,
        **options,
    )


def path_of(handler: Callable[..., object] | str) -> str:
    """Return the dotted path of a function of a module; ``ImproperlyConfigured`` if nobody else could find it."""
    if isinstance(handler, str):
        path = handler
    elif hasattr(handler, "__qualname__"):
        path = f"{handler.__module__}.{handler.__qualname__}"
    else:
        raise ImproperlyConfigured(f"{handler!r} has no path by which workers would find it: subscribe a function.")
    if len(path) > _MAX_PATH:
        raise ImproperlyConfigured(f"The path of a handler has {_MAX_PATH} characters at most: {path[:60]!r}…")
    try:
        found = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(
            f"{path!r} cannot be imported, so no worker would find it: subscribe a function of a module."
        ) from error
    if not callable(found) or (found is not handler and not isinstance(handler, str)):
        raise ImproperlyConfigured(f"{path!r} is not this function: subscribe a function of a module.")
    return path


def _stored(act: str) -> Callable[..., None]:
    found: Callable[..., None] = import_string(f"eventsourcing_app.subscriptions.subscribed.{act}")
    return found
