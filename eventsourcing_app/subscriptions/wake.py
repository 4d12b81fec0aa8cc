"""The hint, after a commit, that there may be work: at most one a commit, and at most one outstanding.

Lost hints cost time, never an event: whoever drains compares checkpoints with the log, and a sweep drains regularly.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.db.models import DateTimeField, ExpressionWrapper, Q
from django.db.models.functions import Now
from django.utils.module_loading import import_string

from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import LogUnsafe
from eventsourcing_app.subscriptions.records import Wake

if TYPE_CHECKING:
    from collections.abc import Callable

DISPATCHERS = {
    "django_q": "eventsourcing_app.tasks.enqueue_drain",
    "sync": "eventsourcing_app.subscriptions.sync.drain_here",
    "none": "",
}
"""Who is woken, by the setting ``DISPATCHER``. Named by path: django-q2 is imported only where it is used."""

_STALE = timedelta(seconds=30)


def request(**_signal: Any) -> None:
    """Wake a worker, unless one has been asked for already. Receiver of ``log_grew``, after the commit."""
    dispatcher = conf.DISPATCHER
    if dispatcher not in DISPATCHERS:
        raise LogUnsafe(f"EVENTSOURCING['DISPATCHER'] is {dispatcher!r}; it is one of {', '.join(DISPATCHERS)}.")
    path = DISPATCHERS[dispatcher]
    if path:
        start: Callable[[], None] = import_string(path)
        start()


def claim_slot(slot: int = 1) -> bool:
    """Say that a wake is outstanding in a slot; false if one already is.

    A commit asks for the first; a worker that finds more than it can do alone asks for the next. One that was never
    answered counts no more after half a minute, so that a queue which lost it does not mute the others for ever.
    """
    rows = Wake.objects.using(conf.DATABASE).filter(slot=slot)
    stale = ExpressionWrapper(Now() - _STALE, output_field=DateTimeField())
    if rows.filter(Q(requested_at=None) | Q(requested_at__lt=stale)).update(requested_at=Now()):
        return True
    if rows.exists():
        return False
    try:
        with transaction.atomic(using=conf.DATABASE):
            Wake.objects.using(conf.DATABASE).create(slot=slot, requested_at=Now())
    except IntegrityError:
        return False
    return True


def is_requested() -> bool:
    """Whether a wake is outstanding: somebody else will drain soon."""
    return Wake.objects.using(conf.DATABASE).filter(requested_at__isnull=False).exists()


def clear(slot: int = 1) -> None:
    """Say that the wake was heard: from here on another one may be asked for."""
    rows = Wake.objects.using(conf.DATABASE).filter(slot=slot)
    rows.filter(requested_at__isnull=False).update(requested_at=None)
