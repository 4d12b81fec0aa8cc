"""Rebuilding gives the same rows again, and finds and repairs every row that was changed behind the library."""

from __future__ import annotations

from decimal import Decimal
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, models

from eventsourcing_app.aggregates import rebuild as module
from eventsourcing_app.aggregates.drift import Drift, stored_value
from eventsourcing_app.aggregates.rebuild import Rebuilt, rebuild
from eventsourcing_app.exceptions import SpentInstance
from eventsourcing_app.log.streams import windows
from tests.samples.factories import begin_counter, change_row, elsewhere, fetch, list_book, open_wallet, run_sql
from tests.samples.models import Book, Contract, Counter, Customer, Folder, OwnerTotal, Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventsourcing_app.log.streams import Row

pytestmark = pytest.mark.django_db


def drifts(model: type[Any] = Wallet, *, check: bool = True) -> list[Drift]:
    return list(rebuild(model, check=check))


def command(*args: str) -> str:
    out = StringIO()
    call_command("rebuild", *args, stdout=out)
    return out.getvalue()


def rows(model: type[models.Model]) -> list[tuple[Any, ...]]:
    return fetch(f"SELECT * FROM {model._meta.db_table} ORDER BY 1")


def remove(instance: models.Model) -> None:
    table, key = instance._meta.db_table, instance._meta.pk
    assert key is not None
    value = instance.pk.hex if isinstance(key, models.UUIDField) and connection.vendor == "sqlite" else instance.pk
    run_sql(f"DELETE FROM {table} WHERE {key.column} = %s", [value])


def insert_rows(*isbns: str) -> None:
    """Books without a history."""
    rows: models.QuerySet[Any] = models.QuerySet(Book)
    rows.bulk_create([Book(isbn=isbn) for isbn in isbns])


def one_of_each() -> tuple[Wallet, Book, Counter, Contract]:
    wallet = open_wallet("Ada", "1.10", "2.20")
    wallet.label(labels=["é", "b"])
    wallet.save()
    contract = Contract()
    contract.sign(customer_id=Customer.objects.create(name="Ada").pk, terms=("a", "b"))
    contract.save()
    return wallet, list_book("978", "Emma"), begin_counter(by=5), contract


def test_what_was_saved_is_what_is_rebuilt() -> None:
    one_of_each()
    open_wallet("Eve", 3).close()
    for model in (Wallet, Book, Counter, Contract):
        before = rows(model)
        for _ in range(2):
            assert drifts(model, check=True) == []
            assert drifts(model, check=False) == []
            assert rows(model) == before


def test_rows_made_twice_from_history_alone_are_the_same() -> None:
    saved = one_of_each()
    before = [rows(type(instance)) for instance in saved]
    for _ in range(2):
        for instance in saved:
            remove(instance)
            assert [drift.problem for drift in drifts(type(instance), check=False)] == ["missing"]
        assert [rows(type(instance)) for instance in saved] == before


def test_what_has_been_gone_through_is_counted() -> None:
    open_wallet("Ada", 1, 2)
    open_wallet("Eve")
    list_book()
    seen = Rebuilt()
    assert list(rebuild(Wallet, check=True, seen=seen)) == []
    assert (seen.aggregates, seen.events) == (2, 4)


@pytest.mark.parametrize(
    ("changes", "version"),
    [
        ({"balance": Decimal(1)}, 3),
        ({"balance": Decimal(99)}, 1),
        ({"owner": "Eve"}, 1),
        ({"labels": []}, 4),
        ({"labels": ["x"]}, 1),
        ({"version": 2}, 3),
        ({"balance": Decimal(1), "labels": []}, 3),
        ({"ended": True}, 1),
        ({"changed_at": None}, 1),
    ],
)
def test_a_changed_row_is_found_with_the_event_where_it_parts_and_repaired(
    changes: dict[str, object], version: int
) -> None:
    wallet = open_wallet("Ada", 1, 2)
    wallet.label(labels=["a"])
    wallet.save()
    before = rows(Wallet)
    change_row(Wallet, wallet.pk, **changes)
    changed = rows(Wallet)
    (found,) = drifts(check=True)
    assert (found.pk, found.problem, set(found.fields)) == (wallet.pk, "differs", set(changes))
    assert {name: was for name, (was, _) in found.fields.items()} == changes
    assert found.version == version
    assert found.position == wallet.history().get(version=version).position
    assert rows(Wallet) == changed
    assert drifts(check=False) == [found]
    assert rows(Wallet) == before
    assert drifts(check=True) == []


