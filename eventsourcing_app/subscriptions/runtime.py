"""Subscribing at run time: ``subscribe`` and ``unsubscribe``, stored in the database, for every worker.

The handler is a function of a module, stored by its path: each worker imports it. One that cannot be imported halts its
own subscription and no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.utils.module_loading import import_string

from eventsourcing_app.aggregates.declare import require_plain
from eventsourcing_app.conf import conf
from eventsourcing_app.events.registry import registry as events
from eventsourcing_app.exceptions import NoSuchSubscription, OperationRefused
from eventsourcing_app.subscriptions.acts import SubscriptionStarted, SubscriptionStopped, record_act
from eventsourcing_app.subscriptions.declare import checked_topics
from eventsourcing_app.subscriptions.definitions import create, declared_rate, make_segments, position_of, stored
from eventsourcing_app.subscriptions.records import Segment, Subscription
from eventsourcing_app.subscriptions.registry import Definition, registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eventsourcing_app.subscriptions.registry import OnFailure, Start

_OPTIONS = ("transactional", "start", "segments", "rate", "burst", "on_failure", "max_attempts", "batch")


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
    """Subscribe a function to events from now on, on every worker; the arguments are those of ``@subscriber``.

    ``handler`` is a function of a module, or its dotted path. A name that was unsubscribed goes on where it was, if its
    checkpoint was kept; so does one that the code declares, for which nothing but the name is given. The same call
    again changes nothing; with other events, handler or options it replaces them, but the number of segments and the
    checkpoint stay.

    Raises ``ImproperlyConfigured`` for what cannot be, ``OperationRefused`` for a name that is the code's own.
    """
    declared = registry.get(name)
    if declared is not None:
        if what or handler:
            raise OperationRefused(
                f"{name!r} is declared by {declared.place}: its events and handler are the code's. Call "
                f"subscribe({name!r}) to go on with it, or choose another name."
            )
        definition = declared
    elif handler is None:
        definition = _defined_again(name)
    else:
        topics = checked_topics(tuple(what) if isinstance(what, (tuple, list)) else (what,))  # type: ignore[arg-type]
        given = (transactional, start, segments, rate, burst, on_failure, max_attempts, batch)
        options = dict(zip(_OPTIONS, given, strict=True))
        definition = _definition(name, path_of(handler), [_name_of(each) for each in topics], options)
    _subscribe(definition, reason)


def unsubscribe(name: str, *, keep_checkpoint: bool = True, reason: str = "") -> None:
    """Stop a subscription until it is subscribed again, also if the code declares it.

    With ``keep_checkpoint`` it then goes on with what it has missed; without, it begins as its ``start`` says, and its
    parked events are forgotten. Raises ``NoSuchSubscription``.
    """
    with transaction.atomic(using=conf.DATABASE):
        row = stored().select_for_update(no_key=True).filter(name=name).first()
        if row is None:
            raise NoSuchSubscription(f"There is no subscription {name!r}.")
        if not keep_checkpoint:
            Segment.objects.using(conf.DATABASE).filter(subscription=row).delete()
        row.status, row.status_reason = Subscription.Status.UNSUBSCRIBED, reason
        row.save(update_fields=["status", "status_reason"])
        record_act(SubscriptionStopped(subscription=name, reason=reason, checkpoint_kept=keep_checkpoint))


def definition_of(row: Subscription) -> Definition:
    """Return what is stored of a subscription made at run time; raises whatever importing its handler raises."""
    options = {name: row.options[name] for name in _OPTIONS if name in row.options}
    return _definition(row.name, row.handler, row.types, options)


def path_of(handler: Callable[..., object] | str) -> str:
    """Return the dotted path of a function of a module; ``ImproperlyConfigured`` if nobody else could find it."""
    path = handler if isinstance(handler, str) else f"{handler.__module__}.{handler.__qualname__}"
    try:
        found = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(
            f"{path!r} cannot be imported, so no worker would find it: subscribe a function of a module."
        ) from error
    if not callable(found) or (found is not handler and not isinstance(handler, str)):
        raise ImproperlyConfigured(f"{path!r} is not this function: subscribe a function of a module.")
    return path


def _definition(name: str, path: str, topics: Sequence[str], options: dict[str, Any]) -> Definition:
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


def _name_of(what: type | str) -> str:
    return what if isinstance(what, str) else events.names_of(what)[0]


def _defined_again(name: str) -> Definition:
    row = stored().filter(name=name).first()
    if row is None or not row.handler:
        raise NoSuchSubscription(
            f"There is no subscription {name!r} to go on with: give its events and its handler as well."
        )
    return definition_of(row)


def _subscribe(definition: Definition, reason: str) -> None:
    with transaction.atomic(using=conf.DATABASE):
        before = stored().select_for_update(no_key=True).filter(name=definition.name).first()
        if before is None:
            create(definition, options=options_of(definition))
        elif not _is_same(before, definition):
            _replace(before, definition)
        else:
            return
        record_act(SubscriptionStarted(subscription=definition.name, reason=reason, handler=definition.place))


def options_of(definition: Definition) -> dict[str, Any]:
    """Return what is stored of how a subscription was made at run time."""
    return {name: getattr(definition, name) for name in _OPTIONS} if definition.handler else {}


def _is_same(row: Subscription, definition: Definition) -> bool:
    active = row.status != Subscription.Status.UNSUBSCRIBED
    same = (row.handler, row.options) == (definition.handler, options_of(definition))
    return active and same and row.fingerprint == definition.fingerprint


def _replace(row: Subscription, definition: Definition) -> None:
    if row.status == Subscription.Status.UNSUBSCRIBED:
        row.status, row.status_reason = Subscription.Status.ACTIVE, ""
    if definition.handler:
        row.handler, row.options = definition.handler, options_of(definition)
        row.types, row.fingerprint = sorted(definition.types), definition.fingerprint
        if row.declared_rate != declared_rate(definition):
            row.rate, row.burst, row.declared_rate = definition.rate, definition.burst, declared_rate(definition)
    row.save()
    if not Segment.objects.using(conf.DATABASE).filter(subscription=row).exists():
        row.started_after = position_of(definition.start)
        row.save(update_fields=["started_after"])
        make_segments(row, row.started_after)
