"""Verification finds every event that is not as it was written, and nothing in a log that is."""

from __future__ import annotations

import tracemalloc
from decimal import Decimal
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from eventsourcing_app import context, publish
from eventsourcing_app.log import verify as module
from eventsourcing_app.log.fingerprint import fingerprint
from eventsourcing_app.log.read import read_window
from eventsourcing_app.log.verify import verify
from eventsourcing_app.models import StoredEvent
from tests.samples.events import RateChanged
from tests.samples.factories import LOG, begin_counter, faults, fetch, list_book, open_wallet, run_sql, tamper
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db

HASH = "its hash does not fit its content"
FOLLOWS = "the event before it in its stream"
NOT_CANONICAL = "is not canonical JSON"


@pytest.fixture
def wallet() -> Wallet:
    """Two streams and a published fact, one after the other in the log."""
    with context(actor="user:1", correlation_id="c", request_id="r"):
        made = open_wallet("Ada", 1)
        other = open_wallet("Eve", 7)
        for one in (made, other, made):
            one.add(Decimal(2))
            one.save()
        publish(RateChanged(currency="EUR", rate=Decimal(1)))
    return made


def position(wallet: Wallet, version: int) -> int:
    return wallet.history().get(version=version).position


def set_column(wallet: Wallet, column: str, value: str) -> int:
    """Change a column of the wallet's second event and return its position."""
    where = position(wallet, 2)
    tamper(f"UPDATE {LOG} SET {column} = {value} WHERE position = %s", [where])
    return where


def command(**options: Any) -> str:
    out = StringIO()
    call_command("verify_events", stdout=out, **options)
    return out.getvalue()


def test_a_log_that_nobody_touched_has_no_fault(wallet: Wallet) -> None:
    list_book("é\u2028")
    begin_counter()
    assert faults() == {}
    assert "10 events verified: no fault" in command()


def test_an_empty_log_has_no_fault() -> None:
    assert "0 events verified: no fault" in command()


OTHER_BYTES = {"postgresql": r"'\x00'::bytea", "sqlite": "x'00'"}
TEXT_CHANGES = {
    "data": """'{"amount":"1000000","reference":""}'""",
    "metadata": """'{"request_id":"another"}'""",
    "actor": "'user:2'",
    "correlation_id": "'another'",
    "causation_id": "'00000000000000000000000000000001'",
    "event_id": "'00000000000000000000000000000001'",
    "recorded_at": "'2030-01-01 00:00:00'",
    "type": "'samples.money_taken'",
    "schema_version": "9",
    "stream_type": "'samples.counter'",
    "version": "NULL",
}


@pytest.mark.parametrize("column", TEXT_CHANGES)
def test_a_changed_column_is_found(wallet: Wallet, column: str) -> None:
    changed = set_column(wallet, column, TEXT_CHANGES[column])
    assert HASH in faults()[changed]


def test_an_older_time_is_found(wallet: Wallet) -> None:
    changed = set_column(wallet, "recorded_at", "'2001-01-01 00:00:00'")
    assert HASH in faults()[changed]
    assert FOLLOWS in faults()[changed]


def test_a_changed_hash_is_found(wallet: Wallet) -> None:
    changed = set_column(wallet, "hash", OTHER_BYTES[connection.vendor])
    assert faults() == {changed: f"{HASH};"}


@pytest.mark.parametrize(
    "text",
    [
        '{"amount": "1","reference":""}',
        '{"reference":"","amount":"1"}',
        '{"amount":"1","amount":"1","reference":""}',
        '{"amount":"\\u0031","reference":""}',
        '{"amount":"1","reference":""}\n',
        '{"amount":1.0,"reference":""}',
        '{"amount":1E3,"reference":""}',
    ],
)
def test_text_that_is_not_canonical_is_found(wallet: Wallet, text: str) -> None:
    where = position(wallet, 2)
    tamper(f"UPDATE {LOG} SET data = %s WHERE position = %s", [text, where])
    assert f"its data {NOT_CANONICAL}" in faults()[where]
    assert HASH in faults()[where]


