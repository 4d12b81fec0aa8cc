"""How busy the log was in the last hour is told by minutes, at a cost that does not grow with the log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from eventsourcing_app.access import activity as module
from eventsourcing_app.access.activity import MINUTES, activity
from eventsourcing_app.models import StoredEvent
from tests.samples.factories import counter_of, open_wallet

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


@pytest.fixture
def viewer() -> User:
    user = User.objects.create_user("viewer")
    user.user_permissions.add(Permission.objects.get(codename="view_storedevent"))
    return user


@pytest.fixture
def at(settings: Any) -> Callable[[datetime], None]:
    """Set the clock of the log."""

    def set_clock(moment: datetime) -> None:
        settings.EVENTSOURCING = {**settings.EVENTSOURCING, "CLOCK": lambda: moment}

    return set_clock


@pytest.fixture
def an_hour(at: Callable[[datetime], None]) -> None:
    """One event long before ``NOON``, one just before the hour, two in its first minute, three 30 minutes before its
    end and one at its end; and one that a clock ahead has recorded."""
    for ago, number in ((6000, 1), (60.01, 1), (59.5, 2), (30, 3), (0, 1), (-2, 1)):
        at(NOON - timedelta(minutes=ago))
        counter_of(number)
    at(NOON)


def test_events_are_counted_by_the_minutes_before_now(viewer: User, an_hour: None) -> None:
    found = activity(viewer)
    assert len(found.minutes) == MINUTES
    assert {index: number for index, number in enumerate(found.minutes) if number} == {0: 2, 30: 3, 59: 2}
    assert (found.total, found.last, found.busiest, found.is_exact) == (7, 2, 30, True)
    assert found.start_of(30) == NOON - timedelta(minutes=30)
    assert found.start_of(0) == NOON - timedelta(hours=1)


def test_an_empty_log_was_not_busy(viewer: User) -> None:
    assert activity(viewer).total == 0


def test_events_that_are_not_there_for_somebody_are_not_counted(viewer: User, an_hour: None, settings: Any) -> None:
    settings.EVENTSOURCING = {
        **settings.EVENTSOURCING,
        "VISIBLE_EVENTS": lambda events, user: events.filter(version=1),
    }
    assert activity(viewer).total == 4
    viewer.user_permissions.clear()
    assert activity(User.objects.get(pk=viewer.pk)).total == 0


def test_of_very_many_events_some_are_looked_at(
    viewer: User, at: Callable[[datetime], None], monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(module, "COUNTED", 20)
    monkeypatch.setattr(module, "STRETCHES", 100)
    at(NOON - timedelta(days=1))
    counter_of(300)
    for ago in (40, 20):
        at(NOON - timedelta(minutes=ago))
        counter_of(400)
    at(NOON)
    settings.EVENTSOURCING = {
        **settings.EVENTSOURCING,
        # Every other event: those drawn must not all be of one kind.
        "VISIBLE_EVENTS": lambda events, user: events.alias(odd=F("position") % 2).filter(odd=0),
    }
    with CaptureQueriesContext(connection) as queries:
        found = activity(viewer)
    assert not found.is_exact
    assert {index for index, number in enumerate(found.minutes) if number} == {20, 40}
    assert 100 < found.minutes[20] < 300
    assert 250 < found.total < 550
    read = queries.captured_queries[-1]["sql"]
    assert read.count(",") < 150  # positions drawn, and not the whole hour


def test_neither_statements_nor_what_they_read_grow_with_the_log(viewer: User, at: Callable[[datetime], None]) -> None:
    statements = []
    for _round in range(2):
        at(NOON - timedelta(days=1))
        counter_of(50)
        at(NOON)
        last = open_wallet("Ada").position
        with CaptureQueriesContext(connection) as queries:
            activity(viewer)
        asked = [entry["sql"] for entry in queries.captured_queries if "storedevent" in entry["sql"]]
        statements.append(len(asked))
        assert f'"position" >= {last}' in asked[-1] or _round
    assert statements == [4, 4]
    assert StoredEvent.objects.count() == 102
