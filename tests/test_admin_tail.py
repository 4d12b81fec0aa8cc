"""Whoever follows the list of events in the admin is told every event once, however long its transaction was open."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from eventsourcing_app.admin import StoredEventAdmin, event_tail
from eventsourcing_app.exceptions import LogUnsafe
from eventsourcing_app.log.settled import last_position
from tests.admin_client import EVENTS, EXPORTS, READS, SEES, client_with, text_of
from tests.samples.factories import open_wallet
from tests.storm.sessions import append_here, begin_append, sessions, settle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.storm.sessions import Connect

pytestmark = pytest.mark.django_db

TAIL = f"{EVENTS}tail/"


@pytest.fixture
def reader(db: None) -> Client:
    return client_with(SEES, READS)


def told(client: Client, after: int, query: str = "live=1") -> dict[str, Any]:
    response = client.get(f"{TAIL}?{query}&after={after}")
    assert response.status_code == 200
    answer: dict[str, Any] = response.json()
    return answer


def positions(answer: dict[str, Any]) -> list[int]:
    return [row["position"] for row in answer["rows"]]


def of_list(client: Client, query: str = "live=1") -> tuple[int, list[int]]:
    """Where the list says that its tail begins, and the positions that it shows."""
    page = text_of(client.get(f"{EVENTS}?{query}"))
    start = re.search(r'data-after="(\d+)"', page)
    shown = re.search(r'data-positions="([\d ]*)"', page)
    assert start
    assert shown
    return int(start[1]), [int(each) for each in shown[1].split()]


def test_new_events_are_told_once_in_the_form_of_the_list(reader: Client) -> None:
    open_wallet("Ada")
    after, shown = of_list(reader)
    assert told(reader, after) == {"reached": after, "rows": [], "skipped": False}
    open_wallet("<b>Bob</b>", 50)
    answer = told(reader, after)
    assert positions(answer) == [answer["reached"], answer["reached"] - 1]
    assert not set(positions(answer)) & set(shown)
    page = re.sub(r"\s*\n\s*", "", text_of(reader.get(f"{EVENTS}?live=1")))
    for row in answer["rows"]:
        assert row["html"].removeprefix("<tr>") in page
    assert "owner: &lt;b&gt;Bob&lt;/b&gt;" in answer["rows"][1]["html"]
    assert told(reader, answer["reached"])["rows"] == []


def test_the_tail_has_the_filters_of_the_list(reader: Client) -> None:
    after, _shown = of_list(reader)
    open_wallet("Ada", 50)
    for query in ("type=samples.wallet_opened", "q=samples.wallet_opened", "type=samples.wallet_opened&period=hour"):
        answer = told(reader, after, query)
        assert len(answer["rows"]) == 1
        assert answer["reached"] == after + 2  # also past what is filtered out


def test_of_more_than_one_answer_brings_the_newest_are_told(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoredEventAdmin, "tail_rows", 2)
    after, _shown = of_list(reader)
    open_wallet("Ada", 1)
    assert told(reader, after)["skipped"] is False
    open_wallet("Bob", 1)
    answer = told(reader, after)
    assert (positions(answer), answer["skipped"]) == ([after + 4, after + 3], True)


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
class TestBesideOpenAppends:
    @pytest.fixture
    def connect(self, transactional_db: None) -> Iterator[Connect]:
        with sessions() as connect:
            yield connect

    def test_an_event_that_comes_up_below_those_shown_is_told(self, connect: Connect) -> None:
        client = client_with(SEES)
        append_here()
        settle()
        other = connect()
        begin_append(other)
        newest = append_here()
        after, shown = of_list(client)
        assert shown[0] == newest > after + 1  # shown though it is not settled
        assert told(client, after)["rows"] == []
        other.commit()
        answer = self._until_settled(client, after, newest)
        assert positions(answer) == [newest, newest - 1]

    def test_an_event_that_is_not_settled_is_not_told(self, connect: Connect) -> None:
        client = client_with(SEES)
        append_here()
        settle()
        after, _shown = of_list(client)
        begin_append(connect())
        append_here()
        for _each in range(3):
            assert told(client, after)["rows"] == []

    def _until_settled(self, client: Client, after: int, newest: int) -> dict[str, Any]:
        for _each in range(5):
            answer = told(client, after)
            if answer["reached"] >= newest:
                return answer
        raise AssertionError("it was never settled")


def test_the_tail_needs_the_permission_to_see_events() -> None:
    assert client_with(READS, EXPORTS).get(f"{TAIL}?after=0").status_code == 403
    assert Client().get(f"{TAIL}?after=0").status_code == 302


def test_the_tail_is_masked_for_those_who_may_not_see_payloads() -> None:
    client = client_with(SEES)
    after, _shown = of_list(client)
    open_wallet("Ada Lovelace")
    with CaptureQueriesContext(connection) as queries:
        (row,) = told(client, after)["rows"]
    assert "Ada" not in row["html"]
    assert "masked" in row["html"]
    assert not any('"data"' in entry["sql"] for entry in queries.captured_queries)


@pytest.mark.parametrize(
    "query", ["", "after=x", "after=-1", "after=1&data__owner=x", "after=1&actor=%00", "after=1&live=2"]
)
def test_what_cannot_be_understood_is_400(reader: Client, query: str) -> None:
    assert reader.get(f"{TAIL}?{query}").status_code == 400


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_the_tail_is_only_read(reader: Client, method: str) -> None:
    assert getattr(reader, method)(f"{TAIL}?after=0").status_code == 403


def test_more_events_take_no_more_queries_and_none_counts(reader: Client) -> None:
    after = last_position()
    counts = []
    for _round in range(2):
        open_wallet("Ada", *range(1, 9))
        with CaptureQueriesContext(connection) as queries:
            told(reader, after)
        counts.append(len(queries))
        assert not any(re.search(r"COUNT\(|OFFSET", entry["sql"]) for entry in queries.captured_queries)
    assert counts[0] == counts[1]


def test_a_log_whose_order_is_not_safe_is_listed_but_not_followed(
    reader: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsafe(*, beyond: int | None = None) -> int:
        raise LogUnsafe("It was restored.")

    monkeypatch.setattr(event_tail, "settled_position", unsafe)
    page = text_of(reader.get(f"{EVENTS}?live=1"))
    assert "It was restored." in page
    assert "tail.js" not in page
    assert reader.get(f"{TAIL}?after=0").status_code == 503


def test_only_the_newest_page_is_followed(reader: Client) -> None:
    open_wallet("Ada", 1, 2)
    assert "tail.js" in text_of(reader.get(f"{EVENTS}?live=1"))
    for query in ("", "live=1&before=1000000", "live=1&after=0"):
        page = text_of(reader.get(f"{EVENTS}?{query}"))
        assert "tail.js" not in page
        assert "http-equiv" not in page
