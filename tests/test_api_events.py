"""The log over HTTP is filtered by cause and period, read in either order, and tells of one event what is around it."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from unittest import mock
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import include, path
from rest_framework.routers import DefaultRouter

from eventsourcing_app import context, publish
from eventsourcing_app.access import surroundings
from eventsourcing_app.api import StoredEventViewSet
from eventsourcing_app.events.registry import registry
from eventsourcing_app.log import periods
from eventsourcing_app.models import StoredEvent
from tests.api_client import client_of, problem_of, user_with
from tests.samples.events import RateChanged
from tests.samples.factories import open_wallet
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from rest_framework.test import APIClient

router = DefaultRouter()
router.include_format_suffixes = False
router.register("events", StoredEventViewSet)
urlpatterns = [path("api/", include(router.urls))]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def auditor() -> APIClient:
    return client_of(user_with("eventsourcing_app.view_storedevent", "eventsourcing_app.view_payload"))


@pytest.fixture
def at(settings: Any) -> Callable[[timedelta], int]:
    """Open a wallet at a time after noon; returns the position of its event."""
    now = [NOON]
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "CLOCK": lambda: now[0]}

    def open_at(later: timedelta) -> int:
        now[0] = NOON + later
        return open_wallet().position or 0

    return open_at


def found(client: APIClient, query: str = "") -> list[int]:
    response = client.get(f"/api/events/?{query}")
    assert response.status_code == 200, response.content
    return [event["position"] for event in response.json()["results"]]


def text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


@contextmanager
def caused_by(event_id: UUID) -> Iterator[None]:
    with context(causation_id=event_id):
        yield


# Filters


def test_a_cause_finds_what_it_caused(auditor: APIClient) -> None:
    cause = open_wallet().history()[0].event_id
    with caused_by(cause):
        caused = [open_wallet().position for _ in range(2)]
    open_wallet()
    assert found(auditor, f"causation_id={cause}") == caused
    assert found(auditor, f"causation_id={str(cause).upper()}") == caused
    assert found(auditor, f"causation_id={uuid4()}") == []
    for wrong in ("x", "", "1", "%00", "null"):
        body = problem_of(auditor.get(f"/api/events/?causation_id={wrong}"), 400, "invalid")
        assert body["errors"][0]["parameter"] == "causation_id"


def test_a_period_begins_with_since_and_ends_before_until(auditor: APIClient, at: Callable[[timedelta], int]) -> None:
    positions = [at(number * SECOND) for number in range(6)]
    for first in range(6):
        since = f"since={text(NOON + first * SECOND)}"
        assert found(auditor, since) == positions[first:]
        assert found(auditor, f"until={text(NOON + first * SECOND)}") == positions[:first]
        for last in range(6):
            expected = positions[first:last]
            assert found(auditor, f"{since}&until={text(NOON + last * SECOND)}") == expected
    assert found(auditor, f"since={text(NOON - SECOND)}") == positions
    assert found(auditor, f"until={text(NOON - SECOND)}") == []
    assert found(auditor, f"since={text(NOON + 9 * SECOND)}") == []
    assert found(auditor, f"since={text(NOON + timedelta(microseconds=1))}") == positions[1:]
    assert found(auditor, "since=2026-01-01T14:00:02%2B02:00") == positions[2:]


def test_a_period_has_its_events_also_where_times_fall_as_positions_rise(
    auditor: APIClient, at: Callable[[timedelta], int]
) -> None:
    seconds = [0, 1, 9, 2, 3, 0, 4, 5, 8, 6, 1, 7, 9, 0]
    positions = [at(second * SECOND) for second in seconds]
    for first in range(11):
        for last in range(11):
            expected = [position for position, second in zip(positions, seconds, strict=True) if first <= second < last]
            query = f"since={text(NOON + first * SECOND)}&until={text(NOON + last * SECOND)}"
            assert found(auditor, query) == expected, query
            assert found(auditor, f"{query}&order=-position") == expected[::-1], query


def test_a_period_of_an_empty_log_is_empty(auditor: APIClient) -> None:
    assert found(auditor, f"since={text(NOON)}&until={text(NOON + SECOND)}") == []


def test_a_period_goes_with_any_other_filter(auditor: APIClient, at: Callable[[timedelta], int]) -> None:
    positions = [at(number * SECOND) for number in range(4)]
    since = f"since={text(NOON + SECOND)}"
    assert found(auditor, f"{since}&type=samples.wallet_opened&stream_type=samples.wallet") == positions[1:]
    assert found(auditor, f"{since}&type=samples.money_added") == []
    key = StoredEvent.objects.get(position=positions[2]).stream_key
    assert found(auditor, f"{since}&stream_key={key}") == [positions[2]]
    assert found(auditor, f"{since}&limit=1&after_position={positions[1]}") == [positions[2]]


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize(
    "value", ["", "x", "2026-01-01", "2026-01-01T12:00:00", "7", "%00", "9999-12-31T23:59:59-01:00"]
)
def test_a_time_without_its_offset_is_refused(auditor: APIClient, name: str, value: str) -> None:
    body = problem_of(auditor.get(f"/api/events/?{name}={value}"), 400, "invalid")
    assert body["errors"][0]["parameter"] == name


def test_a_key_alone_is_found_in_streams_of_every_type_and_among_published_facts(auditor: APIClient) -> None:
    key = str(open_wallet().pk)
    own = StoredEvent.objects.latest("position").position
    open_wallet()
    published = publish(RateChanged(currency="EUR", rate=Decimal(1)), key=key)
    assert found(auditor, f"stream_key={key}") == [own, published]


def test_where_a_period_begins_and_ends_is_looked_up_and_not_walked_to(at: Callable[[timedelta], int]) -> None:
    positions = [at(number * SECOND) for number in range(9)]
    for number, position in enumerate(positions):
        assert periods.first_position(NOON + number * SECOND) == position
        assert periods.last_position_before(NOON + number * SECOND) == position - 1


# Order


def test_the_newest_come_first_if_asked_for_and_pages_go_both_ways(auditor: APIClient) -> None:
    positions = [open_wallet().position for _ in range(5)]
    pages, url = [], "/api/events/?order=-position&limit=2"
    while url:
        body = auditor.get(url).json()
        pages.append([event["position"] for event in body["results"]])
        last, url = body, body["next"]
    assert pages == [positions[:2:-1], positions[2:0:-1], positions[:1]]
    back = auditor.get(last["previous"]).json()
    assert [event["position"] for event in back["results"]] == pages[1]
    newest = auditor.get(back["previous"]).json()
    assert ([event["position"] for event in newest["results"]], newest["previous"]) == (pages[0], None)
    assert found(auditor, "order=position") == positions
    assert found(auditor, f"order=-position&after_position={positions[2]}") == positions[:2:-1]
    assert found(auditor, f"order=-position&before_position={positions[2]}") == positions[1::-1]


@pytest.mark.parametrize("order", ["", "recorded_at", "data", "--position", "position,hash", "POSITION", "?"])
def test_there_is_no_other_order(auditor: APIClient, order: str) -> None:
    body = problem_of(auditor.get(f"/api/events/?order={order}"), 400, "invalid")
    assert body["errors"][0]["parameter"] == "order"


# One event


def test_an_event_tells_what_caused_it_what_it_caused_and_its_neighbours(auditor: APIClient) -> None:
    wallet = open_wallet("Ada", 1, 2)
    first, second, third = wallet.history()
    with caused_by(second.event_id):
        caused = open_wallet("Bob").history()[0]
    body = auditor.get(f"/api/events/{second.position}/").json()
    assert (body["previous"], body["next"], body["parent"]) == (first.position, third.position, None)
    assert body["children"] == [
        {"position": caused.position, "event_id": str(caused.event_id), "type": "samples.wallet_opened"}
    ]
    assert body["has_more_children"] is False
    listed = auditor.get(f"/api/events/?after_position={first.position}&limit=1").json()["results"][0]
    assert {name: body[name] for name in listed} == listed
    other = auditor.get(f"/api/events/{caused.position}/").json()
    assert other["parent"] == {
        "position": second.position,
        "event_id": str(second.event_id),
        "type": "samples.money_added",
    }
    assert (other["previous"], other["next"], other["children"]) == (None, None, [])


def test_a_cause_that_is_not_in_the_log_is_null(auditor: APIClient) -> None:
    with caused_by(uuid4()):
        position = open_wallet().position
    body = auditor.get(f"/api/events/{position}/").json()
    assert body["causation_id"] is not None
    assert body["parent"] is None


def test_no_more_children_are_told_than_a_page_holds(auditor: APIClient) -> None:
    cause = open_wallet().history()[0]
    with caused_by(cause.event_id):
        caused = [open_wallet().position for _ in range(3)]
    with mock.patch.object(surroundings, "MOST_CHILDREN", 2):
        body = auditor.get(f"/api/events/{cause.position}/").json()
    assert [child["position"] for child in body["children"]] == caused[:2]
    assert body["has_more_children"] is True


def test_a_published_fact_has_no_neighbours(auditor: APIClient) -> None:
    positions = [publish(RateChanged(currency="EUR", rate=Decimal(1)), key="k") for _ in range(2)]
    body = auditor.get(f"/api/events/{positions[0]}/").json()
    assert (body["version"], body["previous"], body["next"]) == (None, None, None)


def test_data_is_shown_as_stored_and_as_the_code_of_today_reads_it(auditor: APIClient) -> None:
    event = open_wallet("Ada", 5).history()[1]
    body = auditor.get(f"/api/events/{event.position}/").json()
    assert (body["data"], body["upcast_problem"]) == (event.data, None)
    assert body["upcast"] == {"amount": "5", "reference": ""}


def test_data_that_no_code_can_read_is_shown_raw_with_the_reason(auditor: APIClient) -> None:
    event = open_wallet("Ada", 5).history()[1]
    with mock.patch.object(registry, "get", side_effect=registry_that_knows_nothing):
        body = auditor.get(f"/api/events/{event.position}/").json()
    assert (body["data"], body["upcast"]) == (event.data, None)
    assert "samples.money_added" in body["upcast_problem"]


def registry_that_knows_nothing(name: str) -> Any:
    return type(registry)().get(name)


# Kept by the client


def test_an_event_is_kept_until_something_of_it_changes(auditor: APIClient) -> None:
    wallet = open_wallet("Ada")
    event = wallet.history()[0]
    url = f"/api/events/{event.position}/"
    first = auditor.get(url)
    assert first.headers["Cache-Control"] == "private, no-cache"
    assert {"Accept", "Authorization", "Cookie"} <= set(first.headers["Vary"].split(", "))

    def again(client: APIClient, tag: str) -> Any:
        return client.get(url, headers={"If-None-Match": tag})

    tag = first.headers["ETag"]
    kept = again(auditor, tag)
    assert (kept.status_code, kept.content, kept.headers["ETag"]) == (304, b"", tag)
    assert kept.headers["Cache-Control"] == "private, no-cache"
    blind = client_of(user_with("eventsourcing_app.view_storedevent", name="blind"))
    assert again(blind, tag).status_code == 200  # masked, it is another page
    with caused_by(event.event_id):
        open_wallet("Bob")
    assert again(auditor, tag).status_code == 200
    tag = again(auditor, tag).headers["ETag"]
    Wallet.objects.perform(wallet.pk, Wallet.add, amount=Decimal(1))
    assert again(auditor, tag).status_code == 200
    page = auditor.get(url, headers={"Accept": "text/html"})
    assert page.headers["ETag"] != auditor.get(url).headers["ETag"]


def test_head_tells_what_get_would(auditor: APIClient) -> None:
    position = open_wallet().position
    for url in (f"/api/events/{position}/", "/api/events/"):
        head, get = auditor.head(url), auditor.get(url)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers.get("ETag") == get.headers.get("ETag")
        assert head.headers["Content-Type"] == get.headers["Content-Type"]


@pytest.mark.parametrize("position", ["0", "999999999", "x", "-1", "٣", "9" * 30, "%00"])
def test_there_is_no_page_where_there_is_no_event(auditor: APIClient, position: str) -> None:
    problem_of(auditor.get(f"/api/events/{position}/"), 404, "not_found")


# Cost


def test_pages_take_the_same_queries_however_many_events_there_are(auditor: APIClient) -> None:
    root = open_wallet("Ada", 1, 2)
    cause = root.history()[1]
    moment = f"since={text(datetime(2000, 1, 1, tzinfo=UTC))}&until={text(datetime(2100, 1, 1, tzinfo=UTC))}"
    urls = (
        "/api/events/",
        f"/api/events/?causation_id={cause.event_id}",
        f"/api/events/?{moment}&order=-position",
        f"/api/events/?stream_key={root.pk}",
        f"/api/events/{cause.position}/",
    )
    counts: list[list[int]] = []
    for _round in range(2):
        counts.append([])
        for url in urls:
            with CaptureQueriesContext(connection) as queries:
                assert auditor.get(url).status_code == 200
            counts[-1].append(len(queries))
            statements = " ".join(query["sql"].upper() for query in queries.captured_queries)
            assert "COUNT(" not in statements
        with caused_by(cause.event_id):
            for _number in range(20):
                open_wallet("Bob", 1)
    assert counts[0] == counts[1]


@pytest.mark.needs_postgres
def test_no_plan_for_the_end_of_a_period_can_use_the_key_of_the_log(at: Callable[[timedelta], int]) -> None:
    """Were it to, it would walk through half of a long log: the key promises an order, and the times are not in it."""
    at(SECOND)
    sql = periods._FURTHEST["postgresql"].format(log=periods._log(), end="min", times=">=", places="<")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {sql}", [NOON, 10**9])
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "eventsourcing_period" in plan
    assert "pkey" not in plan
