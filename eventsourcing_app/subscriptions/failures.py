"""What a failure means: when an event is tried again, when it is dead, and when a whole subscription halts."""

from __future__ import annotations

import logging
import random
import traceback
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from django.db import transaction
from django.db.models import Count

from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import CausationTooDeep, EventUnreadable, Permanent, RetryLater
from eventsourcing_app.signals import subscription_halted
from eventsourcing_app.subscriptions.definitions import stored
from eventsourcing_app.subscriptions.records import ParkedEvent, Subscription

if TYPE_CHECKING:
    from eventsourcing_app.subscriptions.registry import Definition

logger = logging.getLogger("eventsourcing_app.subscriptions")

_MAX_REASON = 250
_SHORTEST_WAIT = 0.05
"""Seconds. Without any, a loop that ends when nothing is due would never end."""


class WorkerLost(Exception):
    """Stands for the error of an event whose handler did not come to its end: its process died, or was killed."""


class Verdict(NamedTuple):
    """What becomes of an event that has failed."""

    dead: bool
    wait: float
    """Seconds until it is tried again."""
    attempts: int
    reason: str
    """The error in one line."""
    report: str
    """The error with its traceback."""


def judge(definition: Definition, error: BaseException, *, attempts: int) -> Verdict:
    """Decide about an event that has failed for the ``attempts``-th time."""
    most = definition.max_attempts or conf.MAX_ATTEMPTS
    if isinstance(error, RetryLater):
        dead, wait, attempts = False, max(_SHORTEST_WAIT, error.after), max(0, attempts - 1)
    else:
        # What this code cannot read, other code may: the event waits for it, and does not die of this one.
        used_up = attempts >= most and not isinstance(error, EventUnreadable)
        dead = used_up or isinstance(error, Permanent | CausationTooDeep)
        wait = backoff(attempts)
    reason = storable(f"{type(error).__name__}: {text_of(error)}".split("\n", 1)[0], _MAX_REASON)
    if isinstance(error, WorkerLost):
        reason = storable(text_of(error), _MAX_REASON)
        return Verdict(dead, wait, attempts, reason, reason)
    return Verdict(dead, wait, attempts, reason, storable("".join(traceback.format_exception(error))))


def text_of(error: BaseException) -> str:
    """Return what an error says, also if asking it for its text is an error."""
    try:
        return str(error)
    except Exception as another:  # noqa: BLE001 - whatever a project's exception does
        return f"(its text cannot be read: {type(another).__name__})"


def backoff(attempts: int) -> float:
    """Full jitter: any time up to the doubled wait, so that failures do not come back in step.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    first, longest = conf.RETRY_SECONDS
    return random.uniform(0, min(longest, first * 2 ** min(max(attempts, 1) - 1, 30)))


def storable(text: str, most: int = 8_000) -> str:
    """Return the end of a text; NUL and lone surrogates, which no database takes, are written as Python does."""
    return text[-most:].replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()[-most:]


def too_many_parked(name: str) -> str:
    """Return why a subscription has to be halted for what it has parked; empty if it need not be."""
    parked = ParkedEvent.objects.using(conf.DATABASE).filter(segment__subscription=name)
    counts = parked.aggregate(events=Count("pk"), streams=Count("sequence", distinct=True))
    if counts["streams"] >= conf.MAX_PARKED_STREAMS:
        return (
            f"{counts['streams']} streams are parked, as many as MAX_PARKED_STREAMS allows: it seems to be the handler "
            "that fails. Mend it, retry or skip what is parked, and resume."
        )
    if counts["events"] >= conf.MAX_PARKED_EVENTS:
        return (
            f"{counts['events']} events are parked, as many as MAX_PARKED_EVENTS allows. Retry or skip what failed, "
            "and resume."
        )
    return ""


def halt(name: str, reason: str) -> None:
    """Stop a subscription until an operator resumes it, and say so."""
    active = stored().filter(name=name, status=Subscription.Status.ACTIVE)
    if not active.update(status=Subscription.Status.HALTED, status_reason=storable(reason)):
        return
    logger.error("%s is halted: %s", name, reason)
    transaction.on_commit(partial(_say_halted, name, reason), using=conf.DATABASE, robust=True)


def _say_halted(name: str, reason: str) -> None:
    subscription_halted.send_robust(sender=Subscription, subscription=name, reason=reason)
