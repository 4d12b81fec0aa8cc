"""Rebuilding gives the same rows again, and finds and repairs every row that was changed behind the library."""

from __future__ import annotations

import json
from decimal import Decimal
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, models

from eventsourcing_app.aggregates.rebuild import rebuild as module
from eventsourcing_app.aggregates.rebuild.drift import Drift
from eventsourcing_app.aggregates.rebuild.rebuild import Rebuilt, check_sample
from eventsourcing_app.aggregates.rebuild.rebuilder import Progress, run_rebuild
from eventsourcing_app.aggregates.rebuild.records import RebuildRun
from eventsourcing_app.aggregates.rebuild.runs import Counts
from eventsourcing_app.aggregates.values import as_column
from eventsourcing_app.exceptions import SpentInstance, StateDrifted
from eventsourcing_app.log.streams import windows
from eventsourcing_app.management.commands import rebuild as rebuild_command
from eventsourcing_app.tasks import check_drift
from tests.reactions_sample.scene import append_raw
from tests.samples.factories import (
    WAIT,
    begin_counter,
    beside,
    change_row,
    elsewhere,
    fetch,
    insert_rows,
    list_book,
    open_wallet,
    rebuild,
    run_sql,
)
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
    assert run_rebuild(Wallet, check=True, processes=1) == Counts(aggregates=2, events=4)


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
    assert as_column(scan, Folder(scan=name).scan) == as_column(scan, Folder().scan)
    assert as_column(scan, Folder(scan="a.pdf").scan) == "a.pdf"


# Rows that are removed at the end of their stream


@pytest.fixture
def removed_at_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wallet, "remove_row_at_end", True)


def test_a_row_that_should_have_gone_with_its_stream_is_left_over_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    wallet, other = open_wallet("Ada", 1), open_wallet("Eve")
    wallet.close()
    wallet.save()  # by code that kept rows
    monkeypatch.setattr(Wallet, "remove_row_at_end", True)
    (found,) = drifts(check=True)
    assert (found.pk, found.problem, found.fields, found.version) == (wallet.pk, "left over", {}, 3)
    assert found.position == wallet.history().get(version=3).position
    assert drifts(check=False) == [found]
    assert Wallet.objects.get() == other
    assert drifts(check=True) == drifts(check=False) == []


@pytest.mark.usefixtures("removed_at_end")
def test_a_row_that_went_with_its_stream_is_not_missing_but_any_other_is() -> None:
    wallet, other = open_wallet("Ada"), open_wallet("Eve")
    wallet.close()
    wallet.save()
    assert drifts() == []
    remove(other)
    assert [(drift.pk, drift.problem) for drift in drifts(check=False)] == [(other.pk, "missing")]


# What the database does not take


def test_a_state_that_a_constraint_refuses_is_named_and_the_others_are_repaired() -> None:
    rich, poor = open_wallet("Ada", 1), open_wallet("Eve", 1)
    append_raw("samples.money_added", {"amount": "2000000.00", "reference": ""}, key=rich.stream_key, version=3)
    change_row(Wallet, poor.pk, balance=5)
    found = {drift.pk: drift for drift in drifts(check=False)}
    assert set(found) == {rich.pk, poor.pk}
    assert "samples_wallet_not_too_rich" in found[rich.pk].refusal
    assert found[poor.pk].refusal == ""
    assert list(Wallet.objects.order_by("pk").values_list("balance", "version")) == [(Decimal(1), 2)] * 2
    out = StringIO()
    with pytest.raises(CommandError, match="1 differ, 1 not repaired"):
        call_command("rebuild", "samples.Wallet", stdout=out)
    assert "It cannot be repaired: " in out.getvalue()


# Samples, and what the command prints


def test_a_sample_finds_what_differs_among_what_it_has_picked() -> None:
    wallets = [open_wallet(str(number), 1) for number in range(6)]
    models.QuerySet(Wallet).update(balance=7)
    seen = Rebuilt()
    found = list(check_sample(Wallet, size=4, seen=seen))
    assert len({drift.pk for drift in found} & {wallet.pk for wallet in wallets}) == 4
    assert (seen.aggregates, seen.events) == (4, 8)
    assert len(list(check_sample(Wallet, share=1))) == 6
    assert set(Wallet.objects.values_list("balance", flat=True)) == {7}


