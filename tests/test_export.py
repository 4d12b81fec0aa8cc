"""An export is the whole filtered log, in constant memory, and one that was cut off does not look whole."""

from __future__ import annotations

import csv
import gc
import io
import json
import socket
import subprocess
import sys
import tracemalloc
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import include, path
from rest_framework.authtoken.models import Token
from rest_framework.routers import DefaultRouter

from eventsourcing_app.access.export import FIRST_WINDOW, LARGEST_PART, WINDOW, Export, safe_cell
from eventsourcing_app.access.visibility import visible_events
from eventsourcing_app.api import StoredEventViewSet
from eventsourcing_app.models import StoredEvent
from tests.api_client import client_of, problem_of, user_with
from tests.conftest import ROOT
from tests.reactions_sample.scene import until
from tests.samples.factories import LOG, counter_of, open_wallet, tamper
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rest_framework.test import APIClient

router = DefaultRouter()
router.include_format_suffixes = False
router.register("events", StoredEventViewSet)
urlpatterns = [path("api/", include(router.urls))]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

EXPORTS = (
    *("eventsourcing_app.view_storedevent", "eventsourcing_app.view_payload", "eventsourcing_app.export_storedevent"),
)
NDJSON, CSV = "application/x-ndjson", "text/csv"
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "＝1")


@pytest.fixture
def auditor() -> APIClient:
    return client_of(user_with(*EXPORTS, name="auditor"))


@pytest.fixture
def wallet() -> Wallet:
    return open_wallet("Ada", 50, 7)


def content_of(response: Any) -> str:
    assert response.status_code == 200, response.content
    text: str = b"".join(response.streaming_content).decode()
    return text


def ndjson(client: APIClient, query: str = "") -> list[dict[str, Any]]:
    response = client.get(f"/api/events/?{query}", headers={"Accept": NDJSON})
    return [json.loads(line) for line in content_of(response).split("\n")[:-1]]


def table(client: APIClient, query: str = "") -> list[dict[str, str]]:
    response = client.get(f"/api/events/?{query}", headers={"Accept": CSV})
    return list(csv.DictReader(io.StringIO(content_of(response), newline="")))


def open_many(number: int) -> None:
    for start in range(0, number, 500):
        wallets = []
        for index in range(start, min(start + 500, number)):
            wallet = Wallet()
            wallet.open(owner=f"owner {index}")
            wallets.append(wallet)
        Wallet.objects.save_all(wallets)


# What is in it


def test_the_lines_of_ndjson_are_what_the_list_shows(auditor: APIClient, wallet: Wallet) -> None:
    listed = auditor.get("/api/events/").json()["results"]
    assert ndjson(auditor) == listed
    assert len(listed) == 3
    blind = client_of(user_with(*(each for each in EXPORTS if "payload" not in each), name="blind"))
    assert ndjson(blind) == blind.get("/api/events/").json()["results"] != listed


def test_the_cells_of_csv_are_what_the_list_shows(auditor: APIClient, wallet: Wallet) -> None:
    for row, event in zip(table(auditor), auditor.get("/api/events/").json()["results"], strict=True):
        assert list(row) == list(event)
        for name, value in event.items():
            if isinstance(value, dict | bool):
                assert json.loads(row[name]) == value
            else:
                assert row[name] == ("" if value is None else str(value))


def test_it_has_all_events_over_many_windows_and_in_either_order(auditor: APIClient) -> None:
    open_many(2 * WINDOW + 1)
    positions = list(StoredEvent.objects.values_list("position", flat=True))
    assert [event["position"] for event in ndjson(auditor)] == positions
    assert [event["position"] for event in ndjson(auditor, "order=-position")] == positions[::-1]
    assert [int(row["position"]) for row in table(auditor)] == positions
    after = positions[WINDOW]
    assert [event["position"] for event in ndjson(auditor, f"after_position={after}")] == positions[WINDOW + 1 :]


def test_it_is_filtered_as_the_list_is(auditor: APIClient, wallet: Wallet) -> None:
    other = open_wallet("Bob")
    for query in (f"stream_type=samples.wallet&stream_key={other.pk}", "type=samples.money_added", "actor=nobody"):
        assert ndjson(auditor, query) == auditor.get(f"/api/events/?{query}").json()["results"]
    assert len(ndjson(auditor, "type=samples.money_added")) == 2


