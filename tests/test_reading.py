"""Readers yield every event once, in order, in constant memory, as it was recorded."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from django.db import DataError, connection
from django.db.transaction import atomic
from django.test.utils import CaptureQueriesContext

from eventsourcing_app import RecordedEvent, context, publish
from eventsourcing_app.exceptions import UnknownEventType
from eventsourcing_app.log import read as reading
from eventsourcing_app.log import streams
from eventsourcing_app.log.read import read, read_bounded, read_stream, read_window
from eventsourcing_app.log.spans import read_until
from eventsourcing_app.log.streams import windows
from eventsourcing_app.models import StoredEvent
from tests.samples.events import MoneyAdded, RateChanged, WalletOpened
from tests.samples.factories import LOG, begin_counter, list_book, open_wallet, tamper
from tests.samples.models import Book

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db

WINDOWS = (1, 2, 3, 4, 5, 500)


def positions(events: object) -> list[int]:
    return [recorded.position for recorded in events]  # type: ignore[attr-defined]


@pytest.fixture
def four() -> list[int]:
    """Four events; their positions."""
    open_wallet("Ada", 1)
    list_book()
    publish(RateChanged(currency="EUR", rate=Decimal(1)))
    return list(StoredEvent.objects.order_by("position").values_list("position", flat=True))


@pytest.mark.parametrize("window", WINDOWS)
def test_every_event_comes_once_in_order(four: list[int], window: int) -> None:
    assert positions(read(window=window)) == four
    assert positions(read(after=four[1], window=window)) == four[2:]
    assert positions(read(until=four[2], window=window)) == four[:3]
    assert positions(read(after=four[0], until=four[2], window=window)) == four[1:3]
    assert positions(read(after=four[3], window=window)) == []
    assert positions(read(types={"samples.money_added", "samples.book_listed"}, window=window)) == four[1:3]
    assert positions(read(types=["samples.rate_changed", "never"], window=window)) == four[3:]


@pytest.mark.needs_postgres
def test_times_are_utc_whatever_the_time_zone_of_the_session(four: list[int]) -> None:
    in_utc = [recorded.recorded_at for recorded in read()]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL TIME ZONE 'Asia/Kolkata'")
    elsewhere = [recorded.recorded_at for recorded in read()]
    assert elsewhere == in_utc
    assert {recorded_at.tzinfo for recorded_at in elsewhere} == {UTC}


@pytest.mark.needs_postgres
def test_an_error_while_reading_is_one_of_django(four: list[int]) -> None:
    with pytest.raises(DataError), atomic():
        read_window(after=0, types={"NUL \x00"})


def test_no_type_is_no_event(four: list[int]) -> None:
    assert list(read(types=[])) == []
    assert read_window(after=0, types=()) == []


def test_a_reader_fetches_windows_and_no_more_than_it_needs(four: list[int]) -> None:
    with CaptureQueriesContext(connection) as queries:
        events = read(window=2)
        assert len(queries) == 0
        assert positions([next(events), next(events)]) == four[:2]
        assert len(queries) == 1
        assert positions(events) == four[2:]
    assert len(queries) == 3
    assert all("OFFSET" not in query["sql"].upper() and "COUNT" not in query["sql"].upper() for query in queries)


def test_a_reader_sees_what_is_added_while_it_reads(four: list[int]) -> None:
    events = read(window=2)
    first = [next(events), next(events)]
    added = list_book("2").position
    assert positions([*first, *events]) == [*four, added]


@pytest.mark.parametrize("window", WINDOWS)
def test_a_stream_is_read_by_version(window: int) -> None:
    wallet, other = open_wallet("Ada"), open_wallet("Eve")
    for amount in (1, 2, 3):
        for one in (other, wallet):
            one.add(Decimal(amount))
            one.save()
    events = list(read_stream("samples.wallet", str(wallet.pk), window=window))
    assert [recorded.version for recorded in events] == [1, 2, 3, 4]
    assert {recorded.stream_key for recorded in events} == {str(wallet.pk)}
    part = read_stream("samples.wallet", str(wallet.pk), after_version=1, until_version=3, window=window)
    assert [recorded.version for recorded in part] == [2, 3]
    assert list(read_stream("samples.book", str(wallet.pk))) == []
    assert list(read_stream("samples.wallet", str(uuid4()))) == []


@pytest.mark.parametrize("window", WINDOWS)
def test_all_streams_of_a_type_are_read_by_key_and_version(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "WINDOW", window)
    keys = ["10", "9", "b", "a", "B", "é", "ﬀ", "\U0001f600"]
    for key in keys:
        list_book(key).rename(title="x")
        book = list(read_stream("samples.book", key))
        assert [recorded.version for recorded in book] == [1]
    begin_counter()
    publish(RateChanged(currency="EUR", rate=Decimal(1)))
    seen = [row[:2] for rows in windows("samples.book") for row in rows]
    assert seen == [(key, 1) for key in sorted(keys, key=str.encode)]
    after = windows("samples.book", after_key="a")
    assert [key for rows in after for key, *_ in rows] == ["b", "é", "ﬀ", "\U0001f600"]
    assert list(windows("samples.rate_changed")) == []


def test_a_recorded_event_has_every_column_as_the_model_has_it() -> None:
    cause = uuid4()
    with context(actor="user:1", correlation_id="c", causation_id=cause, request_id="r"):
        open_wallet("Ada", "1.50")
    for recorded, stored in zip(read(), StoredEvent.objects.order_by("position"), strict=True):
        for name in ("position", "event_id", "stream_type", "stream_key", "version", "type", "schema_version"):
            assert getattr(recorded, name) == getattr(stored, name)
        for name in ("data", "metadata", "actor", "correlation_id", "causation_id", "recorded_at"):
            assert getattr(recorded, name) == getattr(stored, name)
        assert recorded.hash == bytes(stored.hash)
        assert isinstance(recorded.event_id, UUID)
        assert recorded.recorded_at.utcoffset() == timedelta(0)
    first, second = read()
    assert first.event == WalletOpened(owner="Ada")
    assert second.event == MoneyAdded(amount=Decimal("1.50"))
    assert str(second.event.amount) == "1.50"


def test_a_recorded_event_is_read_only(four: list[int]) -> None:
    recorded = next(iter(read()))
    assert isinstance(recorded, RecordedEvent)
    with pytest.raises((AttributeError, FrozenInstanceError)):
        recorded.actor = "me"  # type: ignore[misc]
    recorded.data["owner"] = "me"
    assert recorded.data["owner"] == "Ada"


def test_an_event_that_this_code_does_not_know_stays_readable_raw(four: list[int]) -> None:
    tamper(f"UPDATE {LOG} SET type = 'samples.forgotten' WHERE position = %s", [four[0]])
    recorded = next(iter(read()))
    assert (recorded.type, recorded.data) == ("samples.forgotten", {"owner": "Ada"})
    with pytest.raises(UnknownEventType, match=r"samples\.forgotten"):
        _ = recorded.event


def test_an_older_version_is_upcast_when_read() -> None:
    position = list_book().position
    tamper(
        f"UPDATE {LOG} SET type = 'samples.book_renamed', schema_version = 1, data = %s WHERE position = %s",
        ['{"title":"Emma: A Novel"}', position],
    )
    recorded = next(iter(read()))
    assert (recorded.event.title, recorded.event.subtitle) == ("Emma", "A Novel")  # type: ignore[attr-defined]
    assert recorded.data == {"title": "Emma: A Novel"}


# Parts of many streams


def test_parts_of_many_streams_are_read_up_to_a_moment(settings: Settings) -> None:
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "CLOCK": lambda: now[0]}
    books = [list_book(isbn, isbn) for isbn in ("10", "9", "é", "B", "ﬀ", "never asked for")]
    for number in range(5):
        now[0] += timedelta(seconds=1)
        for book in books:
            Book.objects.perform(book.pk, Book.rename, title=str(number))
    moment = now[0] - timedelta(seconds=2)  # after the fourth version
    since = {"é": 1, "9": 3, "10": 4, "ﬀ": 5, "B": 2, "no such": 1}
    expected = [("10", 4), *[("9", n) for n in (3, 4)], *[("B", n) for n in (2, 3, 4)]]
    expected += [("é", n) for n in (1, 2, 3, 4)]
    for window in (1, 2, 3, 4, 100):
        found = list(read_until("samples.book", since, until_time=moment, window=window))
        assert [(recorded.stream_key, recorded.version) for recorded in found] == expected
    everything = read_until("samples.book", since, until_time=now[0] + timedelta(days=1), window=7)
    assert [recorded.version for recorded in everything] == [4, 5, 6, 3, 4, 5, 6, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6, 5, 6]
    assert list(read_until("samples.book", since, until_time=moment - timedelta(days=1))) == []
    assert list(read_until("samples.counter", since, until_time=moment)) == []
    assert list(read_until("samples.book", {}, until_time=moment)) == []


def test_parts_of_many_streams_take_two_queries_whatever_came_after() -> None:
    counters = [begin_counter() for _ in range(3)]
    moment = datetime.now(UTC)
    for counter in counters:
        for _ in range(400):
            counter.count()
        counter.save()
    with CaptureQueriesContext(connection) as captured:
        found = list(read_until("samples.counter", {one.stream_key: 1 for one in counters}, until_time=moment))
    assert [recorded.version for recorded in found] == [1, 1, 1]
    assert len(captured) == 2


@pytest.mark.parametrize(
    ("most", "limit", "expected"), [(10**6, 9, (3, True)), (1, 9, (1, False)), (10**6, 3, (3, False))]
)
def test_the_database_says_whether_a_bounded_window_is_whole(
    most: int, limit: int, expected: tuple[int, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        publish(RateChanged(currency="EUR", rate=Decimal(number)))
    # Also where it counts more bytes for a text than Python does.
    lengths = {vendor: f"(2 * {length})" for vendor, length in reading._LENGTH.items()}
    monkeypatch.setattr(reading, "_LENGTH", lengths)
    first = StoredEvent.objects.filter(type="samples.rate_changed").earliest("position").position
    window = read_bounded(after=first - 1, limit=limit, max_bytes=most)
    assert (len(window.events), window.is_whole) == expected
    assert read_bounded(after=first + 3, max_bytes=1) == ([], True)
