"""What is filtered in the admin's list of events can be taken along as a file, by those who may, masked if need be."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import AsyncClient, Client

from eventsourcing_app import context
from eventsourcing_app.access.timeouts import ReadTimedOut
from eventsourcing_app.admin.event_pages import EventsToExport
from eventsourcing_app.log.settled import settled_position
from tests.admin_client import EVENTS, EXPORTS, READS, SEES, client_with, text_of
from tests.samples.factories import open_wallet, run_sql

pytestmark = pytest.mark.django_db

FILE = f"{EVENTS}export/"


@pytest.fixture
def auditor() -> Client:
    return client_with(SEES, READS, EXPORTS)


@pytest.fixture(autouse=True)
def events(db: None) -> None:
    with context(actor="user:7"):
        open_wallet("Ada", 50)
    open_wallet("=Bob")


def lines(client: Client, query: str = "") -> list[dict[str, Any]]:
    response = client.get(f"{FILE}?format=ndjson&{query}")
    assert response.status_code == 200
    return [json.loads(line) for line in b"".join(response.streaming_content).splitlines()]  # type: ignore[attr-defined]


def test_a_file_has_all_that_is_filtered_and_nothing_else(auditor: Client) -> None:
    everything = lines(auditor)
    assert [line["position"] for line in everything] == sorted(line["position"] for line in everything)
    assert len(everything) == 3
    assert [line["data"]["owner"] for line in lines(auditor, "type=samples.wallet_opened")] == ["Ada", "=Bob"]
    assert len(lines(auditor, "q=user:7")) == 2
    assert len(lines(auditor, "period=hour&actor=user:7")) == 2
    assert lines(auditor, "until=2001-01-01") == []


@pytest.mark.needs_postgres
def test_of_a_log_that_is_not_safe_nothing_is_exported_and_the_page_says_why(auditor: Client) -> None:
    run_sql("SELECT setval(pg_get_serial_sequence('eventsourcing_app_storedevent', 'position'), 1)")
    page = text_of(auditor.get(f"{FILE}?format=csv"), 503)
    assert "nothing was exported" in page
    assert "sequence" in page


def test_a_table_has_no_formula(auditor: Client) -> None:
    response = auditor.get(f"{FILE}?format=csv&type=samples.wallet_opened")
    text = b"".join(response.streaming_content).decode()  # type: ignore[attr-defined]
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [json.loads(row["data"])["owner"] for row in table] == ["Ada", "'=Bob"]


def test_a_file_says_up_to_where_it_goes(auditor: Client) -> None:
    headers = auditor.get(f"{FILE}?format=csv").headers
    assert headers["Log-Position"] == str(settled_position())
    assert headers["Content-Disposition"].startswith("attachment;")
    assert headers["Cache-Control"].startswith("private, no-store")


def test_a_file_needs_a_permission_of_its_own() -> None:
    for codenames in ((SEES, READS), (EXPORTS, READS), ()):
        client = client_with(*codenames)
        assert client.get(f"{FILE}?format=csv").status_code == 403, codenames
        if SEES in codenames:
            assert "export/" not in text_of(client.get(EVENTS))
    assert Client().get(f"{FILE}?format=csv").status_code == 302


def test_a_file_is_masked_for_those_who_may_not_see_payloads() -> None:
    client = client_with(SEES, EXPORTS)
    for line in lines(client):
        assert (line["data"], line["metadata"], line["hash"], line["masked"]) == (None, None, None, True)


def test_the_links_of_the_list_export_what_it_shows(auditor: Client) -> None:
    page = text_of(auditor.get(f"{EVENTS}?actor=user:7&live=1&q=user:7"))
    assert f'href="{FILE}?actor=user%3A7&amp;format=csv&amp;q=user%3A7"' in page
    assert f'href="{FILE}?actor=user%3A7&amp;format=ndjson&amp;q=user%3A7"' in page


@pytest.mark.parametrize(
    "query", ["", "format=xml", "format=csv&data__owner=Ada", "format=csv&actor=%00", "format=csv&period=x"]
)
def test_a_file_that_is_not_offered_is_400(auditor: Client, query: str) -> None:
    assert auditor.get(f"{FILE}?{query}").status_code == 400


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_a_file_is_only_read(auditor: Client, method: str) -> None:
    assert getattr(auditor, method)(f"{FILE}?format=csv").status_code == 403


def test_a_search_that_takes_too_long_makes_no_file(auditor: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_args: object) -> None:
        raise ReadTimedOut(10.0)

    monkeypatch.setattr(EventsToExport, "get_queryset", slow)
    assert auditor.get(f"{FILE}?format=csv").status_code == 503


@pytest.mark.django_db(transaction=True)
def test_under_asgi_a_file_is_sent_part_by_part() -> None:
    user_client = client_with(SEES, READS, EXPORTS)

    async def read() -> list[bytes]:
        client = AsyncClient()
        client.cookies = user_client.cookies
        response = await client.get(f"{FILE}?format=csv")
        assert response.streaming
        assert response.is_async  # type: ignore[attr-defined]  # a StreamingHttpResponse
        return [part async for part in response.streaming_content]  # type: ignore[attr-defined]

    parts = asyncio.run(_read_and_close(read))
    assert len(parts) == 2  # the names of the columns, and one window


async def _read_and_close(read: Any) -> list[bytes]:
    try:
        parts: list[bytes] = await read()
        return parts
    finally:
        await sync_to_async(connections.close_all)()
