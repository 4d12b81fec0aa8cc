"""Subscriptions that were made at run time: their rows, and what becomes of them when they are started and stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction

from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import NoSuchSubscription
from eventsourcing_app.subscriptions.acts import SubscriptionStarted, SubscriptionStopped, record_act
from eventsourcing_app.subscriptions.definitions import create, declared_rate, make_segments, position_of, stored
from eventsourcing_app.subscriptions.records import Segment, Subscription
from eventsourcing_app.subscriptions.runtime import OPTIONS, defined

if TYPE_CHECKING:
    from eventsourcing_app.subscriptions.registry import Definition


def start(definition: Definition, reason: str) -> None:
    """Store a subscription, or let one go on that was stopped. Nothing happens if it is so already."""
    with transaction.atomic(using=conf.DATABASE):
        before = stored().select_for_update(no_key=True).filter(name=definition.name).first()
        if before is None:
            create(definition, options=_options_of(definition))
        elif not _is_same(before, definition):
            _replace(before, definition)
        else:
            return
        record_act(SubscriptionStarted(subscription=definition.name, reason=reason, handler=definition.place))


def go_on(name: str, reason: str) -> None:
    """Let a subscription go on that was made at run time; raises ``NoSuchSubscription``."""
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
        if not keep_checkpoint:
            Segment.objects.using(conf.DATABASE).filter(subscription=row).delete()
        row.status, row.status_reason = Subscription.Status.UNSUBSCRIBED, reason
        row.save(update_fields=["status", "status_reason"])
        record_act(SubscriptionStopped(subscription=name, reason=reason, checkpoint_kept=keep_checkpoint))


def definition_of(row: Subscription) -> Definition:
    """Return what is stored of a subscription made at run time; raises whatever importing its handler raises."""
    options = {name: row.options[name] for name in OPTIONS if name in row.options}
    return defined(row.name, row.handler, row.types, options)


def _options_of(definition: Definition) -> dict[str, Any]:
    return {name: getattr(definition, name) for name in OPTIONS} if definition.handler else {}


def _is_same(row: Subscription, definition: Definition) -> bool:
    active = row.status != Subscription.Status.UNSUBSCRIBED
    same = (row.handler, row.options) == (definition.handler, _options_of(definition))
    return active and same and row.fingerprint == definition.fingerprint


def _replace(row: Subscription, definition: Definition) -> None:
    if row.status == Subscription.Status.UNSUBSCRIBED:
        row.status, row.status_reason = Subscription.Status.ACTIVE, ""
    if definition.handler:
        row.handler, row.options = definition.handler, _options_of(definition)
        row.types, row.fingerprint = sorted(definition.types), definition.fingerprint
        if row.declared_rate != declared_rate(definition):
            row.rate, row.burst, row.declared_rate = definition.rate, definition.burst, declared_rate(definition)
    row.save()
    if not Segment.objects.using(conf.DATABASE).filter(subscription=row).exists():
        row.started_after = position_of(definition.start)
        row.save(update_fields=["started_after"])
        make_segments(row, row.started_after)
