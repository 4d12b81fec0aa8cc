"""Every error is a problem+json with a code and the correlation id, whoever answers it: a view, Django, or nobody."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.signals import got_request_exception
from django.db import connection, transaction
from django.db.models import Func, TextField, Value
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import include, path
from rest_framework.routers import DefaultRouter
from rest_framework.test import APIClient
from rest_framework.throttling import UserRateThrottle

from eventsourcing_app.access.timeouts import ReadTimedOut, bounded_read
from eventsourcing_app.api import EventSourcedViewSet
from tests.api_client import client_of, problem_of
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

handler400 = "eventsourcing_app.api.handlers.bad_request"
handler403 = "eventsourcing_app.api.handlers.permission_denied"
handler404 = "eventsourcing_app.api.handlers.page_not_found"
handler500 = "eventsourcing_app.api.handlers.server_error"


class Once(UserRateThrottle):
    rate = "1/hour"
    scope = "test"


class WalletViewSet(EventSourcedViewSet):
    model = Wallet


class ThrottledViewSet(EventSourcedViewSet):
    model = Wallet
    throttle_classes = (Once,)


class BrokenViewSet(EventSourcedViewSet):
    model = Wallet

    def get_queryset(self) -> Any:
        raise RuntimeError("the secret of the house")


class SuspiciousViewSet(EventSourcedViewSet):
    model = Wallet

    def get_queryset(self) -> Any:
        raise SuspiciousOperation("the secret of the house")


class SlowViewSet(EventSourcedViewSet):
    """Sleeps for each row, without an end that a test would wait for."""

    model = Wallet

    def get_queryset(self) -> Any:
        slept = Func(Value(30), function="pg_sleep", output_field=TextField())
        return super().get_queryset().annotate(slept=Cast(slept, TextField())).exclude(slept="x")


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the secret of the house")


def forbidden(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied("the secret of the house")


def form(request: HttpRequest) -> HttpResponse:
    return HttpResponse(", ".join(request.POST))


router = DefaultRouter()
router.include_format_suffixes = False
for name, viewset in (
    ("wallets", WalletViewSet),
    ("throttled", ThrottledViewSet),
    ("broken", BrokenViewSet),
    ("suspicious", SuspiciousViewSet),
    ("slow", SlowViewSet),
):
    router.register(name, viewset, basename=name)
OTHERS = [path("error/", broken), path("forbidden/", forbidden), path("form/", form)]
urlpatterns = [path("api/", include(router.urls)), path("api/", include(OTHERS)), path("", include(OTHERS))]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


@pytest.fixture
def root() -> APIClient:
    client = client_of(User.objects.create_superuser("root"))
    client.raise_request_exception = False
    return client


@pytest.fixture
def wallet() -> Wallet:
    return Wallet.objects.get(pk=Wallet.objects.perform_new(Wallet.open, owner="Ada").pk)


@pytest.fixture
def signalled() -> Iterator[list[Any]]:
    """The requests of which ``got_request_exception`` told."""
    heard: list[Any] = []

    def hear(request: Any, **_more: Any) -> None:
        heard.append(request)

    got_request_exception.connect(hear)
    yield heard
    got_request_exception.disconnect(hear)


# Outside the views


@pytest.mark.parametrize(
    ("address", "status", "code"),
    [
        ("/api/nothing/", 404, "not_found"),
        ("/api/wallets/x/y/z/", 404, "not_found"),
        ("/api/%FF/", 404, "not_found"),
        ("/api/forbidden/", 403, "permission_denied"),
        ("/api/error/", 500, "internal_error"),
    ],
)
def test_an_error_below_the_prefix_is_a_problem_whoever_asks(
    root: APIClient, address: str, status: int, code: str
) -> None:
    for accept in ("*/*", "text/html", "application/json", "application/problem+json"):
        response = root.get(address, headers={"Accept": accept, "X-Correlation-ID": "c-1"})
        body = problem_of(response, status, code)
        assert (body["correlation_id"], response.headers["X-Correlation-ID"]) == ("c-1", "c-1")
        assert "secret" not in response.text


def test_elsewhere_a_program_gets_a_problem_and_a_person_a_page(root: APIClient) -> None:
    for address, status, code in (
        ("/nothing/", 404, "not_found"),
        ("/forbidden/", 403, "permission_denied"),
        ("/error/", 500, "internal_error"),
    ):
        problem_of(root.get(address, headers={"Accept": "application/json"}), status, code)
        for accept in ("text/html,application/json;q=0.9", "*/*", ""):
            page = root.get(address, headers={"Accept": accept})
            assert (page.status_code, page.headers["Content-Type"]) == (status, "text/html; charset=utf-8")


def test_the_prefix_is_a_setting(root: APIClient, settings: Any) -> None:
    settings.EVENTSOURCING = {"API_PREFIXES": ("/nothing/", "/other/")}
    problem_of(root.get("/nothing/"), 404, "not_found")
    assert root.get("/api/nothing/").headers["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("host", ["evil.example", "a b", "[", "x" * 3000, "\xff"])
def test_a_host_that_is_not_served_is_a_problem(root: APIClient, host: str) -> None:
    for address in ("/api/wallets/", "/api/nothing/"):
        problem_of(root.get(address, headers={"Host": host}), 400, "host_not_allowed")


def test_a_form_with_too_many_fields_or_too_large_is_a_problem(root: APIClient, settings: Any) -> None:
    fields = "&".join(f"f{number}=1" for number in range(2000))
    form_encoded: Any = {"content_type": "application/x-www-form-urlencoded"}
    problem_of(root.post("/api/form/", fields, **form_encoded), 400, "too_many_fields")
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    problem_of(root.post("/api/form/", fields, **form_encoded), 413, "body_too_large")


def test_a_form_without_its_csrf_token_is_a_problem_or_a_page() -> None:
    client = Client(enforce_csrf_checks=True)
    problem_of(client.post("/api/form/", {"a": 1}), 403, "csrf_failed")
    page = client.post("/form/", {"a": 1})
    assert (page.status_code, page.headers["Content-Type"]) == (403, "text/html; charset=utf-8")


def test_a_session_without_its_csrf_token_is_a_problem() -> None:
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))
    problem_of(client.post("/api/wallets/", {"owner": "Ada"}), 403, "permission_denied")


# In the views


def test_what_rest_framework_refuses_is_a_problem(root: APIClient, wallet: Wallet) -> None:
    address = f"/api/wallets/{wallet.pk}/"
    problem_of(root.get("/api/wallets/none/"), 404, "not_found")
    problem_of(root.get(address, headers={"Accept": "image/png"}), 406, "not_acceptable")
    for method in ("PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "FOO", "get_queryset", "__class__"):
        response = root.generic(method, address, "{}", content_type="application/json")
        problem_of(response, 405, "method_not_allowed")
        assert "GET" in response.headers["Allow"]
    for content_type in (
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "x",
        "/",
    ):
        answer = root.post(f"{address}add/", b"amount=1", content_type=content_type)
        problem_of(answer, 415, "unsupported_media_type")


def test_who_asks_too_often_is_told_when_to_come_back(root: APIClient) -> None:
    assert root.get("/api/throttled/").status_code == 200
    response = root.get("/api/throttled/")
    problem_of(response, 429, "throttled")
    assert 0 < int(response.headers["Retry-After"]) <= 3600


def test_a_bug_in_a_view_is_500_without_details_and_logged_with_them(
    root: APIClient, signalled: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, logger="django.request"):
        response = root.get("/api/broken/", headers={"X-Correlation-ID": "c-1"})
    body = problem_of(response, 500, "internal_error")
    assert body["correlation_id"] == "c-1"
    assert "secret" not in response.text
    assert len(signalled) == 1
    (record,) = [record for record in caplog.records if record.name == "django.request"]
    assert record.exc_info is not None
    assert "the secret of the house" in str(record.exc_info[1])
    assert "c-1" in record.getMessage()


def test_a_client_of_tests_raises_the_bug(root: APIClient) -> None:
    root.raise_request_exception = True
    with pytest.raises(RuntimeError, match="the secret of the house"):
        root.get("/api/broken/")


def test_under_debug_a_bug_is_a_problem_for_programs_and_a_page_for_people(root: APIClient, settings: Any) -> None:
    settings.DEBUG = True
    assert "secret" not in problem_of(root.get("/api/broken/"), 500, "internal_error")["detail"]
    page = root.get("/api/broken/", headers={"Accept": "text/html"})
    assert (page.status_code, "RuntimeError" in page.text) == (500, True)


def test_a_suspicious_request_is_400_and_told_to_the_log_of_security(
    root: APIClient, signalled: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    problem_of(root.get("/api/suspicious/"), 400, "bad_request")
    assert [record.name for record in caplog.records if "security" in record.name] == [
        "django.security.SuspiciousOperation"
    ]
    assert not signalled


# Reads in bounded time


def test_a_limit_of_reads_is_part_of_their_transaction_and_costs_one_statement(
    root: APIClient, wallet: Wallet, settings: Any
) -> None:
    costs = {}
    for limit in (10.0, None):
        settings.EVENTSOURCING = {"READ_TIMEOUT_SECONDS": limit}
        with CaptureQueriesContext(connection) as queries:
            assert root.get("/api/wallets/").status_code == 200
        costs[limit] = len(queries)
    # Inside the test's transaction: a savepoint and its release, and the old value is put back.
    assert costs[10.0] - costs[None] == (4 if connection.vendor == "postgresql" else 0)


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("address", ["/api/slow/", "/api/slow/{pk}/", "/api/slow/{pk}/events/", "/api/slow/{pk}/diff/"])
def test_a_read_that_takes_too_long_is_503_and_says_when_to_come_back(
    root: APIClient, wallet: Wallet, settings: Any, signalled: list[Any], address: str
) -> None:
    settings.EVENTSOURCING = {"READ_TIMEOUT_SECONDS": 0.2}
    response = root.get(address.format(pk=wallet.pk))
    problem_of(response, 503, "read_timeout")
    assert response.headers["Retry-After"] == "1"
    assert not signalled
    assert root.get(f"/api/wallets/{wallet.pk}/").status_code == 200
    assert limit_now() == "0"


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_the_limit_ends_with_the_read_and_a_lower_one_stays(wallet: Wallet, settings: Any) -> None:
    settings.EVENTSOURCING = {"READ_TIMEOUT_SECONDS": 0.5}
    with CaptureQueriesContext(connection) as queries, bounded_read():
        assert limit_now() == "500ms"
    assert [query["sql"].strip().split()[0] for query in queries.captured_queries][-1] == "COMMIT"
    assert len([query for query in queries.captured_queries if "set_config" in query["sql"]]) == 1
    assert limit_now() == "0"
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '20s'")
        with bounded_read():
            assert limit_now() == "500ms"
        assert limit_now() == "20s"
        with pytest.raises(ReadTimedOut), bounded_read(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(30)")
        assert limit_now() == "20s"
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '300ms'")
        with bounded_read():
            assert limit_now() == "300ms"
        settings.EVENTSOURCING = {"READ_TIMEOUT_SECONDS": None}
        with bounded_read():
            assert limit_now() == "300ms"


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_a_command_has_no_limit_of_reads(root: APIClient, settings: Any) -> None:
    settings.EVENTSOURCING = {"READ_TIMEOUT_SECONDS": 0.2}
    with CaptureQueriesContext(connection) as queries:
        assert root.post("/api/wallets/", {"owner": "Ada"}).status_code == 201
    assert not [query for query in queries.captured_queries if "statement_timeout" in query["sql"]]


def limit_now() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        return str(cursor.fetchone()[0])


def test_json_of_a_problem_is_what_its_type_says(root: APIClient) -> None:
    body = json.loads(root.get("/api/nothing/").content)
    assert {"type", "title", "status", "detail", "instance", "code", "correlation_id"} == set(body)
    assert (body["instance"], body["title"]) == ("/api/nothing/", "Not Found")
