"""What the package's databases hold before anything is measured, written by its public calls. Prepared, not timed."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

from django.core.management import call_command

from eventsourcing_app import context
from tests.benchmarks.bank.models import Account
from tests.benchmarks.sides.ours import stored
from tests.benchmarks.work import AMOUNT, METADATA, REFERENCE, Done, Sample

if TYPE_CHECKING:
    from tests.benchmarks.job import Job

__all__ = ["accounts", "log", "schema", "small_log", "sqlite_log", "stored", "streams"]

_TOGETHER = 100


def schema(job: Job) -> Sample:
    """Make the tables."""
    call_command("migrate", run_syncdb=True, verbosity=0, stdout=StringIO())
    return _nothing


def accounts(job: Job) -> Sample:
    """Many accounts with one event."""
    _open(job.scale.accounts, deposits=0)
    return _nothing


def log(job: Job) -> Sample:
    """This process's part of the large log."""
    _open(job.scale.aggregates // job.workers, deposits=job.scale.log // job.scale.aggregates - 1)
    return _nothing


def sqlite_log(job: Job) -> Sample:
    """The large log on SQLite."""
    _open(job.scale.aggregates, deposits=job.scale.sqlite_log // job.scale.aggregates - 1)
    return _nothing


def small_log(job: Job) -> Sample:
    """The small log, over as many accounts as one transaction of the others."""
    _open(_TOGETHER, deposits=job.scale.small_log // _TOGETHER - 1)
    return _nothing


def streams(job: Job) -> Sample:
    """One short stream and one long one."""
    for length in (job.scale.short_stream, job.scale.stream):
        account = Account()
        with context(actor="user:7", **METADATA):
            account.open(f"stream of {length}")
            for version in range(2, length + 1):
                account.deposit(AMOUNT, REFERENCE)
                if version % 5_000 == 0:
                    account.save()
            if account.version < length:
                account.save()
    return _nothing


def _open(count: int, *, deposits: int) -> None:
    for start in range(0, count, _TOGETHER):
        opened = [Account() for _ in range(min(_TOGETHER, count - start))]
        with context(actor="user:7", **METADATA):
            for number, account in enumerate(opened, start):
                account.open(f"owner {number}")
                for _ in range(deposits):
                    account.deposit(AMOUNT, REFERENCE)
            Account.objects.save_all(opened)


def _nothing() -> Done:
    return Done(0)
