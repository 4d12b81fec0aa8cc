"""What changed is told field by field: between two versions or moments, and by each event, from creation to end."""

from __future__ import annotations

import gc
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from eventsourcing_app.aggregates.past import changes
from eventsourcing_app.aggregates.past.changes import Change
from eventsourcing_app.exceptions import NoSuchVersion
from eventsourcing_app.models import StoredSnapshot
from tests.samples.factories import change_row, counter_of, held_elsewhere, issue_passport, open_wallet, remove_row
from tests.samples.models import Counter, Passport, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def at(settings: Settings) -> Callable[[int], datetime]:
    """Sets the clock, to so many seconds after noon; and a snapshot for every three versions."""
    now = [NOON]
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "CLOCK": lambda: now[0], "SNAPSHOT_EVERY": 3}

    def move(seconds: int) -> datetime:
        now[0] = NOON + seconds * SECOND
        return now[0]

    return move


def pairs(changes: dict[str, Change]) -> dict[str, tuple[Any, Any]]:
    return {name: (change.before, change.after) for name, change in changes.items()}


def lived() -> Wallet:
    """A wallet with a whole life: opened, filled twice, labelled, emptied a little, closed."""
    wallet = open_wallet("Ada", 10, 5)
    wallet.label(labels=["a"])
    wallet.take(Decimal(5))
    wallet.close()
    wallet.save()
    return wallet


# Between two versions


def test_the_fields_that_differ_are_told_with_their_values_before_and_after() -> None:
    wallet = lived()
    found = Wallet.objects.diff(wallet.pk, since=2, until=4)
    assert (found.pk, found.since, found.until) == (wallet.pk, 2, 4)
    assert pairs(found.changes) == {"balance": (10, 15), "labels": ([], ["a"])}
    assert pairs(Wallet.objects.diff(str(wallet.pk), since=4, until=6).changes) == {
        "balance": (15, 10),
        "ended": (False, True),
    }


def test_what_was_changed_and_changed_back_is_no_difference() -> None:
    wallet = lived()
    assert set(Wallet.objects.diff(wallet.pk, since=2, until=5).changes) == {"labels"}
    assert Wallet.objects.diff(wallet.pk, since=3, until=3).changes == {}


def test_before_it_existed_there_was_nothing() -> None:
    wallet = lived()
    found = Wallet.objects.diff(wallet.pk, since=0, until=1)
    assert (found.since, found.until) == (0, 1)
    assert pairs(found.changes) == {
        "owner": (None, "Ada"),
        "balance": (None, 0),
        "labels": (None, []),
        "ended": (None, False),
    }
    assert Wallet.objects.diff(wallet.pk, since=NOON - SECOND, until=1) == found


def test_until_now_if_nothing_else_is_said(at: Callable[[int], datetime]) -> None:
    wallet = open_wallet("Ada", 1)
    assert pairs(Wallet.objects.diff(wallet.pk, since=1).changes) == {"balance": (0, 1)}
    at(2)
    Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(5))
    change_row(Wallet, wallet.pk, balance=1000)
    found = Wallet.objects.diff(wallet.pk, since=1)
    assert (found.until, pairs(found.changes)) == (3, {"balance": (0, 6)})
    remove_row(wallet)
    assert Wallet.objects.diff(wallet.pk, since=1) == found


def test_moments_may_be_given_for_versions(at: Callable[[int], datetime]) -> None:
    wallet = open_wallet("Ada", 1)
    at(2)
    Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(5))
    at(4)
    Wallet.objects.perform(wallet.pk, Wallet.label, labels=["x"])
    found = Wallet.objects.diff(wallet.pk, since=NOON, until=NOON + 3 * SECOND)
    assert (found.since, found.until, pairs(found.changes)) == (2, 3, {"balance": (1, 6)})
    assert set(Wallet.objects.diff(wallet.pk, since=NOON + SECOND).changes) == {"balance", "labels"}
    assert Wallet.objects.diff(wallet.pk, since=1, until=NOON + SECOND).until == 2
    assert Wallet.objects.diff(wallet.pk, since=NOON + 5 * SECOND, until=NOON + 6 * SECOND).changes == {}


def test_files_and_foreign_keys_are_told_by_name_and_key() -> None:
    passport = issue_passport(4, stamps=["DE", "DE"], photo="a.jpg")
    passport.lose()
    passport.save()
    created = Passport.objects.diff(passport.pk, since=0, until=1).changes
    assert created["photo"] == Change(None, "a.jpg")
    assert created["status"] == Change(None, "valid")
    assert set(created) == {"pages", "photo", "stamps", "status", "ended"}
    assert pairs(Passport.objects.diff(passport.pk, since=2).changes) == {
        "stamps": ({"DE": 1}, {"DE": 2}),
        "status": ("valid", "lost"),
    }