def test_what_comes_while_it_runs_is_left_to_the_next_one(auditor: APIClient) -> None:
    open_many(WINDOW + 1)
    response: Any = auditor.get("/api/events/", headers={"Accept": NDJSON})
    last = int(response.headers["Log-Position"])
    parts = iter(response.streaming_content)
    first = next(parts)
    late = open_wallet("late").position
    lines = (first + b"".join(parts)).decode().splitlines()
    assert [json.loads(line)["position"] for line in lines][-1] == last
    assert [event["position"] for event in ndjson(auditor, f"after_position={last}")] == [late]


def test_it_can_be_asked_for_by_address(auditor: APIClient, wallet: Wallet) -> None:
    for form, media_type in (("ndjson", NDJSON), ("csv", CSV)):
        response = auditor.get(f"/api/events/?format={form}")
        assert response.headers["Content-Type"].startswith(f"{media_type}; charset=utf-8")
        last = StoredEvent.objects.latest("position").position
        assert response.headers["Content-Disposition"] == f'attachment; filename="events-until-{last}.{form}"'
        assert response.headers["Log-Position"] == str(last)
        assert "no-store" in response.headers["Cache-Control"]
        assert {"Accept", "Authorization", "Cookie"} <= set(response.headers["Vary"].split(", "))


def test_head_gets_the_headers_and_reads_no_event(auditor: APIClient, wallet: Wallet) -> None:
    with CaptureQueriesContext(connection) as queries:
        response = auditor.head("/api/events/", headers={"Accept": CSV})
        assert content_of(response) == ""
    assert "Log-Position" in response.headers
    assert not [query for query in queries.captured_queries if '"recorded_at"' in query["sql"]]


# Who may, and how it is refused


def test_it_needs_a_permission_of_its_own(wallet: Wallet) -> None:
    viewer = client_of(user_with(*EXPORTS[:2], name="viewer"))
    assert viewer.get("/api/events/").status_code == 200
    exporter = client_of(user_with(EXPORTS[2], name="exporter"))
    for client in (viewer, exporter):
        for form in (NDJSON, CSV):
            problem_of(client.get("/api/events/", headers={"Accept": form}), 403, "permission_denied")


@pytest.mark.parametrize(
    ("query", "code"),
    [("limit=5", "unknown"), ("before_position=9", "unknown"), ("order=data", "invalid"), ("actor=%00", "invalid")],
)
@pytest.mark.parametrize("form", [NDJSON, CSV])
def test_a_part_of_it_is_refused_rather_than_taken_for_the_whole(
    auditor: APIClient, form: str, query: str, code: str
) -> None:
    problem_of(auditor.get(f"/api/events/?{query}", headers={"Accept": form}), 400, code)


def test_there_is_no_export_of_one_event(auditor: APIClient, wallet: Wallet) -> None:
    assert auditor.get(f"/api/events/{wallet.position}/?format=csv").status_code == 404
    assert auditor.get(f"/api/events/{wallet.position}/", headers={"Accept": CSV}).status_code == 406


# Harmless to those who open it


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_formula_becomes_text_in_csv_and_stays_exact_in_ndjson(auditor: APIClient, formula: str) -> None:
    wallet = Wallet()
    wallet.open(owner=formula)
    wallet.save()
    (row,) = table(auditor)
    assert json.loads(row["data"]) == {"owner": f"'{formula}"}
    assert ndjson(auditor)[0]["data"] == {"owner": formula}


def test_every_kind_of_cell_is_made_safe() -> None:
    assert safe_cell({"=a": ["-1", {"b": "@x", "c": -1, "d": None, "e": True}]}) == {
        "'=a": ["'-1", {"b": "'@x", "c": -1, "d": None, "e": True}]
    }
    assert safe_cell("a=1") == "a=1"


def test_no_text_breaks_a_line(auditor: APIClient) -> None:
    wallet = Wallet()
    wallet.open(owner='a\u2028b\u0085c\n"d",\r\n=x')
    wallet.save()
    response = auditor.get("/api/events/", headers={"Accept": NDJSON})
    (line,) = content_of(response).splitlines()
    assert json.loads(line)["data"]["owner"] == 'a\u2028b\u0085c\n"d",\r\n=x'
    (row,) = table(auditor)
    assert json.loads(row["data"])["owner"] == 'a\u2028b\u0085c\n"d",\r\n=x'


# Cost


def test_each_window_is_one_query_and_a_longer_log_has_more_windows_only(auditor: APIClient) -> None:
    counts = []
    for number in (10, WINDOW * 2):
        open_many(number)
        with CaptureQueriesContext(connection) as queries:
            content_of(auditor.get("/api/events/", headers={"Accept": NDJSON}))
        limits = (f" LIMIT {FIRST_WINDOW}", f" LIMIT {WINDOW}")
        windows = [query for query in queries.captured_queries if query["sql"].endswith(limits)]
        counts.append((len(queries) - len(windows), len(windows)))
    assert counts[0][0] == counts[1][0]
    assert [windows for _others, windows in counts] == [1, 3]


