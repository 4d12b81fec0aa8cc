"""PyPI ``eventsourcing`` with its PostgreSQL module in its default mode.

Its mode with database functions is faster, but takes no lock, and its readers then lose events of concurrent writers.
It stores an event as one text with its time; there is no state row, metadata, actor or hash. One connection a process,
prepared statements, no snapshots; ``command_cached`` keeps aggregates in its cache, which still asks for newer events.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate

from tests.benchmarks.work import (
    AMOUNT,
    BULK_AGGREGATES,
    BULK_EVENTS,
    EVENTS_A_SAVE,
    REFERENCE,
    Done,
    Sample,
    repeated,
    turns,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from tests.benchmarks.job import Job

_EVENTS_TOGETHER = 1_000  # a save of several thousand never ends: client and server wait for each other
_PAGE = 500


class Account(Aggregate):
    """The account, with events written out: its decorators cost a little more."""

    class Opened(Aggregate.Created):
        owner: str

    class MoneyDeposited(Aggregate.Event):
        amount: Decimal
        reference: str

        def apply(self, aggregate: Any) -> None:
            aggregate.balance += self.amount

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.balance = Decimal(0)

    @classmethod
    def open(cls, owner: str) -> Account:
        opened: Account = cls._create(cls.Opened, owner=owner)
        return opened

    def deposit(self, amount: Decimal, reference: str) -> None:
        if amount <= 0:
            raise ValueError("A deposit must be positive.")
        self.trigger_event(self.MoneyDeposited, amount=amount, reference=reference)


class Bank(Application):
    """Its name is that of its table."""

    name = "bank"


def stored(job: Job) -> int:
    application = _application(job)  # closes its connections when nobody holds it any more
    with application.recorder.datastore.cursor() as cursor:
        cursor.execute("SELECT count(*) AS events FROM bank_events")
        found: int = cursor.fetchone()["events"]
    return found


def schema(job: Job) -> Sample:
    """Make the table, once: processes that make it at the same time fail."""
    _application(job, CREATE_TABLE="yes")
    return _nothing


def accounts(job: Job) -> Sample:
    """Many accounts with one event."""
    _open(job, job.scale.accounts, deposits=0)
    return _nothing


def log(job: Job) -> Sample:
    """This process's part of the large log."""
    _open(job, job.scale.aggregates // job.workers, deposits=job.scale.log // job.scale.aggregates - 1)
    return _nothing


def streams(job: Job) -> Sample:
    """The long stream."""
    application = _application(job)
    account = Account.open("long stream")
    for version in range(2, job.scale.stream + 1):
        account.deposit(AMOUNT, REFERENCE)
        if version % _EVENTS_TOGETHER == 0:
            application.save(account)
    application.save(account)
    return _nothing


def command(job: Job) -> Sample:
    """Get, trigger, save."""
    return _command(_application(job), job)


def command_cached(job: Job) -> Sample:
    """The same with all accounts in its cache."""
    application = _application(job, AGGREGATE_CACHE_MAXSIZE=str(job.scale.accounts))
    for key in _ids(application):
        application.repository.get(key)
    return _command(application, job)


def _command(application: Any, job: Job) -> Sample:
    keys = _keys(application, job)

    def act() -> None:
        account: Account = application.repository.get(next(keys))
        account.deposit(AMOUNT, REFERENCE)
        application.save(account)

    return repeated(act, job)


def ten(job: Job) -> Sample:
    """Get, ten triggers, save."""
    application = _application(job)
    keys = _keys(application, job)

    def act() -> None:
        account: Account = application.repository.get(next(keys))
        for _ in range(EVENTS_A_SAVE):
            account.deposit(AMOUNT, REFERENCE)
        application.save(account)

    return repeated(act, job, units=EVENTS_A_SAVE)


def ten_kept(job: Job) -> Sample:
    """Ten triggers, save, of an aggregate that is kept."""
    application = _application(job)
    account: Account = application.repository.get(next(_keys(application, job)))

    def act() -> None:
        for _ in range(EVENTS_A_SAVE):
            account.deposit(AMOUNT, REFERENCE)
        application.save(account)

    return repeated(act, job, units=EVENTS_A_SAVE)


def bulk(job: Job) -> Sample:
    """Events of many accounts that are kept, saved together."""
    application = _application(job)
    keys = _keys(application, job)
    accounts: list[Account] = [
        application.repository.get(next(keys)) for _ in range(min(BULK_AGGREGATES, job.scale.accounts))
    ]

    def act() -> None:
        for _ in range(BULK_EVENTS // len(accounts)):
            for account in accounts:
                account.deposit(AMOUNT, REFERENCE)
        application.save(*accounts)

    return repeated(act, job, units=BULK_EVENTS // len(accounts) * len(accounts))


def replay(job: Job) -> Sample:
    """Get the long stream, without snapshots."""
    application = _application(job)
    (key,) = _ids(application)

    def sample() -> Done:
        account: Account = application.repository.get(key)
        assert account.version == job.scale.stream
        return Done(account.version)

    return sample


def read(job: Job) -> Sample:
    """Select the whole log in pages, each event as its class."""
    application = _application(job)

    def sample() -> Done:
        count, start = 0, 0
        while True:
            page = application.recorder.select_notifications(start, _PAGE, inclusive_of_start=False)
            for notification in page:
                if application.mapper.to_domain_event(notification) is not None:
                    count += 1
            if len(page) < _PAGE:
                return Done(count)
            start = page[-1].id

    return sample


def _application(job: Job, **settings: str) -> Any:
    place = job.place
    return Bank(
        env={
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": place.name,
            "POSTGRES_HOST": place.host,
            "POSTGRES_PORT": place.port,
            "POSTGRES_USER": place.user,
            "POSTGRES_PASSWORD": place.password,
            "POSTGRES_POOL_SIZE": "1",
            "POSTGRES_MAX_OVERFLOW": "0",
            "CREATE_TABLE": "no",
            **settings,
        }
    )


def _ids(application: Any) -> list[UUID]:
    with application.recorder.datastore.cursor() as cursor:
        cursor.execute("SELECT originator_id FROM bank_events WHERE originator_version = 1 ORDER BY 1")
        return [row["originator_id"] for row in cursor.fetchall()]


def _keys(application: Any, job: Job) -> Iterator[UUID]:
    return turns(_ids(application), job)


def _open(job: Job, count: int, *, deposits: int) -> None:
    application = _application(job)
    together = max(1, _EVENTS_TOGETHER // (1 + deposits))
    for start in range(0, count, together):
        opened = [Account.open(f"owner {number}") for number in range(start, min(start + together, count))]
        for account in opened:
            for _ in range(deposits):
                account.deposit(AMOUNT, REFERENCE)
        application.save(*opened)


def _nothing() -> Done:
    return Done(0)
