"""Checks of ``Q_CLUSTER``, if django-q2 carries the wakes: what goes wrong there costs time, never an event."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db import connections

from eventsourcing_app.conf import conf

if TYPE_CHECKING:
    from collections.abc import Iterator

_OTHER_BROKERS = ("broker_class", "iron_mq", "sqs", "mongo")
_DEFAULT_RETRY = 60
_DEFAULT_SAVE_LIMIT = 250
_FALLBACK_WORKERS = 4
_TASK_SECONDS = 25
"""A drain task ends after 20 seconds, and then the turn that it is at."""


def check_queue(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Check the queue, if it is the one that wakes the workers."""
    if conf.DISPATCHER != "django_q":
        return []
    if not apps.is_installed("django_q"):
        return [_not_installed()]
    cluster = getattr(settings, "Q_CLUSTER", {})
    found = [*_broker(cluster), *_timing(cluster), *_prefetching(cluster)]
    return [*found, _in_the_same_process()] if cluster.get("sync") else found


def _broker(cluster: dict[str, Any]) -> Iterator[checks.CheckMessage]:
    orm = cluster.get("orm")
    if not orm:
        if not any(cluster.get(broker) for broker in _OTHER_BROKERS):
            yield _redis()
        return
    if orm != conf.DATABASE:
        yield _other_database(orm)
    if orm in connections and _reconnects(orm):
        yield _reconnecting(orm)


def _timing(cluster: dict[str, Any]) -> Iterator[checks.CheckMessage]:
    timeout, retry = cluster.get("timeout"), cluster.get("retry", _DEFAULT_RETRY)
    if not timeout:
        yield _no_timeout()
    else:
        if timeout >= retry:
            yield _retried_too_early(timeout, retry)
        if timeout < _TASK_SECONDS:
            yield _ended_too_early(timeout)
        elif timeout < conf.HANDLER_SECONDS:
            yield _ends_handlers(timeout)
    if not cluster.get("ack_failures", False):
        yield _failures_come_back()
    if cluster.get("save_limit", _DEFAULT_SAVE_LIMIT) >= 0:
        yield _successes_saved()


def _prefetching(cluster: dict[str, Any]) -> Iterator[checks.CheckMessage]:
    workers = cluster.get("workers") or os.cpu_count() or _FALLBACK_WORKERS
    limit, bulk = cluster.get("queue_limit", workers**2), cluster.get("bulk", 1)
    if max(limit, bulk) > 4 * workers:
        yield _fetched_too_many(max(limit, bulk), workers)
    if cluster.get("scheduler") is False:
        yield _no_sweep()
    if workers < conf.DRAIN_TASKS:
        yield _more_tasks_than_workers(workers)


def _reconnects(alias: str) -> bool:
    # Connecting to a file costs nothing, and a pool keeps its connections by itself.
    connection = connections[alias]
    pooled = connection.settings_dict.get("OPTIONS", {}).get("pool")
    return connection.vendor == "postgresql" and connection.settings_dict.get("CONN_MAX_AGE") == 0 and not pooled


def _in_the_same_process() -> checks.CheckMessage:
    return checks.Warning(
        "Q_CLUSTER['sync'] runs a task where it is enqueued, inside the transaction of the wake: nothing is delivered.",
        hint="Remove it, and set EVENTSOURCING = {'DISPATCHER': 'sync'} to deliver in the same process.",
        id="eventsourcing_app.W047",
    )


def _not_installed() -> checks.CheckMessage:
    return checks.Error(
        "EVENTSOURCING['DISPATCHER'] is 'django_q', but django_q is not installed: nobody would be woken.",
        hint="Add 'django_q' to INSTALLED_APPS, or set EVENTSOURCING = {'DISPATCHER': 'none'} and keep "
        "`manage.py run_subscriptions` running.",
        id="eventsourcing_app.E040",
    )


def _redis() -> checks.CheckMessage:
    return checks.Warning(
        "Q_CLUSTER names no broker, so django-q2 uses Redis, which delivers at most once: a wake that is lost with a "
        "worker waits for the next sweep. No event is lost.",
        hint=f'Write in Q_CLUSTER: "orm": "{conf.DATABASE}".',
        id="eventsourcing_app.W040",
    )