def test_memory_stays_constant_however_long_the_log_is() -> None:
    user = User.objects.create_superuser("root")

    def peak() -> int:
        gc.collect()
        tracemalloc.start()
        for chunk in Export(visible_events(user), "ndjson", user=user).chunks():
            assert chunk
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    counter_of(1_000)
    few = peak()
    counter_of(5_000)
    assert StoredEvent.objects.count() == 6_000
    assert peak() < few * 1.3


# Cut off


def test_of_large_events_fewer_are_taken_at_a_time() -> None:
    user = User.objects.create_superuser("root")
    wallet = Wallet()
    wallet.open(owner="Ada")
    for _ in range(60):
        wallet.add(Decimal(1), reference="x" * 100_000)
    wallet.save()
    first, *others = [len(part) for part in Export(visible_events(user), "ndjson", user=user).chunks()]
    assert first > LARGEST_PART
    assert max(others) < 1.5 * LARGEST_PART
    assert len(others) > 1


class _CutError(Exception):
    pass


@pytest.mark.parametrize(("form", "sign"), [("ndjson", '"error":"export_failed"'), ("csv", "EXPORT FAILED after")])
def test_an_error_is_told_in_the_last_line_and_raised(form: Any, sign: str, monkeypatch: pytest.MonkeyPatch) -> None:
    user = User.objects.create_superuser("root")
    open_many(WINDOW + 1)
    chunks = Export(visible_events(user), form, user=user).chunks()
    received = [next(chunks)]
    if form == "csv":
        received.append(next(chunks))
    monkeypatch.setattr(StoredEvent, "from_db", classmethod(_cut))
    received.append(next(chunks))
    with pytest.raises(_CutError):
        next(chunks)
    text = b"".join(received).decode()
    assert sign in text.splitlines()[-1]
    reached = StoredEvent.objects.values_list("position", flat=True)[FIRST_WINDOW - 1]
    assert str(reached) in text.splitlines()[-1]


def _cut(*_args: Any, **_kwargs: Any) -> Any:
    raise _CutError


# Servers

SERVERS = {
    "gunicorn": ("-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "1", "demo_bank.wsgi:application"),
    "uvicorn": ("-m", "uvicorn", "--port", "{port}", "--log-level", "info", "demo_bank.asgi:application"),
}


@pytest.fixture(params=sorted(SERVERS))
def server(request: pytest.FixtureRequest, child_env: dict[str, str], tmp_path: Path) -> Iterator[httpx.Client]:
    """The demo behind a real server, and a client of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, *(part.format(port=port) for part in SERVERS[request.param])]
    token = Token.objects.create(user=User.objects.create_superuser("root")).key
    said = tmp_path / "said"
    with said.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=child_env, stdout=output, stderr=output)
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}/api/v1", headers={"Authorization": f"Token {token}"}
        ) as client:
            until(lambda: answers(client, process, said))
            yield client
    finally:
        process.terminate()
        process.wait(20)
    assert "must consume" not in said.read_text()  # Django's warning of a file that is read into memory first


def answers(client: httpx.Client, process: subprocess.Popen[bytes], said: Path) -> bool:
    assert process.poll() is None, said.read_text()
    try:
        return client.get("/events/?limit=1").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.django_db(transaction=True)
def test_a_server_streams_all_of_it(server: httpx.Client) -> None:
    open_many(2 * WINDOW + 1)
    positions = list(StoredEvent.objects.values_list("position", flat=True))
    for form, first in (("ndjson", 0), ("csv", 1)):
        answer = server.get(f"/events/?format={form}")
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert answer.headers["Log-Position"] == str(positions[-1])
        assert len(answer.text.splitlines()) == len(positions) + first


@pytest.mark.django_db(transaction=True)
def test_a_server_breaks_off_where_an_error_does(server: httpx.Client) -> None:
    open_many(2 * WINDOW)
    broken = StoredEvent.objects.latest("position").position
    nonsense = "infinity" if connection.vendor == "postgresql" else "nonsense"
    tamper(f"UPDATE {LOG} SET recorded_at = %s WHERE position = %s", [nonsense, broken])
    received: list[str] = []
    with server.stream("GET", "/events/?format=ndjson") as answer, pytest.raises(httpx.RemoteProtocolError):
        received.extend(answer.iter_lines())
    assert answer.status_code == 200
    assert json.loads(received[-1])["error"] == "export_failed"
    assert len(received) == FIRST_WINDOW + WINDOW + 1
