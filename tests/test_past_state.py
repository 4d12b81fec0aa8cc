"""The past is exact: what an aggregate was at a version or at a moment, and what happened to it, in order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from django.db import connection

from eventsourcing_app.exceptions import DirectWriteRefused, NoSuchVersion, SpentInstance
from eventsourcing_app.models import StoredEvent
from tests.samples.events import MoneyAdded
from tests.samples.factories import begin_counter, issue_passport, list_book, open_wallet, types
from tests.samples.models import Book, Counter, Passport, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_django import Settings


pytestmark = pytest.mark.django_db

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
INSTANT = timedelta(microseconds=1)


@pytest.fixture
def tick(settings: Settings) -> Iterator[Callable[[timedelta], None]]:
    """A clock that stands still until it is moved."""
    now = [NOON]

    def move(by: timedelta) -> None:
        now[0] += by

    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "CLOCK": lambda: now[0]}
    return move  # type: ignore[return-value]


def test_the_state_at_each_version() -> None:
    wallet = open_wallet("Ada", 1, 2)
    wallet.label(labels=["a"])
    wallet.close()
    wallet.save()
    states = [Wallet.objects.at(wallet.pk, version=version) for version in range(1, 6)]
    assert [state.balance for state in states] == [0, 1, 3, 3, 3]
    assert [state.labels for state in states] == [[], [], [], ["a"], ["a"]]
    assert [state.ended for state in states] == [False, False, False, False, True]
    assert [state.version for state in states] == [1, 2, 3, 4, 5]
    assert {state.owner for state in states} == {"Ada"}
    recorded = [(stored.recorded_at, stored.position) for stored in wallet.history()]
    assert [(state.changed_at, state.position) for state in states] == recorded
    assert {state.pk for state in states} == {wallet.pk}


def test_a_version_beyond_the_last_is_refused() -> None:
    wallet = open_wallet("Ada", 1)
    with pytest.raises(NoSuchVersion, match="version 3: its history ends at 2") as caught:
        Wallet.objects.at(wallet.pk, version=3)
    assert isinstance(caught.value, LookupError)


def test_before_its_first_event_nothing_existed() -> None:
    wallet = open_wallet()
    begun = wallet.history().get().recorded_at
    for missing in ({"version": 0}, {"when": begun - INSTANT}):
        with pytest.raises(Wallet.DoesNotExist):
            Wallet.objects.at(wallet.pk, **missing)
    for never in ({"version": 1}, {"when": begun}):
        with pytest.raises(Wallet.DoesNotExist):
            Wallet.objects.at(uuid4(), **never)
    assert Wallet.objects.at(wallet.pk, when=begun).version == 1


def test_what_is_asked_for_must_be_one_thing() -> None:
    wallet = open_wallet()
    with pytest.raises(ValueError, match="either"):
        Wallet.objects.at(wallet.pk)
    with pytest.raises(ValueError, match="either"):
        Wallet.objects.at(wallet.pk, version=1, when=NOON)
    with pytest.raises(ValueError, match="naive"):
        Wallet.objects.at(wallet.pk, when=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="count from 1"):
        Wallet.objects.at(wallet.pk, version=-1)


def test_the_state_at_a_moment_includes_that_moment(tick: Callable[[timedelta], None]) -> None:
    wallet = open_wallet("Ada", 1)
    tick(SECOND)
    wallet.add(Decimal(2))
    wallet.add(Decimal(3))
    wallet.save()
    tick(SECOND)
    wallet.add(Decimal(4))
    wallet.save()
    wanted = {
        NOON: 1,
        NOON + INSTANT: 1,
        NOON + SECOND - INSTANT: 1,
        NOON + SECOND: 6,
        NOON + 2 * SECOND - INSTANT: 6,
        NOON + 2 * SECOND: 10,
        NOON + timedelta(days=9): 10,
    }
    for when, balance in wanted.items():
        assert Wallet.objects.at(wallet.pk, when=when).balance == balance
        assert Wallet.objects.at(wallet.pk, when=when.astimezone(timezone(timedelta(hours=7)))).balance == balance


def test_equal_instants_are_taken_together(tick: Callable[[timedelta], None]) -> None:
    wallet = open_wallet()
    for _ in range(3):
        wallet.add(Decimal(1))
        wallet.save()
    assert set(wallet.history().values_list("recorded_at", flat=True)) == {NOON}
    assert Wallet.objects.at(wallet.pk, when=NOON).version == 4
    with pytest.raises(Wallet.DoesNotExist):
        Wallet.objects.at(wallet.pk, when=NOON - INSTANT)


def test_no_moment_shows_half_a_transfer(tick: Callable[[timedelta], None]) -> None:
    first, second = open_wallet("a", 10), open_wallet("b")
    for _ in range(3):
        tick(SECOND)
        with Wallet.objects.locked([first.pk, second.pk]) as (source, to):
            source.take(Decimal(2))
            to.add(Decimal(2))
    for moment in StoredEvent.objects.values_list("recorded_at", flat=True).distinct():
        for when in (moment, moment + INSTANT):
            states = [Wallet.objects.at(wallet.pk, when=when) for wallet in (first, second)]
            assert sum(state.balance for state in states) == 10


def test_a_clock_that_ran_back_hides_no_version(tick: Callable[[timedelta], None]) -> None:
    wallet = open_wallet()
    tick(-SECOND)
    wallet.add(Decimal(1))
    wallet.save()
    assert Wallet.objects.at(wallet.pk, when=NOON).version == 1
    assert Wallet.objects.at(wallet.pk, when=NOON + SECOND).version == 2


def test_a_past_state_is_read_only() -> None:
    wallet = open_wallet("Ada", 1)
    for past in (Wallet.objects.at(wallet.pk, version=1), Wallet.objects.at(wallet.pk, version=2)):
        past.note = "x"
        for use in (
            lambda past=past: past.add(Decimal(1)),
            lambda past=past: past.record(MoneyAdded(amount=Decimal(1))),
            past.save,
            past.tidy,
            lambda past=past: past.save(update_fields=["note"]),
        ):
            with pytest.raises(SpentInstance, match="past"):
                use()
        with pytest.raises(DirectWriteRefused):
            past.delete()
    assert Wallet.objects.get().balance == 1
    assert Wallet.objects.get().note == ""


def test_any_key_can_be_looked_back_at() -> None:
    book, counter, wallet = list_book("978", "Emma"), begin_counter(by=3), open_wallet()
    book.rename(title="Persuasion")
    book.save()
    assert Book.objects.at("978", version=1).title == "Emma"
    assert Counter.objects.at(str(counter.pk), version=1).pk == counter.pk
    assert Wallet.objects.at(str(wallet.pk).upper(), version=1).pk == wallet.pk


def test_a_past_state_needs_no_row_and_ignores_columns_without_history() -> None:
    wallet = open_wallet()
    Wallet.objects.update(note="now")
    assert Wallet.objects.at(wallet.pk, version=1).note == ""


def test_replay_moves_one_state_from_event_to_event() -> None:
    wallet = open_wallet("Ada", 1, 2, 3)
    seen = []
    for state, recorded in Wallet.objects.replay(wallet.pk):
        assert state.version == recorded.version
        seen.append(state.balance)
        with pytest.raises(SpentInstance):
            state.save()
    assert seen == [0, 1, 3, 6]
    assert list(Wallet.objects.replay(uuid4())) == []


def test_history_is_in_the_order_of_the_versions_and_of_this_aggregate_only() -> None:
    wallet, other = open_wallet("Ada"), open_wallet("Eve")
    for _ in range(3):
        for one in (other, wallet):
            one.add(Decimal(1))
            one.save()
    events = list(wallet.history())
    assert [stored.version for stored in events] == [1, 2, 3, 4]
    assert [stored.position for stored in events] == sorted(stored.position for stored in events)
    assert {stored.stream_key for stored in events} == {str(wallet.pk)}
    assert list(Wallet.objects.history(str(wallet.pk))) == events
    assert types(wallet.history().filter(type="samples.money_added")) == ["money_added"] * 3
    assert not Wallet.objects.history(uuid4()).exists()


def test_more_events_than_a_window_are_folded() -> None:
    counter = begin_counter()
    for _ in range(1100):
        counter.count()
    counter.save()
    assert Counter.objects.at(counter.pk, version=1101).total == 1100
    assert Counter.objects.at(counter.pk, version=501).total == 500
    assert Counter.objects.at(counter.pk, when=datetime.now(UTC) + SECOND).total == 1100


# What is no part of it


def test_a_column_that_the_database_computes_is_not_taken_from_the_row_of_now() -> None:
    passport = issue_passport(16)
    assert Passport.objects.get().sides == 32
    state = Passport.objects.at(passport.pk, version=1)
    assert (state.pages, state.sides) == (16, None)
    assert [state.sides for state, _recorded in Passport.objects.replay(passport.pk)] == [None]


def test_a_foreign_key_leads_on_from_the_past() -> None:
    passport = issue_passport()
    state = Passport.objects.at(passport.pk, version=1)
    assert (state.pk, state.holder.name, state._state.db) == (passport.holder_id, "Ada", connection.alias)
