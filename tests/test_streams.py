"""Streams in bulk: every event once and in order, parted without a gap, and picked at random with the same chance."""

from __future__ import annotations

import random
from collections import Counter as Counts
from contextlib import contextmanager, nullcontext
from datetime import UTC
from typing import TYPE_CHECKING

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from eventsourcing_app.log import streams
from eventsourcing_app.log.read import WINDOW, read_stream
from eventsourcing_app.log.spans import read_until
from eventsourcing_app.log.streams import part, sample, windows
from eventsourcing_app.models import StoredEvent
from tests.samples.factories import begin_counter, fetch, list_book, open_wallet
from tests.samples.models import Book

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db


KEYS = ("B", "é", "B!", "é0", "B0", "é00")
"""Their bytes are in another order than their letters in most languages, and one begins like the other."""


def books(*lengths: int) -> list[str]:
    """Books of so many events each, between wallets; their keys, in order."""
    for number, length in enumerate(lengths):
        book = list_book(isbn=KEYS[number])
        for _ in range(length - 1):
            book.rename("x")
        if length > 1:
            book.save()
        open_wallet("Ada", 1)
    return sorted(Book.objects.values_list("pk", flat=True))


def test_windows_hold_every_event_once_in_the_order_of_keys_and_versions() -> None:
    books(1, 2 * WINDOW, 3)
    for after, until in (("", None), ("B", None), ("", "B!"), ("B", "é"), ("é", None), ("é9", None)):
        given = [row for window in windows("samples.book", after_key=after, until_key=until) for row in window]
        expected = [
            (
                *(each.stream_key, each.version, each.position, each.type, each.schema_version),
                *(each.data_text, each.recorded_at),
            )
            for key in sorted(Book.objects.values_list("pk", flat=True), key=str.encode)
            if after.encode() < key.encode() and (until is None or key.encode() <= until.encode())
            for each in read_stream("samples.book", key)
        ]
        assert given == expected
    ((first, *_),) = windows("samples.book", after_key="B!", after_version=1, until_key="B!")
    assert first[:2] == ("B!", 2)


@contextmanager
def session_in(zone: str) -> Iterator[None]:
    """Let the session have a time zone, as ``"TIME_ZONE"`` in the settings of a database does."""
    own = connections["default"]
    before = own.settings_dict["TIME_ZONE"]

    def become(name: str | None) -> None:
        own.settings_dict["TIME_ZONE"] = name
        for cached in ("timezone", "timezone_name"):
            own.__dict__.pop(cached, None)
        own.ensure_timezone()

    become(zone)
    try:
        yield
    finally:
        become(before)


@pytest.mark.needs_postgres
@pytest.mark.parametrize("logged", [False, True])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/St_Johns"])
def test_times_are_in_utc_whatever_the_time_zone_of_the_session(zone: str, logged: bool) -> None:
    key = list_book().pk
    expected = {StoredEvent.objects.get().recorded_at}
    with session_in(zone), CaptureQueriesContext(connection) if logged else nullcontext():  # logged, it comes as text
        assert fetch("SHOW TIME ZONE") == [(zone,)]
        (((*_rest, in_window),),) = windows("samples.book")
        (spanned,) = read_until("samples.book", {key: 1}, until_time=in_window)
        (read_one,) = read_stream("samples.book", key)
    times = [in_window, spanned.recorded_at, read_one.recorded_at]
    assert set(times) == expected
    assert [moment.tzinfo for moment in times] == [UTC] * 3


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_parts_hold_every_stream_whole_and_once(size: int) -> None:
    keys = books(1, 4, 2, 1, 7, 3)
    assert keys == sorted(keys)
    parts, after = [], ""
    while (found := part("samples.book", after_key=after, size=size)) is not None:
        rows = [row for window in windows("samples.book", after_key=after, until_key=found.until) for row in window]
        assert len(rows) == found.events
        parts.append(list(dict.fromkeys(row[0] for row in rows)))
        if found.until is None:
            break
        assert len(rows) >= size
        after = found.until
    assert [key for each in parts for key in each] == sorted(keys, key=str.encode)
    assert part("samples.none", after_key="", size=size) is None


@pytest.mark.parametrize("luck", [streams._LUCK, 0])
def test_each_stream_is_picked_as_often_as_any_other(luck: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_LUCK", luck)
    random.seed(7)
    keys = books(1, 30, 1, 1, 12)
    picked = Counts(key for _ in range(300) for key in sample("samples.book", size=2))
    assert set(picked) == set(keys)
    # 600 picks of 5 streams: 120 each, with a standard deviation of 8.5.
    assert all(90 <= count <= 150 for count in picked.values()), picked


def test_a_share_picks_each_stream_with_that_chance() -> None:
    random.seed(7)
    keys = books(1, 30, 1, 1, 12)
    picked = Counts(key for _ in range(120) for key in sample("samples.book", share=0.3))
    assert all(21 <= picked[key] <= 51 for key in keys), picked
    assert sample("samples.book", share=1) == sorted(keys)


def test_a_sample_is_never_larger_than_what_there_is() -> None:
    keys = books(1, 2, 3)
    begin_counter()
    assert sample("samples.book", size=99) == sorted(keys)
    assert sample("samples.none", size=5) == sample("samples.none", share=0.5) == []
