"""The package by its public calls: commands on many short streams."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from eventsourcing_app import context
from eventsourcing_app.models import StoredEvent
from tests.benchmarks.bank.models import Account
from tests.benchmarks.work import (
    AMOUNT,
    BULK_AGGREGATES,
    BULK_EVENTS,
    EVENTS_A_SAVE,
    METADATA,
    REFERENCE,
    Done,
    Sample,
    repeated,
    turns,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.benchmarks.job import Job


def stored(job: Job) -> int:
    return StoredEvent.objects.count()


def command(job: Job) -> Sample:
    """Load, deposit, save."""
    keys = _keys(job)

    def act() -> None:
        account = Account.objects.get(pk=next(keys))
        account.deposit(AMOUNT, REFERENCE)
        account.save()

    return _in_context(act, job)


def perform(job: Job) -> Sample:
    """The same through the manager, which locks the row."""
    keys = _keys(job)
    return _in_context(lambda: Account.objects.perform(next(keys), Account.deposit, AMOUNT, REFERENCE), job)


def ten(job: Job) -> Sample:
    """Load, ten deposits, save."""
    keys = _keys(job)

    def act() -> None:
        account = Account.objects.get(pk=next(keys))
        for _ in range(EVENTS_A_SAVE):
            account.deposit(AMOUNT, REFERENCE)
        account.save()

    return _in_context(act, job, units=EVENTS_A_SAVE)


def ten_kept(job: Job) -> Sample:
    """Ten deposits, save, of an instance that is kept."""
    account = Account.objects.get(pk=next(_keys(job)))

    def act() -> None:
        for _ in range(EVENTS_A_SAVE):
            account.deposit(AMOUNT, REFERENCE)
        account.save()

    return _in_context(act, job, units=EVENTS_A_SAVE)


def bulk(job: Job) -> Sample:
    """Deposits on many accounts that are kept, saved together."""
    keys = list(islice(_keys(job), BULK_AGGREGATES))
    accounts = list(Account.objects.filter(pk__in=keys))

    def act() -> None:
        for _ in range(BULK_EVENTS // len(accounts)):
            for account in accounts:
                account.deposit(AMOUNT, REFERENCE)
        Account.objects.save_all(accounts)

    return _in_context(act, job, units=BULK_EVENTS // len(accounts) * len(accounts))


def _keys(job: Job) -> Iterator[Any]:
    return turns(list(Account.objects.order_by("pk").values_list("pk", flat=True)), job)


def _in_context(act: Callable[[], object], job: Job, *, units: int = 1) -> Sample:
    # Entered once a sample, as a worker does; a web request enters its own.
    plain = repeated(act, job, units=units)

    def sample() -> Done:
        with context(actor="user:7", **METADATA):
            return plain()

    return sample
