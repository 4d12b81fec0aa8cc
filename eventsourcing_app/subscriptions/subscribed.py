"""Subscriptions that were made at run time: their rows, and what becomes of them when they are started and stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import NoSuchSubscription, OperationRefused
from eventsourcing_app.subscriptions.acts import SubscriptionStarted, SubscriptionStopped, record_act
from eventsourcing_app.subscriptions.definitions import (
    create,
    declared_rate,
    make_segments,
    position_of,
    segments_of,
    stored,
)
from eventsourcing_app.subscriptions.hurry import hurry
from eventsourcing_app.subscriptions.records import Subscription
from eventsourcing_app.subscriptions.runtime import OPTIONS, defined

if TYPE_CHECKING:
    from eventsourcing_app.subscriptions.registry import Definition


def start(definition: Definition, reason: str) -> None:
    """Store a subscription, or let one go on that was stopped. Nothing happens if it is so already."""
    with transaction.atomic(using=conf.DATABASE):
        # Whoever else creates it at the same time is waited for; then there is a row, as if it had been first.
        if not create(definition, options=_options_of(definition)):
            before = stored().select_for_update(no_key=True).get(name=definition.name)
            if _is_same(before, definition):
                return
            _replace(before, definition)
        record_act(SubscriptionStarted(subscription=definition.name, reason=reason, handler=definition.place))


def go_on(name: str, reason: str) -> None:
    """Let a subscription go on that was made at run time; raises ``NoSuchSubscription``, ``ImproperlyConfigured``."""
    row = stored().exclude(handler="").filter(name=name).first()
    if row is None:
        raise NoSuchSubscription(
            f"There is no subscription {name!r} to go on with: give its events and its handler as well."
        )
    start(definition_of(row), reason)


def stop(name: str, *, keep_checkpoint: bool, reason: str) -> None:
    """Stop a subscription until it is started again; raises ``NoSuchSubscription``."""
    with transaction.atomic(using=conf.DATABASE):
        row = stored().select_for_update(no_key=True).filter(name=name).first()
        if row is None:
            raise NoSuchSubscription(f"There is no subscription {name!r}.")
        if row.kind == Subscription.Kind.REBUILD:
            raise OperationRefused(f"{name} is a rebuild that is under way: cancel it instead.")
        if not keep_checkpoint:
            segments = segments_of(row.name)
            # Before what is parked of them, in the order of workers.
            list(segments.select_for_update().order_by("pk"))
            segments.delete()
        row.status, row.status_reason = Subscription.Status.UNSUBSCRIBED, reason
        row.save(update_fields=["status", "status_reason"])
        record_act(SubscriptionStopped(subscription=name, reason=reason, checkpoint_kept=keep_checkpoint))


def definition_of(row: Subscription) -> Definition:
    """Return what is stored of a subscription made at run time; ``ImproperlyConfigured`` if its handler is not here."""
    options = {name: row.options[name] for name in OPTIONS if name in row.options}
    try:
        return defined(row.name, row.handler, row.types, options)
    except Exception as error:
        raise ImproperlyConfigured(
            f"The handler {row.handler} of {row.name}, subscribed at run time, cannot be loaded "
            f"({type(error).__name__}: {error})."
        ) from error


def _options_of(definition: Definition) -> dict[str, Any]:
    return {name: getattr(definition, name) for name in OPTIONS} if definition.handler else {}


def _is_same(row: Subscription, definition: Definition) -> bool:
    active = row.status != Subscription.Status.UNSUBSCRIBED
    same = (row.handler, row.options) == (definition.handler, _options_of(definition))
    return active and same and row.fingerprint == definition.fingerprint


def _replace(row: Subscription, definition: Definition) -> None:
    segments = segments_of(row.name)
    locked = [segment.pk for segment in segments.select_for_update(no_key=True).order_by("pk")]
    # One that was halted was so for what it did with another handler, or other events.
    if row.status in (Subscription.Status.UNSUBSCRIBED, Subscription.Status.HALTED):
        row.status, row.status_reason = Subscription.Status.ACTIVE, ""
    if definition.handler:
        if set(row.types) != definition.types:
            # It may react by now to events before the one that it had stopped at: that one is not to be skipped to.
            segments.update(failed_position=None)
        row.handler, row.options = definition.handler, _options_of(definition)
        row.types, row.fingerprint = sorted(definition.types), definition.fingerprint
        if row.declared_rate != declared_rate(definition):
            row.rate, row.burst, row.declared_rate = definition.rate, definition.burst, declared_rate(definition)
    if locked:
        # Another handler may do at once, and with all its attempts, what this one waited for.
        segments.update(attempts=0)
        hurry([row.name])
    else:
        row.started_after = position_of(definition.start)
        make_segments(row, row.started_after)
    row.save()
