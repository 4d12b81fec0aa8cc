"""Snapshots make the past cheap, and never another: one of other code, other events or another hand is not believed."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from eventsourcing_app.aggregates.past import snapshots
from eventsourcing_app.aggregates.past.applycode import fingerprint_of
from eventsourcing_app.aggregates.past.history import make_snapshots
from eventsourcing_app.log.recorded import FROM_ROW
from eventsourcing_app.models import StoredEvent, StoredSnapshot
from tests.samples.factories import (
    begin_counter,
    beside,
    change_row,
    counter_of,
    held_elsewhere,
    issue_passport,
    list_book,
    open_wallet,
    rebuild,
    run_sql,
    values_of,
)
from tests.samples.models import Book, Counter, Passport, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_django import Settings

    from eventsourcing_app.models import EventSourcedModel

pytestmark = pytest.mark.django_db(transaction=True)

MOMENT = timedelta(microseconds=1)


@pytest.fixture
def every(settings: Settings) -> Callable[[int], None]:
    """Sets for how many versions there is a snapshot."""

    def keep(versions: int) -> None:
        settings.EVENTSOURCING = {**settings.EVENTSOURCING, "SNAPSHOT_EVERY": versions}

    return keep


@pytest.fixture(autouse=True)
def four(every: Callable[[int], None]) -> None:
    every(4)


@pytest.fixture(autouse=True)
def nothing_was_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "_warned", set())


class Cost:
    """Queries of events and of snapshots, and the events that were read."""

    queries = 0
    events = 0


@contextmanager
def cost(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cost]:
    found = Cost()
    make = FROM_ROW[connection.vendor]

    def counted(row: Any) -> Any:
        found.events += 1
        return make(row)

    with monkeypatch.context() as patched, CaptureQueriesContext(connection) as captured:
        patched.setitem(FROM_ROW, connection.vendor, counted)
        yield found
    tables = ("eventsourcing_app_storedevent", "eventsourcing_app_storedsnapshot")
    found.queries = sum(any(table in query["sql"] for table in tables) for query in captured)


def kept(instance: EventSourcedModel) -> list[int]:
    """The versions of which there is a snapshot."""
    stored = StoredSnapshot.objects.filter(stream_type=instance.stream_type, stream_key=instance.stream_key)
    return list(stored.order_by("version").values_list("version", flat=True))


def totals(counter: Counter) -> list[int]:
    """The states of all versions, one by one."""
    return [Counter.objects.at(counter.pk, version=version).total for version in range(1, counter.version + 1)]


def forge(counter: Counter, version: int, total: int) -> None:
    """Make a snapshot that is right in everything but its state. Only who knows the secret key can."""
    snapshot = StoredSnapshot.objects.get(stream_key=counter.stream_key, version=version)
    snapshot.state = json.dumps({"total": str(total)})
    snapshot.stamp = snapshots._stamp(snapshot)
    snapshot.save()


# What it costs


@pytest.mark.parametrize("versions", [600, 2600])
def test_the_past_costs_one_snapshot_and_256_events_however_long_the_stream_is(
    versions: int, every: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    every(256)
    counter = counter_of(versions)
    first = counter.history().get(version=1).recorded_at
    assert Counter.objects.at(counter.pk, version=versions).total == versions - 1
    assert kept(counter) == list(range(256, versions, 256))
    for version in (255, 256, 257, 511, 512, 513, 599, versions - 1, versions):
        with cost(monkeypatch) as paid:
            assert Counter.objects.at(counter.pk, version=version).total == version - 1
        assert paid.queries == (1 if version < 256 else 2)  # before the first one there is none to look for
        assert paid.events <= 256
    with cost(monkeypatch) as paid:
        assert Counter.objects.at(counter.pk, when=first).version == versions
    assert paid.queries == 2
    assert paid.events <= 256


def test_a_moment_costs_no_more_than_a_version(every: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    every(8)
    counter = begin_counter()
    for _ in range(40):
        Counter.objects.perform(counter.pk, Counter.count)
    moments = list(counter.history().values_list("recorded_at", flat=True))
    Counter.objects.at(counter.pk, version=41)
    for version, moment in enumerate(moments, 1):
        for when in (moment, moment + MOMENT):
            with cost(monkeypatch) as paid:
                assert Counter.objects.at(counter.pk, when=when).version >= version
            assert paid.queries == 2
            assert paid.events <= 9  # that of the snapshot, and eight more, of which the last tells the end


def test_what_was_folded_once_is_not_folded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = counter_of(30)
    with cost(monkeypatch) as first:
        Counter.objects.at(counter.pk, version=30)
    with cost(monkeypatch) as second:
        Counter.objects.at(counter.pk, version=30)
    assert (first.events, second.events) == (30, 3)
    assert kept(counter) == [4, 8, 12, 16, 20, 24, 28]


def test_none_are_kept_or_used_if_they_are_switched_off(every: Callable[[int], None]) -> None:
    counter = counter_of(9)
    every(0)
    Counter.objects.at(counter.pk, version=9)
    assert kept(counter) == []
    every(4)
    Counter.objects.at(counter.pk, version=9)
    forge(counter, 8, total=1000)
    assert Counter.objects.at(counter.pk, version=9).total == 1001
    every(0)
    assert Counter.objects.at(counter.pk, version=9).total == 8


def test_another_distance_finds_the_old_ones_still(
    every: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = counter_of(20)
    Counter.objects.at(counter.pk, version=20)
    every(6)
    with cost(monkeypatch) as paid:
        assert Counter.objects.at(counter.pk, version=17).total == 16
    assert paid.events == 2


# That they are right


def folded(model: type[Any], pk: Any, *, version: int) -> Any:
    """The state after a version, folded from the first event."""
    for state, recorded in model.objects.replay(pk):
        if recorded.version == version:
            snapshots.make_plain(state)
            return values_of(state)
    raise AssertionError(version)


ACTS = st.lists(st.sampled_from(["add", "take", "label", "save"]), min_size=1, max_size=25)


@given(acts=ACTS, distance=st.integers(1, 5), ask=st.lists(st.integers(0, 100), min_size=1, max_size=6))
@examples(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_with_and_without_them_the_past_is_the_same(
    acts: list[str], distance: int, ask: list[int], every: Callable[[int], None]
) -> None:
    every(distance)
    wallet = open_wallet("Ada", "100.00")
    for number, act in enumerate(acts):
        if act == "label":
            wallet.label(labels=[act, str(number)])
        elif act != "save":
            getattr(wallet, act)(Decimal(number) + Decimal("0.10"))
        elif wallet._recording.pending:
            wallet.save()
    if wallet._recording.pending:
        wallet.save()
    for number in ask:
        version = 1 + number % wallet.version
        wanted = folded(Wallet, wallet.pk, version=version)
        assert values_of(Wallet.objects.at(wallet.pk, version=version)) == wanted
        moment = wallet.history().get(version=version).recorded_at
        by_then = wallet.history().filter(recorded_at__lte=moment).count()
        assert values_of(Wallet.objects.at(wallet.pk, when=moment)) == folded(Wallet, wallet.pk, version=by_then)
    assert kept(wallet) == [version for version in range(1, max(kept(wallet), default=0) + 1) if not version % distance]


def test_every_kind_of_column_is_read_back_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    passport = issue_passport(3, stamps=["DE", "FR", "DE"])
    passport.lose()
    passport.revoke()
    passport.save()
    fresh = [values_of(Passport.objects.at(passport.pk, version=version)) for version in range(1, 7)]
    assert kept(passport) == [4]
    with cost(monkeypatch) as paid:
        again = [values_of(Passport.objects.at(passport.pk, version=version)) for version in range(4, 7)]
    assert paid.events == 1 + 2 + 3
    assert again == fresh[3:]
    assert fresh[4]["status"] == (str, "lost")  # as a row has it, whether or not it went through a snapshot
    assert (fresh[4]["ended"], fresh[5]["ended"]) == ((bool, False), (bool, True))
    assert fresh[3]["stamps"] == (dict, {"DE": 2, "FR": 1})


def test_natural_keys_have_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    book = list_book("é/1", "Emma")
    for number in range(6):
        Book.objects.perform("é/1", Book.rename, title=f"Emma {number}", subtitle="x\0y"[:1])
    assert Book.objects.at("é/1", version=7).title == "Emma 5"
    assert kept(book) == [4]
    with cost(monkeypatch) as paid:
        assert Book.objects.at("é/1", version=5).title == "Emma 3"
    assert paid.events == 2


def test_a_state_that_would_be_read_back_as_another_has_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    counter = counter_of(9)

    def as_half(self: Counter, event: Any) -> None:
        self.total = self.total + event.by + 0.1

    with monkeypatch.context() as patched:
        patched.setattr(Counter, "_counted", as_half)
        fingerprint_of.cache_clear()
        assert Counter.objects.at(counter.pk, version=9).total == pytest.approx(8.9)
    fingerprint_of.cache_clear()
    assert kept(counter) == []
    assert (
        "No snapshot is made of samples.Counter: total holds a float that is not read back (ValidationError)"
        in caplog.text
    )


def test_a_value_of_another_type_than_is_read_back_has_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wallet = open_wallet("Ada", 1, 2, 3, 4)

    def as_float(self: Any, event: Any) -> None:
        self.balance = float(self.balance) + float(event.amount) + 0.001

    with monkeypatch.context() as patched:
        patched.setattr(Wallet, "_added", as_float)
        fingerprint_of.cache_clear()
        assert all(isinstance(Wallet.objects.at(wallet.pk, version=5).balance, float) for _ in range(2))
    fingerprint_of.cache_clear()
    assert kept(wallet) == []
    assert "balance holds a float that would be read back as a Decimal." in caplog.text


def test_the_warning_comes_once_for_a_field_and_tells_no_value(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def as_float(self: Any, event: Any) -> None:
        self.balance = float(self.balance) + float(event.amount) + 0.001

    wallets = [open_wallet("Ada", 1, 2, number) for number in range(6001, 6005)]
    with monkeypatch.context() as patched:
        patched.setattr(Wallet, "_added", as_float)
        fingerprint_of.cache_clear()
        for wallet in wallets:
            Wallet.objects.at(wallet.pk, version=4)
    fingerprint_of.cache_clear()
    assert len([each for each in caplog.records if "No snapshot" in each.getMessage()]) == 1
    assert "600" not in caplog.text


def test_a_row_that_was_changed_behind_the_library_gets_into_no_snapshot() -> None:
    counter = counter_of(3)
    change_row(Counter, counter.pk, total=1000)
    Counter.objects.perform(counter.pk, Counter.count)
    assert Counter.objects.get().total == 1001
    assert Counter.objects.at(counter.pk, version=4).total == 3
    assert Counter.objects.at(counter.pk, version=4).total == 3
    assert kept(counter) == [4]


# What is not believed


@pytest.mark.parametrize(
    "changes",
    [
        {"state": '{"total":"1000"}'},
        {"version": 7},
        {"recorded_at": datetime(2020, 1, 1, tzinfo=UTC)},
        {"event_hash": b"x" * 32},
        {"fingerprint": b"x" * 32},
        {"stamp": b"x" * 32},
        {"stream_key": "elsewhere"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_snapshot_that_somebody_changed_is_passed_over_and_replaced(changes: dict[str, Any]) -> None:
    other, counter = counter_of(9), counter_of(9)
    Counter.objects.at(counter.pk, version=9)
    before = StoredSnapshot.objects.get(version=8)
    if "stream_key" in changes:  # one that is right, for another aggregate
        counter, changes = other, {"stream_key": other.stream_key}
    assert StoredSnapshot.objects.filter(version=8).update(**changes) == 1
    expected = list(range(9))
    assert totals(counter) == expected
    assert [Counter.objects.at(counter.pk, when=stored.recorded_at).total for stored in counter.history()][-1] == 8
    replaced = StoredSnapshot.objects.get(stream_key=counter.stream_key, version=8)
    assert replaced.state == before.state
    assert snapshots._is_ours(replaced)


def test_another_secret_key_believes_none_of_the_old_ones(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = counter_of(9)
    Counter.objects.at(counter.pk, version=9)
    settings.SECRET_KEY = "another"
    for events in (9, 2):
        with cost(monkeypatch) as paid:
            Counter.objects.at(counter.pk, version=9)
        assert paid.events == events


def test_other_code_folds_anew_and_replaces_what_the_old_code_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = counter_of(9)
    assert Counter.objects.at(counter.pk, version=9).total == 8

    def twice(self: Counter, event: Any) -> None:
        self.total += 2 * event.by

    monkeypatch.setattr(Counter, "_counted", twice)
    fingerprint_of.cache_clear()
    before = set(StoredSnapshot.objects.values_list("fingerprint", flat=True))
    assert totals(counter) == [2 * number for number in range(9)]
    assert kept(counter) == [4, 8]
    after = set(StoredSnapshot.objects.values_list("fingerprint", flat=True))
    assert len({bytes(one) for one in before | after}) == 2
    with cost(monkeypatch) as paid:
        assert Counter.objects.at(counter.pk, version=9).total == 16
    assert paid.events == 2
    monkeypatch.undo()
    fingerprint_of.cache_clear()
    assert Counter.objects.at(counter.pk, version=9).total == 8


def test_a_snapshot_of_events_that_were_rolled_back_is_not_believed() -> None:
    counter = counter_of(3)
    with transaction.atomic():
        for _ in range(2):
            Counter.objects.perform(counter.pk, Counter.count, by=1000)
        *_, (state, recorded) = [one for one in Counter.objects.replay(counter.pk) if one[1].version == 4]
        phantom = snapshots._made(state, recorded)
        transaction.set_rollback(True)
    for _ in range(2):
        Counter.objects.perform(counter.pk, Counter.count, by=1)
    phantom.save()
    assert snapshots.newest(Counter, counter.stream_key) == phantom
    assert Counter.objects.at(counter.pk, version=5).total == 4
    assert Counter.objects.at(counter.pk, when=datetime.now(UTC)).total == 4
    assert [state.total for state in Counter.objects.as_of(datetime.now(UTC))] == [4]
    replaced = StoredSnapshot.objects.get(version=4)
    assert bytes(replaced.event_hash) == bytes(StoredEvent.objects.get(version=4).hash) != phantom.event_hash


def test_a_snapshot_beyond_the_end_of_the_history_is_not_believed() -> None:
    counter, other = counter_of(9), counter_of(3)
    Counter.objects.at(counter.pk, version=9)
    snapshot = StoredSnapshot.objects.get(version=8)
    snapshot.stream_key = other.stream_key
    snapshot.stamp = snapshots._stamp(snapshot)
    snapshot.save()
    moment = datetime.now(UTC)
    assert Counter.objects.at(other.pk, when=moment).total == 2
    assert [state.total for state in Counter.objects.as_of(moment)] == [8, 2]


def test_a_rebuild_believes_none() -> None:
    counter = counter_of(9)
    Counter.objects.at(counter.pk, version=9)
    forge(counter, 8, total=1000)
    assert Counter.objects.at(counter.pk, version=9).total == 1001
    for check in (True, False):
        assert list(rebuild(Counter, check=check)) == []
    change_row(Counter, counter.pk, total=1)
    (drift,) = rebuild(Counter, check=False)
    assert drift.fields == {"total": (1, 8)}
    assert Counter.objects.get().total == 8


# That they are in nobody's way


def test_inside_a_transaction_only_the_newest_is_kept_and_after_its_commit() -> None:
    counter = counter_of(9)
    with transaction.atomic():
        Counter.objects.at(counter.pk, version=9)
        assert kept(counter) == []
    assert kept(counter) == [8]


def test_nothing_is_kept_of_a_transaction_that_is_rolled_back() -> None:
    with transaction.atomic():
        counter = counter_of(9)
        assert Counter.objects.at(counter.pk, version=9).total == 8
        transaction.set_rollback(True)
    assert not StoredSnapshot.objects.exists()


def test_a_savepoint_that_is_rolled_back_takes_its_snapshots_along() -> None:
    counter = counter_of(3)
    with transaction.atomic():
        with transaction.atomic():
            Counter.objects.perform(counter.pk, Counter.count, by=1000)
            assert Counter.objects.at(counter.pk, version=4).total == 1002
            transaction.set_rollback(True)
        Counter.objects.perform(counter.pk, Counter.count)
    assert kept(counter) == []
    assert Counter.objects.at(counter.pk, version=4).total == 3


@pytest.mark.needs_sqlite
def test_a_reader_does_not_wait_for_a_writer_to_keep_one() -> None:
    counter = counter_of(9)
    (timeout,) = connection.cursor().execute("PRAGMA busy_timeout").fetchone()
    with held_elsewhere(open_wallet):
        assert Counter.objects.at(counter.pk, version=9).total == 8
        assert kept(counter) == []
    assert connection.cursor().execute("PRAGMA busy_timeout").fetchone() == (timeout,)
    assert timeout > 0


@pytest.mark.needs_postgres
def test_who_may_not_write_can_look_back(caplog: pytest.LogCaptureFixture) -> None:
    counter = counter_of(9)
    run_sql("SET default_transaction_read_only = on")
    try:
        assert Counter.objects.at(counter.pk, version=9).total == 8
        with transaction.atomic():
            assert Counter.objects.at(counter.pk, version=9).total == 8
    finally:
        run_sql("RESET default_transaction_read_only")
    assert kept(counter) == []
    assert "cannot be stored" in caplog.text


def test_readers_beside_each_other_keep_the_same_ones() -> None:
    counters = [counter_of(40) for _ in range(3)]

    def look() -> list[int]:
        return [Counter.objects.at(counter.pk, version=40).total for _ in range(5) for counter in counters]

    with beside(look, look, look) as running:
        assert [set(future.result()) for future in running] == [{39}] * 3
    Counter.objects.at(counters[0].pk, version=40)
    assert kept(counters[0]) == list(range(4, 41, 4))


def test_they_can_be_dropped_at_any_time() -> None:
    counter = counter_of(9)
    Counter.objects.at(counter.pk, version=9)
    StoredSnapshot.objects.all().delete()
    assert Counter.objects.at(counter.pk, version=9).total == 8
    assert kept(counter) == [4, 8]


# The command


def command(*args: str) -> str:
    out = StringIO()
    call_command("snapshots", *args, stdout=out)
    return out.getvalue()


def test_the_command_makes_what_is_due_and_no_more() -> None:
    counters = [counter_of(versions) for versions in (3, 4, 9)]
    assert "2 aggregates are due snapshots: 12 events folded" in command("samples.Counter")
    assert [kept(counter) for counter in counters] == [[], [4], [4, 8]]
    assert "2 aggregates are due snapshots: 0 events" in command("samples.Counter")
    for _ in range(5):
        Counter.objects.perform(counters[2].pk, Counter.count)
    assert "2 aggregates are due snapshots: 4 events" in command("samples.Counter")
    assert kept(counters[2]) == [4, 8, 12]


def test_the_command_goes_through_more_rows_than_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventsourcing_app.aggregates.past.history.WINDOW", 2)
    counters = [counter_of(4) for _ in range(5)]
    assert list(make_snapshots(Counter)) == [4] * 5
    assert [kept(counter) for counter in counters] == [[4]] * 5


def test_the_command_drops_those_of_a_model() -> None:
    counter, wallet = counter_of(9), open_wallet("Ada", 1, 2, 3)
    Counter.objects.at(counter.pk, version=9)
    Wallet.objects.at(wallet.pk, version=4)
    assert "2 snapshots dropped" in command("samples.Counter", "--drop")
    assert (kept(counter), kept(wallet)) == ([], [4])


def test_the_command_refuses_what_has_no_snapshots(every: Callable[[int], None]) -> None:
    for label in ("samples.Nothing", "samples.Customer"):
        with pytest.raises(CommandError, match=r"app_label|not event-sourced"):
            command(label)
    every(0)
    with pytest.raises(CommandError, match="SNAPSHOT_EVERY"):
        command("samples.Counter")


def test_a_snapshot_says_what_it_is_of() -> None:
    key = str(uuid4())
    assert str(StoredSnapshot(stream_type="a.b", stream_key=key, version=4)) == f"a.b {key} v4"