def _other_database(alias: str) -> checks.CheckMessage:
    return checks.Warning(
        f"Q_CLUSTER['orm'] is {alias!r}, but the log is in {conf.DATABASE!r}: waking depends on two databases.",
        hint=f'Write in Q_CLUSTER: "orm": "{conf.DATABASE}".',
        id="eventsourcing_app.W041",
    )


def _no_timeout() -> checks.CheckMessage:
    return checks.Warning(
        "Q_CLUSTER has no timeout: a worker that hangs is never ended.",
        hint='Write in Q_CLUSTER: "timeout": 60, "retry": 120.',
        id="eventsourcing_app.W042",
    )


def _retried_too_early(timeout: int, retry: int) -> checks.CheckMessage:
    return checks.Warning(
        f"Q_CLUSTER has timeout {timeout} and retry {retry}: a task that is still running is started a second time.",
        hint=f'Write in Q_CLUSTER: "retry": {timeout * 2}; it must be greater than the timeout.',
        id="eventsourcing_app.W043",
    )


def _ended_too_early(timeout: int) -> checks.CheckMessage:
    return checks.Warning(
        f"Q_CLUSTER has timeout {timeout}, but a drain task may take {_TASK_SECONDS} seconds: django-q2 would kill it "
        "at its work, again and again.",
        hint='Write in Q_CLUSTER: "timeout": 60, "retry": 120.',
        id="eventsourcing_app.W048",
    )


def _ends_handlers(timeout: int) -> checks.CheckMessage:
    return checks.Warning(
        f"Q_CLUSTER has timeout {timeout}, but a handler may take {conf.HANDLER_SECONDS:g} seconds: django-q2 would "
        "kill it before.",
        hint=f'Write in Q_CLUSTER: "timeout": {math.ceil(conf.HANDLER_SECONDS)}, or more; or lower '
        "EVENTSOURCING['HANDLER_SECONDS'].",
        id="eventsourcing_app.W092",
    )


def _fetched_too_many(fetched: int, workers: int) -> checks.CheckMessage:
    return checks.Warning(
        f"Q_CLUSTER fetches up to {fetched} tasks for {workers} workers: their time to be retried begins when they are "
        "fetched, so those that wait are run a second time.",
        hint=f'Write in Q_CLUSTER: "bulk": 1, "queue_limit": {2 * workers}.',
        id="eventsourcing_app.W049",
    )


def _no_sweep() -> checks.CheckMessage:
    return checks.Warning(
        "Q_CLUSTER has no scheduler: the sweep, which delivers what a lost wake has left behind, never runs.",
        hint='Write in Q_CLUSTER: "scheduler": True; or keep `manage.py run_subscriptions` running.',
        id="eventsourcing_app.W090",
    )


def _more_tasks_than_workers(workers: int) -> checks.CheckMessage:
    return checks.Warning(
        f"EVENTSOURCING['DRAIN_TASKS'] is {conf.DRAIN_TASKS}, but Q_CLUSTER has {workers} workers: drain tasks could "
        "take all of them.",
        hint=f"Set EVENTSOURCING['DRAIN_TASKS'] = {workers}, or less if other tasks shall have workers, too.",
        id="eventsourcing_app.W091",
    )


def _failures_come_back() -> checks.CheckMessage:
    return checks.Warning(
        "Q_CLUSTER does not acknowledge failures: a failed wake comes back again and again, besides the retries that "
        "subscriptions make themselves.",
        hint='Write in Q_CLUSTER: "ack_failures": True.',
        id="eventsourcing_app.W044",
    )


def _successes_saved() -> checks.CheckMessage:
    return checks.Warning(
        "Q_CLUSTER saves successful tasks: each wake writes and prunes a row that nobody reads.",
        hint='Write in Q_CLUSTER: "save_limit": -1.',
        id="eventsourcing_app.W045",
    )


def _reconnecting(alias: str) -> checks.CheckMessage:
    return checks.Warning(
        f"CONN_MAX_AGE of database {alias!r} is 0: every task that is put into the queue opens a connection.",
        hint=f"Set DATABASES[{alias!r}]['CONN_MAX_AGE'] = 60 and ['CONN_HEALTH_CHECKS'] = True.",
        id="eventsourcing_app.W046",
    )