def test_a_schedule_can_check_a_sample(caplog: pytest.LogCaptureFixture) -> None:
    wallet = open_wallet("Ada", 1)
    assert check_drift("samples.Wallet", 5) == "1 aggregates, 2 events: 0 differ"
    change_row(Wallet, wallet.pk, balance=9)
    with pytest.raises(StateDrifted, match=r"1 of 1 rows of samples\.Wallet"):
        check_drift("samples.Wallet")
    assert f"samples.Wallet {wallet.pk} is not what its history says: balance" in caplog.text
    with pytest.raises(TypeError, match="not event-sourced"):
        check_drift("samples.Customer")


@pytest.mark.parametrize("sample", ["50", "100%"])
def test_the_command_compares_a_sample_and_repairs_nothing(sample: str) -> None:
    wallet = open_wallet("Ada", 1)
    assert "1 aggregates, 2 events: 0 differ" in command("samples.Wallet", "--sample", sample)
    change_row(Wallet, wallet.pk, balance=9)
    with pytest.raises(CommandError, match="1 differ, 1 not repaired"):
        command("samples.Wallet", "--sample", sample)
    assert Wallet.objects.get().balance == 9


@pytest.mark.parametrize("sample", ["0", "-1", "x", "0%", "101%", "%"])
def test_the_command_refuses_a_sample_that_is_none(sample: str) -> None:
    with pytest.raises(CommandError, match="neither a number of aggregates"):
        command("samples.Wallet", f"--sample={sample}")


def test_the_command_rebuilds_several_models_and_names_each_that_differs() -> None:
    wallet = open_wallet("Ada", 1)
    list_book("1")
    change_row(Wallet, wallet.pk, balance=9)
    change_row(Book, "1", title="?")
    with pytest.raises(CommandError, match=r"samples\.Wallet: .*1 differ(.|\n)*samples\.Book: .*1 differ"):
        command("samples.Wallet", "samples.Counter", "samples.Book", "--check")
    said = command("samples.Wallet", "samples.Counter", "samples.Book")
    assert (said.count("all repaired"), said.count("0 differ")) == (2, 1)


def test_the_command_prints_one_json_object_a_line() -> None:
    wallet = open_wallet("Ada", 1)
    insert_rows("1")
    change_row(Wallet, wallet.pk, balance=9)
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("rebuild", "samples.Wallet", "samples.Book", "--json", stdout=out)
    position = wallet.history().get(version=1).position
    repaired = {"fields": {"balance": ["9.00", "1.00"]}, "version": 1, "position": position, "left": False}
    event = {"problem": "differs", "type": "samples.wallet_opened", "refusal": ""}
    counts = {"check": False, "aggregates": 1, "events": 2, "drifted": 1, "left": 0, "resumed": False}
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert lines[0] == {"model": "samples.Wallet", "stream_key": str(wallet.pk), **event, **repaired}
    run = RebuildRun.objects.get(model="samples.wallet")
    assert lines[1] == {"model": "samples.Wallet", **counts, "started_at": run.started_at.isoformat()}
    assert (lines[2]["stream_key"], lines[2]["problem"], lines[2]["left"]) == ("1", "unknown", True)
    assert lines[3]["left"] == 1


def test_progress_tells_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rebuild_command._progress(Progress(5, 100, 400), 10) == "5 aggregates, 100 events of at least 400"
    going_on = Progress(5, 3000, 4000, whole=True, before=2000)
    assert rebuild_command._progress(going_on, 10) == "5 aggregates, 3000 events (75 %), 100 a second, 0:00:10 left"
    monkeypatch.setattr(rebuild_command, "_LINE_SECONDS", 0)
    open_wallet()
    errors = StringIO()
    call_command("rebuild", "samples.Wallet", stdout=StringIO(), stderr=errors)
    assert "samples.Wallet: 1 aggregates, 1 events" in errors.getvalue()
    for quiet in ("--no-progress", "--verbosity=0"):
        errors = StringIO()
        call_command("rebuild", "samples.Wallet", quiet, stdout=StringIO(), stderr=errors)
        assert errors.getvalue() == ""


@pytest.mark.django_db(transaction=True)
def test_a_rebuild_beside_writers_takes_no_write_for_a_difference_and_loses_none() -> None:
    wallets = [open_wallet(str(number)) for number in range(8)]

    def write() -> int:
        for _ in range(6):
            for wallet in wallets:
                Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1))
            open_wallet("new", 1)
        return 6

    with beside(write, write) as futures:
        rounds = 0
        while rounds == 0 or not all(future.done() for future in futures):
            assert drifts(check=False) == []
            rounds += 1
        assert [future.result(WAIT) for future in futures] == [6, 6]
    assert drifts(check=True) == []
    assert {wallet.balance for wallet in Wallet.objects.exclude(owner="new")} == {12}
    assert Wallet.objects.filter(owner="new").count() == 12