def test_a_difference_that_cannot_be_told_is_refused(at: Callable[[int], datetime]) -> None:
    wallet = open_wallet("Ada", 1)
    with pytest.raises(NoSuchVersion, match="version 9"):
        Wallet.objects.diff(wallet.pk, since=1, until=9)
    with pytest.raises(NoSuchVersion, match="version 9"):
        Wallet.objects.diff(wallet.pk, since=9)
    with pytest.raises(ValueError, match="version 2 comes after version 1"):
        Wallet.objects.diff(wallet.pk, since=2, until=1)
    with pytest.raises(ValueError, match="naive"):
        Wallet.objects.diff(wallet.pk, since=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="since=-1"):
        Wallet.objects.diff(wallet.pk, since=-1)
    for missing in (uuid4(), wallet.pk):
        with pytest.raises(Wallet.DoesNotExist):
            Wallet.objects.diff(missing, since=0, until=NOON - SECOND)
    with pytest.raises(Wallet.DoesNotExist):
        Wallet.objects.diff(uuid4(), since=0)


@pytest.mark.parametrize(("since", "until", "queries"), [(0, 2, 1), (300, 302, 2), (300, None, 2), (40, 290, 1)])
def test_a_difference_between_versions_costs_one_fold(
    since: int, until: int | None, queries: int, settings: Settings
) -> None:
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "SNAPSHOT_EVERY": 256}
    counter = counter_of(302)
    Counter.objects.at(counter.pk, version=302)  # keeps a snapshot
    with CaptureQueriesContext(connection) as captured:
        found = Counter.objects.diff(counter.pk, since=since, until=until)
    assert (found.since, found.until) == (since, until or 302)
    assert len(captured) == queries


@given(
    acts=st.lists(st.sampled_from(["add", "label", "wait"]), max_size=14),
    ends=st.tuples(st.integers(0, 16), st.integers(0, 16)),
    kind=st.sampled_from(["versions", "moments", "since version", "since moment"]),
    distance=st.sampled_from([0, 1, 3, 50]),
)
@examples(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_one_fold_tells_what_two_tell(
    acts: list[str],
    ends: tuple[int, int],
    kind: str,
    distance: int,
    at: Callable[[int], datetime],
    settings: Settings,
) -> None:
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "SNAPSHOT_EVERY": distance}
    at(0)
    wallet, seconds = open_wallet("Ada", 1), 0
    for act in acts:
        seconds = seconds + 1 if act == "wait" else seconds
        at(seconds)
        if act == "add":
            Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1))
        elif act == "label":
            Wallet.objects.perform(wallet.pk, Wallet.label, labels=[str(seconds)])
    at(60)
    first, last = sorted(ends)
    since: int | datetime = first if kind in ("versions", "since version") else NOON + (first - 1) * SECOND
    untils: dict[str, int | datetime] = {"versions": last, "moments": NOON + (last - 1) * SECOND}
    until = untils.get(kind)
    told = changes._in_one_fold(Wallet, wallet.stream_key, since, until)
    try:
        expected = changes._in_two_folds(Wallet, wallet.stream_key, since, until)
    except (Wallet.DoesNotExist, NoSuchVersion):
        assert told is None
    else:
        assert told in (expected, None)
        assert told or 0 < distance < expected.until - expected.since + 1
        assert Wallet.objects.diff(wallet.pk, since=since, until=until) == expected


def test_a_result_is_a_value() -> None:
    wallet = lived()
    found = Wallet.objects.diff(wallet.pk, since=1, until=2)
    assert found == Wallet.objects.diff(wallet.pk, since=1, until=2)
    with pytest.raises(FrozenInstanceError):
        found.since = 3  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        found.changes["balance"].before = 3  # type: ignore[misc]


def test_a_difference_is_final_if_both_its_ends_are(at: Callable[[int], datetime]) -> None:
    wallet, ended = open_wallet("Ada", 1), lived()
    at(600)
    diff = Wallet.objects.diff
    assert diff(wallet.pk, since=1, until=2).is_final
    assert diff(wallet.pk, since=1, until=NOON).is_final
    assert not diff(wallet.pk, since=1).is_final
    assert not diff(wallet.pk, since=1, until=NOON + 599 * SECOND).is_final
    assert diff(wallet.pk, since=NOON - SECOND, until=2).is_final
    assert diff(ended.pk, since=1).is_final
    with held_elsewhere(lambda: open_wallet("Eve")):
        assert not diff(wallet.pk, since=1, until=NOON + 595 * SECOND).is_final
        assert not diff(wallet.pk, since=NOON + 595 * SECOND, until=2).is_final
        assert diff(ended.pk, since=1, until=NOON + 595 * SECOND).is_final