def test_columns_without_history_are_no_difference_and_are_kept() -> None:
    wallet = open_wallet("Ada", 1)
    Wallet.objects.update(note="kept")
    assert drifts() == []
    change_row(Wallet, wallet.pk, balance=9)
    drifts(check=False)
    assert (Wallet.objects.get().note, Wallet.objects.get().balance) == ("kept", Decimal(1))


def test_a_missing_row_is_found_and_made_again() -> None:
    wallet, other = open_wallet("Ada", 1), open_wallet("Eve")
    before = rows(Wallet)
    remove(wallet)
    (found,) = drifts(check=True)
    assert (found.pk, found.problem, found.fields, found.version) == (wallet.pk, "missing", {}, 1)
    assert Wallet.objects.get() == other
    drifts(check=False)
    assert rows(Wallet) == before
    Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1))


def test_a_row_without_history_is_found_and_left_alone() -> None:
    open_wallet()
    insert_rows(*[str(n) for n in range(3)])
    list_book("9")
    for check in (True, False):
        found = drifts(Book, check=check)
        assert [(drift.pk, drift.problem, drift.version) for drift in found] == [
            (str(n), "unknown", None) for n in range(3)
        ]
    assert Book.objects.count() == 4


def test_a_rebuild_by_itself_writes_no_event_and_spends_nothing_wrongly() -> None:
    wallet = open_wallet("Ada", 1)
    drifts(check=False)
    wallet.add(Decimal(1))
    wallet.save()
    assert wallet.version == 3
    with pytest.raises(SpentInstance):
        Wallet.objects.at(wallet.pk, version=1).save()


@pytest.mark.django_db(transaction=True)
def test_a_write_at_the_same_time_is_no_false_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    wallets = [open_wallet(str(n)) for n in range(3)]
    whole = windows

    def interrupted(stream_type: str, **bounds: Any) -> Iterator[list[Row]]:
        events = list(whole(stream_type, **bounds))
        for wallet in wallets:
            elsewhere(lambda wallet=wallet: Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1)))  # type: ignore[misc]
        elsewhere(lambda: open_wallet("new"))
        return iter(events)

    monkeypatch.setattr(module, "windows", interrupted)
    assert drifts(check=True) == []
    assert drifts(check=False) == []
    assert {wallet.balance for wallet in Wallet.objects.exclude(owner="new")} == {2}


def test_more_events_than_a_window_are_rebuilt() -> None:
    counters = [begin_counter() for _ in range(3)]
    for counter in counters:
        for _ in range(400):
            counter.count()
        counter.save()
    change_row(Counter, counters[1].pk, total=399)
    (found,) = drifts(Counter)
    assert (found.pk, found.version) == (counters[1].pk, 401)


# The command


def test_the_command_says_that_nothing_differs() -> None:
    open_wallet("Ada", 1)
    assert "1 aggregates, 2 events: 0 differ" in command("samples.Wallet", "--check")
    assert "0 differ" in command("samples.Wallet")


def test_the_command_fails_on_a_difference_and_names_it() -> None:
    wallet = open_wallet("Ada", 1, 2)
    change_row(Wallet, wallet.pk, balance=1)
    out = StringIO()
    with pytest.raises(CommandError, match="1 differ, 1 not repaired"):
        call_command("rebuild", "samples.Wallet", "--check", stdout=out)
    position = wallet.history().get(version=3).position
    assert str(wallet.pk) in out.getvalue()
    assert "balance" in out.getvalue()
    assert f"version 3 (event #{position}, samples.money_added)" in out.getvalue()
    assert Wallet.objects.get().balance == 1
    assert "all repaired" in command("samples.Wallet")
    assert Wallet.objects.get().balance == 3
    command("samples.Wallet", "--check")


def test_the_command_fails_on_a_row_that_it_cannot_repair() -> None:
    insert_rows("1")
    for arguments in (["--check"], []):
        with pytest.raises(CommandError, match="not repaired"):
            command("samples.Book", *arguments)


@pytest.mark.parametrize("label", ["samples.Nothing", "nothing", "samples.Customer", "no.Model"])
def test_the_command_refuses_what_is_not_event_sourced(label: str) -> None:
    with pytest.raises(CommandError, match=r"app_label|not event-sourced"):
        command(label)
    assert OwnerTotal._meta.label == "samples.OwnerTotal"


@pytest.mark.parametrize("name", [None, ""])
def test_a_file_field_that_holds_no_file_is_no_difference(name: str | None) -> None:
    scan = Folder._meta.get_field("scan")
    assert stored_value(scan, Folder(scan=name).scan) == stored_value(scan, Folder().scan)
    assert stored_value(scan, Folder(scan="a.pdf").scan) == "a.pdf"