def test_a_hash_made_to_fit_does_not_make_text_canonical(wallet: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    where = position(wallet, 2)
    tamper(f"UPDATE {LOG} SET metadata = %s WHERE position = %s", ['{"request_id": "r"}', where])
    (recorded,) = read_window(after=where - 1, until=where)
    forged = fingerprint(module._envelope(recorded))
    tamper(f"UPDATE {LOG} SET hash = %s WHERE position = %s", [forged, where])
    assert faults() == {where: f"its metadata {NOT_CANONICAL};"}


def test_a_gap_is_found_at_the_event_behind_it(wallet: Wallet) -> None:
    behind = position(wallet, 3)
    tamper(f"DELETE FROM {LOG} WHERE position = %s", [position(wallet, 2)])
    assert set(faults()) == {behind}
    assert FOLLOWS in faults()[behind]


def test_a_stream_without_its_first_event_is_found(wallet: Wallet) -> None:
    behind = position(wallet, 2)
    tamper(f"DELETE FROM {LOG} WHERE position = %s", [position(wallet, 1)])
    assert set(faults()) == {behind}


def test_a_renumbered_event_is_found(wallet: Wallet) -> None:
    last = position(wallet, 4)
    tamper(f"UPDATE {LOG} SET version = 9 WHERE position = %s", [last])
    assert HASH in faults()[last]
    assert FOLLOWS in faults()[last]


def test_swapped_rows_are_found(wallet: Wallet) -> None:
    first, second = position(wallet, 2), position(wallet, 3)
    names = [name for name in _columns() if name not in ("position", "version", "event_id")]
    values = ", ".join(f"{name} = (SELECT {name} FROM {LOG} WHERE position = %s)" for name in names)
    before = {p: StoredEvent.objects.get(pk=p).hash for p in (first, second)}
    tamper(f"UPDATE {LOG} SET {values} WHERE position = %s", [second] * len(names) + [first])
    assert bytes(StoredEvent.objects.get(pk=first).hash) == bytes(before[second])
    assert set(faults()) == {first}


def test_events_in_the_wrong_order_are_found_although_their_hashes_fit(wallet: Wallet) -> None:
    """Positions are not hashed: two whole events that changed places."""
    third, fourth = position(wallet, 3), position(wallet, 4)
    swap = f"UPDATE {LOG} SET position = %s WHERE position = %s"
    overriding = "ALTER TABLE {} ALTER COLUMN position SET GENERATED {}"
    if connection.vendor == "postgresql":
        run_sql(overriding.format(LOG, "BY DEFAULT"))
    for new, old in ((-1, third), (third, fourth), (fourth, -1)):
        tamper(swap, [new, old])
    if connection.vendor == "postgresql":
        run_sql(overriding.format(LOG, "ALWAYS"))
    assert [stored.position for stored in wallet.history()][2:] == [fourth, third]
    assert set(faults()) == {third}
    assert FOLLOWS in faults()[third]


def _columns() -> list[str]:
    return [field.attname for field in StoredEvent._meta.concrete_fields]


@pytest.mark.needs_postgres
def test_a_duplicate_is_found(wallet: Wallet) -> None:
    run_sql(f"ALTER TABLE {LOG} DROP CONSTRAINT eventsourcing_stream_version")
    names = [name for name in _columns() if name not in ("position", "event_id")]
    tamper(
        f"INSERT INTO {LOG} (event_id, {', '.join(names)}) SELECT gen_random_uuid(), {', '.join(names)} FROM {LOG} "
        "WHERE position = %s",
        [position(wallet, 2)],
    )
    first, second = wallet.history().filter(version=2).order_by("position").values_list("position", flat=True)
    assert faults()[first] == "another event has its version;"
    assert HASH in faults()[second]


def test_an_event_copied_to_another_stream_is_found(wallet: Wallet) -> None:
    names = [name for name in _columns() if name not in ("position", "event_id", "stream_key")]
    copied = "'00000000000000000000000000000009'"
    tamper(
        f"INSERT INTO {LOG} (event_id, stream_key, {', '.join(names)}) "
        f"SELECT {copied}, 'copied', {', '.join(names)} FROM {LOG} WHERE position = %s",
        [position(wallet, 1)],
    )
    assert set(faults()) == {StoredEvent.objects.get(stream_key="copied").position}


@pytest.mark.needs_sqlite
@pytest.mark.parametrize(
    ("column", "value"),
    [("recorded_at", "'yesterday'"), ("event_id", "'none'"), ("hash", "'text'"), ("version", "'two'"), ("actor", "7")],
)
def test_values_of_another_type_are_found_and_end_nothing(wallet: Wallet, column: str, value: str) -> None:
    changed = set_column(wallet, column, value)
    tamper(f"UPDATE {LOG} SET actor = 'x' WHERE position = %s", [position(wallet, 4)])
    assert {changed, position_of_actor("x")} <= set(faults())


def position_of_actor(actor: str) -> int:
    ((found,),) = fetch(f"SELECT position FROM {LOG} WHERE actor = %s", [actor])
    return int(found)


def test_several_faults_are_told_in_order(wallet: Wallet) -> None:
    where = [position(wallet, version) for version in (1, 2, 4)]
    for one in where:
        tamper(f"UPDATE {LOG} SET actor = 'x' WHERE position = %s", [one])
    assert [fault.position for fault in verify()] == where


# Windows


@pytest.mark.parametrize("window", [1, 2, 3])
def test_windows_change_nothing(wallet: Wallet, monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    where = position(wallet, 3)
    tamper(f"UPDATE {LOG} SET actor = 'x' WHERE position = %s", [where])
    expected, counts = faults(), list[int]()
    monkeypatch.setattr(module, "WINDOW", window)
    monkeypatch.setattr(module, "read_window", lambda **given: read_window(**given, limit=window))
    assert {fault.position for fault in verify(progress=counts.append)} == set(expected)
    assert sum(counts) == StoredEvent.objects.count()
    assert max(counts) == window


def test_memory_does_not_grow_with_the_log() -> None:
    def peak() -> int:
        tracemalloc.start()
        try:
            assert list(verify()) == []
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    counter = begin_counter()
    peaks = []
    for events in (1200, 2400):
        for _ in range(events):
            counter.count()
        counter.save()
        peaks.append(peak())
    assert peaks[1] < peaks[0] * 1.3


def test_first_and_last_limit_what_is_read(wallet: Wallet) -> None:
    first, last = position(wallet, 2), position(wallet, 3)
    for one in (position(wallet, 1), position(wallet, 4)):
        tamper(f"UPDATE {LOG} SET actor = 'x' WHERE position = %s", [one])
    assert list(verify(first=first, last=last)) == []
    assert f"{last - first + 1} events verified: no fault" in command(first=first, last=last)
    with pytest.raises(CommandError, match="1 faults"):
        command(first=first)
    with pytest.raises(CommandError, match="1 faults"):
        command(last=last)


# The command


def test_the_command_fails_and_names_the_first_faults(wallet: Wallet) -> None:
    where = set_column(wallet, "actor", "'x'")
    out = StringIO()
    with pytest.raises(CommandError, match=f"The first is at #{where}") as caught:
        call_command("verify_events", stdout=out)
    assert caught.value.returncode == 1
    assert out.getvalue() == f"#{where}: {HASH}\n"


def test_the_command_names_twenty_and_counts_the_rest() -> None:
    counter = begin_counter()
    for _ in range(24):
        counter.count()
    counter.save()
    tamper(f"UPDATE {LOG} SET actor = 'x'")
    out = StringIO()
    with pytest.raises(CommandError, match="25 events verified: 20 and 5 more faults"):
        call_command("verify_events", stdout=out)
    assert len(out.getvalue().splitlines()) == 20


@pytest.mark.parametrize("options", [{"first": 0}, {"first": 5, "last": 4}])
def test_the_command_refuses_positions_that_make_no_sense(options: dict[str, int]) -> None:
    with pytest.raises(CommandError, match="count from 1"):
        command(**options)


def test_the_fixture_makes_what_the_tests_expect(wallet: Wallet) -> None:
    assert wallet.version == 4
    call: Callable[[], str] = command
    assert "8 events" in call()