# By each event


def test_each_event_is_told_with_what_it_changed() -> None:
    wallet = lived()
    trail = list(Wallet.objects.trail(wallet.pk))
    assert [entry.recorded.version for entry in trail] == [1, 2, 3, 4, 5, 6]
    assert [pairs(entry.changes) for entry in trail[1:]] == [
        {"balance": (0, 10)},
        {"balance": (10, 15)},
        {"labels": ([], ["a"])},
        {"balance": (15, 10)},
        {"ended": (False, True)},
    ]
    assert trail[0].changes == Wallet.objects.diff(wallet.pk, since=0, until=1).changes
    assert trail[0].recorded.data == {"owner": "Ada"}


@pytest.mark.parametrize("after", range(8))
@pytest.mark.parametrize("until", [None, 0, 1, 3, 4, 6, 9])
def test_any_part_of_it_can_be_read(after: int, until: int | None) -> None:
    wallet = lived()
    whole = list(Wallet.objects.trail(wallet.pk))
    for _ in range(2):  # without snapshots, and with them
        part = list(Wallet.objects.trail(wallet.pk, since=after, until=until))
        assert part == whole[after:until]
    assert StoredSnapshot.objects.exists() == (after >= 3 and (until is None or until > after))


def test_an_event_that_changes_nothing_is_told_too() -> None:
    wallet = open_wallet("Ada")
    wallet.label(labels=[])
    wallet.save()
    assert [entry.changes for entry in Wallet.objects.trail(wallet.pk, since=1)] == [{}]


def test_what_an_event_changed_stays_as_it_was_told() -> None:
    passport = issue_passport(stamps=["DE", "FR", "DE", "PL"])
    entries = list(Passport.objects.trail(passport.pk, since=1))
    assert [entry.changes["stamps"].after for entry in entries] == [
        {"DE": 1},
        {"DE": 1, "FR": 1},
        {"DE": 2, "FR": 1},
        {"DE": 2, "FR": 1, "PL": 1},
    ]
    assert [entry.changes["stamps"].before for entry in entries[1:]] == [
        entry.changes["stamps"].after for entry in entries[:-1]
    ]


def test_of_nothing_there_is_nothing_to_tell() -> None:
    assert list(Wallet.objects.trail(uuid4())) == []
    for wrong in ({"since": -1}, {"until": -1}):
        with pytest.raises(ValueError, match="count from 1"):
            Wallet.objects.trail(uuid4(), **wrong)
    for moment in ({"since": datetime.now(UTC)}, {"until": datetime.now(UTC)}):
        with pytest.raises(TypeError, match=r"goes by versions; diff\(\) takes moments"):
            Wallet.objects.trail(uuid4(), **moment)  # type: ignore[arg-type]


def test_it_begins_at_a_snapshot_and_holds_no_more_than_a_window() -> None:
    counter = counter_of(1500)
    assert sum(len(entry.changes) for entry in Counter.objects.trail(counter.pk)) == 1501
    assert len(list(Counter.objects.trail(counter.pk, since=1499))) == 1
    with CaptureQueriesContext(connection) as captured:
        (entry,) = Counter.objects.trail(counter.pk, since=1499)
    assert entry.changes == {"total": Change(1498, 1499)}
    assert len(captured) == 2
    held = 0
    for entry in Counter.objects.trail(counter.pk):
        if entry.recorded.version == 1200:
            gc.collect()
            held = sum(type(one) is type(entry.recorded) for one in gc.get_objects())
    assert held <= 510  # a window, and what the test itself and its database hold


@given(
    acts=st.lists(st.sampled_from(["add", "take", "label", "none"]), max_size=14),
    ends=st.tuples(st.integers(0, 20), st.integers(0, 20)),
)
@examples(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_changes_of_all_events_between_make_the_difference(acts: list[str], ends: tuple[int, int]) -> None:
    wallet = open_wallet("Ada", 50)
    for number, act in enumerate(acts):
        if act == "label":
            wallet.label(labels=[str(number % 2)])
        elif act != "none":
            getattr(wallet, act)(Decimal(1 + number % 2))
    if acts and set(acts) != {"none"}:
        wallet.save()
    since, until = sorted(1 + end % wallet.version for end in ends)
    merged: dict[str, tuple[Any, Any]] = {}
    for entry in Wallet.objects.trail(wallet.pk, since=since, until=until):
        for name, change in entry.changes.items():
            merged[name] = (merged.get(name, (change.before,))[0], change.after)
    merged = {name: (before, after) for name, (before, after) in merged.items() if before != after}
    assert pairs(Wallet.objects.diff(wallet.pk, since=since, until=until).changes) == merged
