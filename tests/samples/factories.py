"""What tests make and look at: aggregates, the raw rows of the log, and the outcome of what runs beside the test."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from django.db import connection, connections, models, transaction
from django.db.models.fields.files import FieldFile

from eventsourcing_app.aggregates.rebuild import runs
from eventsourcing_app.aggregates.rebuild.drift import Drift
from eventsourcing_app.aggregates.rebuild.rebuilder import run_rebuild
from eventsourcing_app.log.append import COPY_FROM
from eventsourcing_app.log.verify import verify
from eventsourcing_app.models import EventSourcedModel, StoredEvent
from eventsourcing_app.testing import append_only_lifted
from tests.samples.models import Book, Contract, Counter, Customer, Folder, Passport, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)
LOG = "eventsourcing_app_storedevent"
SEVERAL = (1, COPY_FROM)
"""Numbers of events before a save: one statement, and more than go in one on PostgreSQL."""
WAIT = 20
"""Seconds after which something that another thread should have done counts as not done."""


def open_wallet(owner: str = "Ada", *amounts: int | str) -> Wallet:
    """A saved wallet into which ``amounts`` have been put."""
    wallet = Wallet()
    wallet.open(owner=owner)
    for amount in amounts:
        wallet.add(Decimal(amount))
    wallet.save()
    return wallet


def list_book(isbn: str = "1", title: str = "Emma") -> Book:
    """A saved book."""
    book = Book(isbn=isbn)
    book.list_it(title=title)
    book.save()
    return book


def begin_counter(by: int = 0) -> Counter:
    """A saved counter."""
    counter = Counter()
    counter.begin(by=by)
    counter.save()
    return counter


def counter_of(versions: int) -> Counter:
    """A saved counter that has counted to its version, less one."""
    counter = Counter()
    counter.begin()
    for _ in range(versions - 1):
        counter.count()
    counter.save()
    return counter


def issue_passport(pages: int = 32, *, stamps: Sequence[str] = (), photo: str = "a.jpg") -> Passport:
    """A saved passport of a new customer."""
    passport = Passport(holder=Customer.objects.create(name="Ada"))
    passport.issue(pages=pages, photo=photo)
    for country in stamps:
        passport.stamp(country)
    passport.save()
    return passport


def remove_row(instance: EventSourcedModel) -> None:
    """Delete a row behind the library's back; its history stays."""
    table, key = instance._meta.db_table, instance._meta.pk
    value = instance.pk.hex if isinstance(key, models.UUIDField) and connection.vendor == "sqlite" else instance.pk
    run_sql(f"DELETE FROM {table} WHERE {key.column} = %s", [value])


def values_of(state: EventSourcedModel) -> dict[str, tuple[type, Any]]:
    """Every column of an instance, with the type of its value; a file counts by its name."""
    values = {field.attname: getattr(state, field.attname) for field in state._meta.concrete_fields}
    values = {name: value.name if isinstance(value, FieldFile) else value for name, value in values.items()}
    return {name: (type(value), value) for name, value in values.items()}


def add(wallet: Wallet, times: int = 1) -> Wallet:
    """Put 1 into a wallet, as often as said; nothing is saved."""
    for _ in range(times):
        wallet.add(Decimal(1))
    return wallet


def versions(instance: EventSourcedModel) -> list[int | None]:
    """The versions of an aggregate's events."""
    return list(instance.history().values_list("version", flat=True))


def types(events: models.QuerySet[StoredEvent] | None = None) -> list[str]:
    """The wire names of events without the app's label, in order."""
    stored = (StoredEvent.objects.order_by("position") if events is None else events).values_list("type", flat=True)
    return [name.removeprefix("samples.") for name in stored]


def run_sql(sql: str, params: Sequence[Any] = ()) -> None:
    """Run a statement behind the library's back."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


def fetch(sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """What the database itself says."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def stored_texts(position: int) -> tuple[str, str]:
    """Data and metadata of an event, as the very text that the column holds."""
    cast = "::text" if connection.vendor == "postgresql" else ""
    ((data, metadata),) = fetch(f"SELECT data{cast}, metadata{cast} FROM {LOG} WHERE position = %s", [position])
    return data, metadata


def tamper(sql: str, params: Sequence[Any] = ()) -> None:
    """Change the log as only somebody can who switches its protection off."""
    with append_only_lifted():
        run_sql(sql, params)


def faults() -> dict[int, str]:
    """What verification finds, by position."""
    found: dict[int, str] = {}
    for fault in verify():
        found[fault.position] = f"{found.get(fault.position, '')}{fault.what};"
    return found


def rebuild(model: type[EventSourcedModel], *, check: bool) -> list[Drift]:
    """What a rebuild finds, as it runs in production but in this process alone; with the very values."""
    found: dict[Any, Drift] = {}
    tell = runs.finding_of

    def finding_of(model: type[EventSourcedModel], drift: Drift, *, check: bool) -> runs.Finding:
        found[drift.pk] = drift  # twice for one that the database refuses to repair: then it says why
        return tell(model, drift, check=check)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "finding_of", finding_of)
        done = run_rebuild(model, check=check, processes=1)
    assert done is not None
    assert done.drifted == len(found)
    return list(found.values())


def drifts() -> list[Drift]:
    """Every row of the samples that is not what its history says."""
    return [
        drift for model in (Wallet, Book, Counter, Contract, Folder, Passport) for drift in rebuild(model, check=True)
    ]


def change_row(model: type[models.Model], pk: Any, **values: Any) -> None:
    """Change a row behind the library's back."""
    assert models.QuerySet(model).filter(pk=pk).update(**values) == 1


def insert_rows(*isbns: str) -> None:
    """Books without a history."""
    rows: models.QuerySet[Any] = models.QuerySet(Book)
    rows.bulk_create([Book(isbn=isbn) for isbn in isbns])


@contextmanager
def failing(error: type[E], match: str | None = None) -> Iterator[pytest.ExceptionInfo[E]]:
    """Let the block, which may be several statements long, end with this error."""
    with pytest.raises(error, match=match) as caught:
        yield caught


@contextmanager
def beside(*jobs: Callable[[], T]) -> Iterator[list[Future[T]]]:
    """Run ``jobs`` in threads with connections of their own."""

    def run(job: Callable[[], T]) -> T:
        try:
            return job()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(jobs)) as pool:
        yield [pool.submit(run, job) for job in jobs]


def elsewhere(job: Callable[[], T]) -> T:
    """Run ``job`` to its end on another connection."""
    with beside(job) as (future,):
        return future.result(WAIT)


@contextmanager
def held_elsewhere(job: Callable[[], object]) -> Iterator[Event]:
    """Run ``job`` in a transaction of another connection that stays open until the event that is handed out is set."""
    done, go_on = Event(), Event()

    def hold() -> None:
        with transaction.atomic():
            try:
                job()
            finally:
                done.set()
            assert go_on.wait(WAIT)

    with beside(hold) as (future,):
        try:
            assert done.wait(WAIT)
            yield go_on
        finally:
            go_on.set()
        future.result(WAIT)
