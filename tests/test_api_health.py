"""Probes are answered whatever happens: at once, without secrets, and with the details for operators only."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext, override_settings
from django.urls import path
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from eventsourcing_app import RecordedEvent, subscriber
from eventsourcing_app.api import HealthView
from eventsourcing_app.exceptions import LogUnsafe
from eventsourcing_app.models import StoredEvent, Subscription
from eventsourcing_app.subscriptions import health, pause
from tests.api_client import client_of, problem_of, user_with
from tests.conftest import ROOT
from tests.reactions_sample.scene import deliver, wallet
from tests.samples.events import MoneyAdded

if TYPE_CHECKING:
    from collections.abc import Iterator

urlpatterns = [path("health/", HealthView.as_view())]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

HEALTH = "/health/"
NAME = "t.watched"
SECRET = "the reference of 4711"


@pytest.fixture(autouse=True)
def only_own(own_subscriptions: None, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    Subscription.objects.all().delete()  # the demo's
    monkeypatch.setattr(health, "KEPT_SECONDS", -1.0)  # each test measures when it asks
    health.recent_health.forget()


@pytest.fixture
def watcher() -> APIClient:
    return client_of(user_with("eventsourcing_app.view_subscription"))


def subscribed(name: str = NAME, *, fails: bool = False, **options: Any) -> None:
    @subscriber(name, MoneyAdded, **options)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        if fails:
            raise ValueError(SECRET)


def reasons(client: APIClient) -> list[str]:
    answer = client.get(HEALTH)
    codes = [reason["code"] for reason in answer.json()["reasons"]]
    assert answer.status_code == (503 if codes else 200)
    assert answer.json()["status"] == ("failing" if codes else "ok")
    assert APIClient().get(HEALTH).status_code == answer.status_code
    return codes


@contextmanager
def thresholds(**seconds: float) -> Iterator[None]:
    with override_settings(EVENTSOURCING={"DISPATCHER": "none", **seconds}):
        yield


# What it says


def test_all_is_well_when_everything_is_handled(watcher: APIClient) -> None:
    subscribed()
    wallet(adds=3)
    deliver()
    last = StoredEvent.objects.latest("position").position
    assert watcher.get(HEALTH).json() == {
        "status": "ok",
        "reasons": [],
        "last_position": last,
        "settled_position": last,
        "open_seconds": None,
        "slowest": None,
        "lag_events": 0,
        "lag_seconds": 0.0,
        "parked": 0,
        "dead": 0,
        "halted": [],
    }


def test_whoever_is_no_operator_is_told_only_whether_all_is_well() -> None:
    subscribed(fails=True, max_attempts=1)
    clients = [APIClient(), client_of(user_with(name="nobody"))]
    assert [client.get(HEALTH).json() for client in clients] == [{"status": "ok"}] * 2
    wallet()
    deliver()
    assert [client.get(HEALTH).json() for client in clients] == [{"status": "failing"}] * 2
    assert [client.get(HEALTH).status_code for client in clients] == [503] * 2


def test_a_subscription_behind_for_too_long_is_not_well(watcher: APIClient) -> None:
    subscribed()
    subscribed("t.other")
    deliver()
    wallet(adds=3)
    with thresholds(HEALTH_LAG_SECONDS=3600.0):
        assert reasons(watcher) == []
    with thresholds(HEALTH_LAG_SECONDS=1e-9):
        assert reasons(watcher) == ["lag"]
        shown = watcher.get(HEALTH).json()
    assert shown["lag_events"] == 4
    assert shown["lag_seconds"] > 0
    assert shown["slowest"] in (NAME, "t.other")
    assert shown["slowest"] in shown["reasons"][0]["detail"]


def test_dead_events_and_a_halted_subscription_are_not_well_and_no_payload_is_quoted(watcher: APIClient) -> None:
    subscribed(fails=True, max_attempts=1)
    subscribed("t.halting", fails=True, max_attempts=1, on_failure="halt")
    wallet(adds=2)
    deliver()
    assert reasons(watcher) == ["halted", "dead_events"]
    answer = watcher.get(HEALTH)
    assert (answer.json()["parked"], answer.json()["dead"], answer.json()["halted"]) == (2, 1, ["t.halting"])
    assert SECRET not in answer.content.decode()


def test_parked_events_that_will_be_tried_again_are_well(watcher: APIClient) -> None:
    subscribed(fails=True)
    wallet()
    deliver()
    assert reasons(watcher) == []
    assert watcher.get(HEALTH).json()["parked"] == 3


def test_what_is_paused_unsubscribed_or_rebuilt_is_as_it_was_meant_to_be(watcher: APIClient) -> None:
    subscribed()
    deliver()
    wallet(adds=3)
    with thresholds(HEALTH_LAG_SECONDS=1e-9):
        assert reasons(watcher) == ["lag"]
        pause(NAME, reason="maintenance")
        assert reasons(watcher) == []
        Subscription.objects.update(status="unsubscribed")
        assert reasons(watcher) == []
        Subscription.objects.update(status="active", kind="rebuild")
        assert reasons(watcher) == []


def test_a_log_whose_order_is_not_safe_is_not_well(watcher: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsafe() -> None:
        raise LogUnsafe("the sequence lies behind")

    monkeypatch.setattr(health, "status", unsafe)
    assert reasons(watcher) == ["log_unsafe"]
    shown = watcher.get(HEALTH).json()
    assert (shown["last_position"], shown["reasons"][0]["detail"]) == (None, "the sequence lies behind")


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
def test_an_append_that_is_open_for_too_long_is_not_well(watcher: APIClient, child_env: dict[str, str]) -> None:
    code = (
        "import django; django.setup()\n"
        "from django.db import transaction\n"
        "from tests.reactions_sample.scene import wallet\n"
        "with transaction.atomic():\n"
        "    wallet()\n"
        "    print('open', flush=True)\n"
        "    input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=child_env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        with thresholds(HEALTH_OPEN_SECONDS=3600.0):
            assert reasons(watcher) == []
        with thresholds(HEALTH_OPEN_SECONDS=1e-9):
            assert reasons(watcher) == ["append_open"]
            shown = watcher.get(HEALTH).json()
        child.communicate("\n")
    assert shown["open_seconds"] > 0
    assert shown["settled_position"] < shown["last_position"]
    assert watcher.get(HEALTH).json()["open_seconds"] is None


# How it answers


def test_head_works_and_nothing_is_kept_by_caches(watcher: APIClient) -> None:
    answers: list[Any] = [watcher.head(HEALTH), watcher.get(HEALTH), APIClient().get(HEALTH), watcher.post(HEALTH, {})]
    answers.append(watcher.get(HEALTH, {"now": "1"}))
    assert {answer.headers["Cache-Control"] for answer in answers} == {"no-store"}
    assert (answers[0].status_code, answers[0].content) == (200, b"")
    problem_of(answers[3], 405, "method_not_allowed")
    problem_of(answers[4], 400, "unknown")


def test_a_token_that_is_none_is_refused() -> None:
    token = Token.objects.create(user=User.objects.create_superuser("root"))
    client = APIClient()
    assert "reasons" in client.get(HEALTH, HTTP_AUTHORIZATION=f"Token {token.key}").json()
    problem_of(client.get(HEALTH, HTTP_AUTHORIZATION="Token none"), 401, "authentication_failed")


def test_it_costs_the_same_queries_however_much_there_is(watcher: APIClient) -> None:
    counts = []
    for names in (["t.a"], ["t.b", "t.c", "t.d", "t.e"]):
        for name in names:
            subscribed(name, fails=True, segments=4, max_attempts=1)
        wallet(adds=3)
        deliver()
        with CaptureQueriesContext(connection) as queries:
            assert watcher.get(HEALTH).json()["dead"] >= len(names)
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_many_probes_ask_the_database_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "KEPT_SECONDS", 1.0)
    now = 1000.0
    monkeypatch.setattr("eventsourcing_app.subscriptions.health.time.monotonic", lambda: now)
    client = APIClient()
    client.get(HEALTH)
    with CaptureQueriesContext(connection) as queries:
        assert [client.get(HEALTH).status_code for _ in range(20)] == [200] * 20
    assert len(queries) == 0
    now += 1.1
    with CaptureQueriesContext(connection) as queries:
        client.get(HEALTH)
    assert len(queries) > 0


def test_a_probe_that_hangs_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answered = threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        answered.wait(30)

    monkeypatch.setattr(health, "_measured", hang)
    monkeypatch.setattr(health, "PATIENCE_SECONDS", 0.05)
    hanging = threading.Thread(target=health.recent_health.get)
    hanging.start()
    try:
        assert asked.wait(30)
        problem_of(APIClient().get(HEALTH), 503, "database_unavailable")
        assert hanging.is_alive()
    finally:
        answered.set()
        hanging.join()


def test_a_database_that_goes_while_it_is_asked_who_the_user_is_is_a_problem(
    watcher: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_args: object, **_kwargs: object) -> None:
        raise OperationalError(f"no connection to {SECRET}")

    monkeypatch.setattr(health.recent_health, "get", health.measure)
    monkeypatch.setattr("django.contrib.sessions.backends.db.SessionStore.load", gone)
    answer = watcher.get(HEALTH)
    problem_of(answer, 503, "database_unavailable")
    assert SECRET not in answer.content.decode()


@pytest.mark.parametrize("key", ["HEALTH_LAG_SECONDS", "HEALTH_OPEN_SECONDS"])
@pytest.mark.parametrize("value", [0, -1.0, "60", None, True])
def test_a_threshold_of_the_wrong_shape_is_reported(key: str, value: object) -> None:
    with override_settings(EVENTSOURCING={key: value}):
        assert [each.id for each in run_checks() if key in each.msg] == ["eventsourcing_app.E023"]
