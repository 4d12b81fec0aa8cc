"""The list of events in the admin: one line for each, the filters that a person needs, and no more read than shown."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from eventsourcing_app import context
from eventsourcing_app.access.timeouts import ReadTimedOut
from eventsourcing_app.admin.event_pages import EventList
from eventsourcing_app.admin.summaries import LENGTH, summary_of
from eventsourcing_app.events import canonical
from eventsourcing_app.models import StoredEvent
from tests.admin_client import EVENTS, EXPORTS, READS, SEES, client_with, text_of
from tests.samples.factories import begin_counter, open_wallet
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


@pytest.fixture
def reader() -> Client:
    return client_with(SEES, READS)


@pytest.fixture
def at(settings: Any) -> Callable[[datetime], None]:
    """Set the clock of the log."""

    def set_clock(moment: datetime) -> None:
        settings.EVENTSOURCING = {**settings.EVENTSOURCING, "CLOCK": lambda: moment}

    return set_clock


@pytest.fixture
def spread(at: Callable[[datetime], None]) -> list[int]:
    """Positions of events a month, two days, three hours and a minute ago, as of ``NOON``."""
    positions = []
    for ago in (timedelta(days=30), timedelta(days=2), timedelta(hours=3), timedelta(minutes=1)):
        at(NOON - ago)
        positions.append(Wallet.objects.perform_new(Wallet.open, owner="Ada").position)
    at(NOON)
    return positions


def positions_in(page: str) -> list[int]:
    return [int(found) for found in re.findall(rf'<a href="{EVENTS}(\d+)/change/[^"]*">[\d,]+</a>', page)]


def statements(client: Client, query: str = "") -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        assert client.get(f"{EVENTS}?{query}").status_code == 200
    return [entry["sql"] for entry in queries.captured_queries]


# The line


def test_an_event_is_told_in_one_escaped_line(reader: Client) -> None:
    wallet = open_wallet("Ada")
    wallet.add(Decimal(50), reference="<b>a\n  b</b>")
    wallet.save()
    page = text_of(reader.get(EVENTS))
    assert "amount: 50 · reference: &lt;b&gt;a b&lt;/b&gt;" in page
    assert "<b>a" not in page


def test_without_the_permission_the_data_is_masked_and_not_fetched() -> None:
    open_wallet("Ada Lovelace")
    client = client_with(SEES, EXPORTS)
    page = text_of(client.get(EVENTS))
    assert "Ada Lovelace" not in page
    assert "masked" in page
    assert not any('"data"' in statement for statement in statements(client))


def test_of_large_data_no_more_is_fetched_than_the_line_needs(reader: Client) -> None:
    wallet = open_wallet("Ada")
    wallet.add(Decimal(50), reference="A" * (LENGTH * 3))
    wallet.save()
    page = text_of(reader.get(EVENTS))
    assert f"reference: {'A' * 50}" in page
    assert "A" * 130 not in page
    event = reader.get(EVENTS).context["cl"].result_list[0]
    assert len(event.beginning_of_data) == LENGTH
    assert {"data", "metadata", "hash"} <= event.get_deferred_fields()


@pytest.mark.parametrize("cut", range(LENGTH - 8, LENGTH + 8))
def test_a_line_is_made_of_data_cut_off_anywhere(cut: int) -> None:
    parts = {"a": "x\n" * 40, "b": [1, {"c": "ü"}], "d": 1234567890123, "e": "\U0001f370\x01" * 10, "f": None}
    text = canonical.dumps({**parts, "zz": "y" * 2000})
    padding = LENGTH - cut + 700
    for beginning in (text[:LENGTH], canonical.dumps({"a": "y" * padding, **{f"b{n}": v for n, v in parts.items()}})):
        line = summary_of(beginning[:LENGTH])
        assert "\n" not in line
        assert 0 < len(line) <= 120


def test_a_value_that_was_cut_off_is_not_told_as_whole() -> None:
    # White space is folded, so that what was cut off is not far away.
    text = canonical.dumps({"a": " " * 980, "number": 12345, "z": 1})
    beginning = text[:LENGTH]
    assert beginning.endswith('"number":123')
    assert summary_of(beginning).endswith("number: 123…")


def test_the_correlation_leads_to_all_that_happened_because_of_it(reader: Client) -> None:
    with context(correlation_id="one-request"):
        open_wallet("Ada")
    assert re.search(r'<a href="[^"]*one-request">one-request</a>', text_of(reader.get(EVENTS)))


def test_the_time_is_told_as_how_long_ago_and_exactly(reader: Client, spread: list[int]) -> None:
    page = text_of(reader.get(EVENTS))
    assert "09:00:00 UTC</time>" in page
    assert 'title="2026-03-10 09:00:00.000000 UTC">3\xa0hours ago</time>' in page
    assert "09:00:00 UTC</time>" in text_of(reader.get(f"{EVENTS}?live=1"))


# Filters


def test_a_period_keeps_what_was_recorded_in_it(reader: Client, spread: list[int]) -> None:
    month, days, hours, minute = spread
    expected = {
        "period=hour": [minute],
        "period=today": [minute, hours],
        "period=week": [minute, hours, days],
        "since=2026-03-08T12:00": [minute, hours, days],
        "since=2026-03-08T12:00:01&until=": [minute, hours],
        "since=&until=2026-03-08T12:00": [month],
        "since=2026-03-08&until=2026-03-10T09:00:00.000001Z": [hours, days],
        "since=2026-03-10T10:00%2B01:00": [minute, hours],
        "since=2026-03-10&until=2026-03-01": [],
        "period=today&type=samples.wallet_opened&actor=user:1": [],
    }
    for query, positions in expected.items():
        assert positions_in(text_of(reader.get(f"{EVENTS}?{query}"))) == positions, query


def test_a_period_is_read_along_positions(reader: Client, spread: list[int]) -> None:
    (listed,) = [sql for sql in statements(reader, "period=hour") if sql.startswith('SELECT "') and "LIMIT 101" in sql]
    assert re.search(rf'"position" >= {spread[3]}\b', listed)


def test_the_form_of_a_period_keeps_the_other_filters(reader: Client, spread: list[int]) -> None:
    page = text_of(reader.get(f"{EVENTS}?since=2026-03-08T12:00:01&type=samples.wallet_opened&q=user:1&live=1"))
    form = page[page.index('id="es-filter-since"') - 600 : page.index('id="es-filter-until"')]
    assert 'value="2026-03-08T12:00:01"' in form
    for name, value in (("type", "samples.wallet_opened"), ("q", "user:1"), ("live", "1")):
        assert f'<input type="hidden" name="{name}" value="{value}">' in form
    assert "since=" not in re.findall(r'href="(\?[^"]*period=hour[^"]*)"', page)[0]


@pytest.mark.parametrize("name", ["stream_key", "actor", "correlation_id", "causation_id"])
def test_what_has_no_choices_is_typed_into_a_field(reader: Client, name: str) -> None:
    assert re.search(
        rf'<label for="es-filter-{name}">.*?<input type="text" [^>]*name="{name}"', _line(reader), re.DOTALL
    )


def _line(reader: Client) -> str:
    return text_of(reader.get(EVENTS))


def test_a_key_alone_is_looked_for_in_every_type_of_stream(reader: Client) -> None:
    open_wallet("Ada")
    counter = begin_counter()
    query = f"stream_key={counter.pk}"
    assert positions_in(text_of(reader.get(f"{EVENTS}?{query}"))) == [counter.position]
    listed = [sql for sql in statements(reader, query) if "LIMIT 101" in sql]
    assert re.search(r'"stream_type" IN \(.*samples.counter', listed[0])  # so that there is an index for it


# Cost


@pytest.mark.parametrize("query", ["", "live=1", "period=week", "stream_key=1", "actor=user:1&q=x"])
def test_more_events_take_no_more_queries(reader: Client, query: str) -> None:
    open_wallet("Ada")
    few = len(statements(reader, query))
    for number in range(10):
        open_wallet(f"owner {number}", 1, 2)
    assert len(statements(reader, query)) == few


def test_a_read_that_takes_too_long_is_said_in_words(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_args: object) -> None:
        raise ReadTimedOut(10.0)

    monkeypatch.setattr(EventList, "read", slow)
    response = reader.get(EVENTS)
    assert response.status_code == 503
    assert "after 10 seconds" in response.content.decode()


def test_events_that_are_not_there_for_somebody_are_not_listed(reader: Client, settings: Any) -> None:
    open_wallet("Ada", 50)
    settings.EVENTSOURCING = {
        **settings.EVENTSOURCING,
        "VISIBLE_EVENTS": lambda events, user: events.filter(type="samples.wallet_opened"),
    }
    assert positions_in(text_of(reader.get(EVENTS))) == [StoredEvent.objects.get(type="samples.wallet_opened").pk]
