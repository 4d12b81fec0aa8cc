"""Entry points of django-q2. A task is a wake, never the truth: arguments, order and repetition do not matter."""

from __future__ import annotations

import logging

from django.db import transaction
from django_q.conf import Conf
from django_q.models import Schedule
from django_q.tasks import async_task

from eventsourcing_app.aggregates.named import event_sourced
from eventsourcing_app.aggregates.rebuild.rebuild import Rebuilt, check_sample
from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import StateDrifted
from eventsourcing_app.subscriptions import wake
from eventsourcing_app.subscriptions.drain import drain as drain_subscriptions

logger = logging.getLogger("eventsourcing_app.rebuild")

DRAIN_SECONDS = 20.0
"""A task ends after this time and asks for the next one; less than the cluster's ``timeout``."""

_DRAIN = "eventsourcing_app.tasks.drain"
_SWEEP = "eventsourcing_app: sweep"


def enqueue_drain(slot: int = 1) -> None:
    """Put one drain task on the queue, unless one is outstanding in this slot.

    Inside a transaction, so that django-q2 does not close the connection of whoever has just committed; with its ORM
    broker in the log's database, hint and task are stored together or not at all. With any other broker the hint is
    committed first: a task that ran before it would leave behind a hint that nobody answers.
    """
    if Conf.ORM == conf.DATABASE:
        with transaction.atomic(using=conf.DATABASE):
            if wake.claim_slot(slot):
                async_task(_DRAIN, slot)
        return
    if wake.claim_slot(slot):
        try:
            with transaction.atomic(using=Conf.ORM or conf.DATABASE):
                async_task(_DRAIN, slot)
        except BaseException:
            wake.clear(slot)
            raise


def drain(slot: int = 1) -> str:
    """Answer a wake: drain the subscriptions for a while."""
    # Before positions are read: what is appended from here on asks for another task. Only here, and not by whoever
    # else drains, so that while a task waits in the queue no second one joins it.
    wake.clear(slot)
    return sweep(slot)


def sweep(slot: int = 1) -> str:
    """Drain whatever lost hints left behind, for a while; ask for a task if there is more. Scheduled every minute."""

    def ask_for_help() -> None:
        if slot < conf.DRAIN_TASKS:
            enqueue_drain(slot + 1)

    drained = drain_subscriptions(
        seconds=DRAIN_SECONDS, relieved=wake.is_requested, overloaded=ask_for_help, paced=True
    )
    if not drained.finished:
        enqueue_drain(slot)
    return f"{drained.handled} handled, {len(drained.errors)} failed"


def check_drift(model: str, sample: int = 100) -> str:
    """Compare a random sample of a model's rows with their history, on a schedule: ``("bank.Account", 200)``.

    Each row that differs is logged. Raises ``StateDrifted`` then, so that the task counts as failed; ``LookupError``,
    ``ValueError`` or ``TypeError`` if there is no event-sourced model of that name.
    """
    found, seen = event_sourced(model), Rebuilt()
    drifts = list(check_sample(found, size=sample, seen=seen))
    for drift in drifts:
        names = ", ".join(drift.fields) or drift.problem
        logger.error("%s %s is not what its history says: %s (event #%s)", model, drift.pk, names, drift.position)
    if drifts:
        raise StateDrifted(
            f"{len(drifts)} of {seen.aggregates} rows of {model} are not what their history says. Run manage.py "
            f"rebuild {model} --check to see all of them, and without --check to repair them."
        )
    return f"{seen.aggregates} aggregates, {seen.events} events: 0 differ"


def schedule_sweep(using: str) -> None:
    """See to it that the sweep is scheduled, as often as it was. Called after ``migrate``."""
    Schedule.objects.using(using).get_or_create(
        name=_SWEEP,
        defaults={"func": "eventsourcing_app.tasks.sweep", "schedule_type": Schedule.MINUTES, "minutes": 1},
    )
