"""Operators see and steer subscriptions over HTTP; nobody else does, and errors that quote payloads stay hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from eventsourcing_app.models import Segment, StoredEvent, Subscription
from eventsourcing_app.subscriptions.failures import halt
from tests import api_operators
from tests.api_client import client_of, problem_of, user_with
from tests.api_operators import LIST, NAME, ONE, OPERATOR, PARKED, SECRET, WATCHER, acts, failing, one_parked
from tests.reactions_sample.scene import deliver, position_of, wallet

if TYPE_CHECKING:
    from django.db.models import QuerySet

pytestmark = [pytest.mark.django_db, pytest.mark.urls(api_operators.__name__)]


@pytest.fixture(autouse=True)
def only_own(own_subscriptions: None, db: None) -> None:
    Subscription.objects.all().delete()  # the demo's


@pytest.fixture
def watcher() -> APIClient:
    return client_of(user_with(*WATCHER, name="watcher"))


@pytest.fixture
def operator() -> APIClient:
    return client_of(user_with(*OPERATOR, name="operator"))


@pytest.fixture
def superuser() -> APIClient:
    return client_of(User.objects.create_superuser("root"))


# Seeing


def test_a_subscription_is_shown_with_its_lag_its_segments_and_what_it_failed_on(superuser: APIClient) -> None:
    failing({2}, segments=2, rate="50/s")
    wallet(adds=3)
    deliver()
    (shown,) = superuser.get(LIST).json()["results"]
    assert (shown["name"], shown["kind"], shown["status"], shown["rate"]) == (NAME, "subscriber", "active", "50/s")
    assert (shown["parked"], shown["dead"], shown["lag_events"], shown["lag_seconds"]) == (3, 0, 0, 0.0)
    assert shown["types"] == ["samples.money_added", "samples.money_put_in"]
    assert [segment["number"] for segment in shown["segments"]] == [0, 1]
    last = StoredEvent.objects.latest("position").position
    assert {segment["checkpoint"] for segment in shown["segments"]} == {last} == {shown["checkpoint"]}
    detail = superuser.get(ONE).json()
    assert {**detail, "segments": shown["segments"]} == shown
    assert set(detail["segments"][0]) == {*shown["segments"][0], "attempts", "last_error"}


def test_a_subscription_that_is_behind_says_by_how_much(superuser: APIClient) -> None:
    failing(set())
    deliver()
    wallet(adds=3)
    (shown,) = superuser.get(LIST).json()["results"]
    assert shown["lag_events"] == 4
    assert shown["lag_seconds"] > 0


def test_subscriptions_come_in_pages_by_name(superuser: APIClient) -> None:
    for name in ("t.a", "t.b", "t.c"):
        failing(set(), name=name)
    deliver()
    first = superuser.get(LIST, {"limit": 2}).json()
    assert [row["name"] for row in first["results"]] == ["t.a", "t.b"]
    assert [row["name"] for row in superuser.get(first["next"]).json()["results"]] == ["t.c"]
    problem_of(superuser.get(LIST, {"limit": 101}), 400, "invalid")


def test_the_list_costs_the_same_queries_however_long_it_is(superuser: APIClient) -> None:
    counts = []
    for names in (["t.a"], ["t.b", "t.c", "t.d", "t.e", "t.f"]):
        for name in names:
            failing(set(), name=name, segments=4)
        deliver()
        with CaptureQueriesContext(
            connection,
        ) as queries:
            found = superuser.get(LIST).json()["results"]
        counts.append((len(found), len(queries)))
    assert [found for found, _ in counts] == [1, 6]
    assert counts[0][1] == counts[1][1]


# What may quote a payload


def test_errors_are_left_out_for_whoever_may_not_see_payloads(watcher: APIClient, superuser: APIClient) -> None:
    failing({2}, name="t.halting", on_failure="halt", max_attempts=1)
    parked = one_parked()
    addresses = [LIST, ONE, "/api/subscriptions/t.halting/", PARKED, f"{PARKED}{parked.pk}/"]
    for address in addresses:
        assert SECRET not in watcher.get(address).content.decode(), address
        if address != ONE:
            assert SECRET in superuser.get(address).content.decode(), address
    row = watcher.get(f"{PARKED}{parked.pk}/").json()
    assert (row["reason"], row["error"], row["masked"]) == (None, None, True)
    halted = watcher.get("/api/subscriptions/t.halting/").json()
    assert (halted["status"], halted["reason"], halted["last_error"], halted["masked"]) == ("halted", None, None, True)
    assert halted["segments"][0]["last_error"] is None
    seen = superuser.get("/api/subscriptions/t.halting/").json()
    assert seen["reason"]
    assert seen["last_error"] == f"ValueError: {SECRET}"
    assert seen["segments"][0]["last_error"].startswith("Traceback")
    assert seen["masked"] is False


def test_the_words_of_an_operator_are_shown(operator: APIClient) -> None:
    failing(set())
    deliver()
    shown = operator.post(f"{ONE}pause/", {"reason": "maintenance"}).json()
    assert (shown["status"], shown["reason"], shown["masked"]) == ("paused", "maintenance", False)


# Who may


ACTS: dict[str, dict[str, Any]] = {
    "pause": {},
    "resume": {},
    "retry": {},
    "skip": {"position": 1},
    "reset": {"to": "now"},
    "catch-up": {},
    "rate": {"rate": "5/s"},
}


def test_only_operators_see_subscriptions_and_parked_events() -> None:
    parked = one_parked()
    addresses = [LIST, ONE, PARKED, f"{PARKED}{parked.pk}/"]
    for client, code in ((APIClient(), "not_authenticated"), (client_of(user_with()), "permission_denied")):
        for address in addresses:
            problem_of(client.get(address), 401 if code == "not_authenticated" else 403, code)
    half = client_of(user_with("eventsourcing_app.view_subscription", name="half"))
    assert [half.get(address).status_code for address in addresses] == [200, 200, 403, 403]
    other = client_of(user_with("eventsourcing_app.view_parkedevent", name="other"))
    assert [other.get(address).status_code for address in addresses] == [403, 403, 200, 200]


def test_to_see_is_not_to_act(watcher: APIClient) -> None:
    parked = one_parked()
    only = client_of(user_with("eventsourcing_app.operate_subscription", name="blind"))
    addresses = [*(f"{ONE}{act}/" for act in ACTS), f"{PARKED}{parked.pk}/retry/", f"{PARKED}{parked.pk}/skip/"]
    for client in (watcher, only):
        for address in addresses:
            problem_of(client.post(address, {"reason": "r"}), 403, "permission_denied")
    assert acts() == []


# Acting


def test_each_act_does_what_it_says_and_is_in_the_log_with_actor_and_reason(operator: APIClient) -> None:
    failing({2})
    opened = wallet(adds=3)
    deliver()
    actor = f"user:{User.objects.get(username='operator').pk}"

    def act(name: str, **given: Any) -> dict[str, Any]:
        answer = operator.post(f"{ONE}{name}/", {"reason": name, **given})
        assert answer.status_code == 200, answer.content
        found: dict[str, Any] = answer.json()
        return found

    assert act("pause")["status"] == "paused"
    assert act("resume")["status"] == "active"
    limited = act("rate", rate="5/s", burst=7)
    assert (limited["rate"], limited["burst"]) == ("5/s", 7)
    assert act("rate", rate="")["rate"] == ""
    assert act("catch-up")["position"] == StoredEvent.objects.latest("position").position - 1
    assert act("retry")["retried"] == 1
    assert act("retry", position=position_of(opened, 2))["retried"] == 1
    assert act("skip", position=position_of(opened, 2))["parked"] == 2
    moved = act("reset", to="beginning")
    assert (moved["checkpoint"], moved["parked"]) == (0, 0)
    assert act("reset", to=3)["checkpoint"] == 3
    assert act("reset", to="now")["checkpoint"] > 3
    assert acts() == [
        ("subscription_paused", actor, "pause"),
        ("subscription_resumed", actor, "resume"),
        ("subscription_rate_changed", actor, "rate"),
        ("subscription_rate_changed", actor, "rate"),
        ("subscription_hurried", actor, "catch-up"),
        ("parked_events_retried", actor, "retry"),
        ("parked_events_retried", actor, "retry"),
        ("event_skipped", actor, "skip"),
        ("subscription_reset", actor, "reset"),
        ("subscription_reset", actor, "reset"),
        ("subscription_reset", actor, "reset"),
    ]


def test_what_cannot_be_done_now_is_a_conflict_and_leaves_no_trace(operator: APIClient) -> None:
    failing(set())
    wallet()
    deliver()
    refused: list[tuple[str, dict[str, Any]]] = [
        ("resume", {}),
        ("retry", {}),
        ("retry", {"position": 1}),
        ("skip", {"position": 2}),
        ("reset", {"to": 10**9}),
    ]
    for name, given in refused:
        problem = problem_of(operator.post(f"{ONE}{name}/", {"reason": "r", **given}), 409, "operation_refused")
        assert problem["detail"]
    Subscription.objects.filter(name=NAME).update(kind="rebuild")
    problem_of(operator.post(f"{ONE}pause/", {"reason": "r"}), 409, "operation_refused")
    assert acts() == []


def none_of_them(events: QuerySet[StoredEvent], _user: object) -> QuerySet[StoredEvent]:
    return events.exclude(type="samples.money_added")


@pytest.mark.parametrize("act", ["skip", "retry"])
def test_nothing_is_done_to_a_parked_event_that_there_is_not_for_the_operator(
    operator: APIClient, settings: Any, act: str
) -> None:
    parked = one_parked()
    body = {"reason": "r", "position": parked.position}
    no_such = problem_of(operator.post(f"{ONE}{act}/", {**body, "position": 1}), 409, "operation_refused")
    blind = client_of(user_with("eventsourcing_app.view_subscription", "eventsourcing_app.operate_subscription"))
    told = [problem_of(blind.post(f"{ONE}{act}/", body), 409, "operation_refused")]
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "VISIBLE_EVENTS": none_of_them}
    told.append(problem_of(operator.post(f"{ONE}{act}/", body), 409, "operation_refused"))
    same = no_such["detail"].replace("#1 ", f"#{parked.position} ")
    assert [each["detail"] for each in told] == [same, same]  # nor is it told that there is one
    assert acts() == []
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "VISIBLE_EVENTS": None}
    assert operator.post(f"{ONE}{act}/", body).status_code == 200


def test_who_may_not_see_what_is_parked_can_skip_what_a_subscription_has_stopped_at() -> None:
    failing({2}, on_failure="halt", max_attempts=1)
    opened = wallet(adds=2)
    deliver()
    blind = client_of(user_with("eventsourcing_app.view_subscription", "eventsourcing_app.operate_subscription"))
    assert blind.post(f"{ONE}skip/", {"reason": "r", "position": position_of(opened, 2)}).status_code == 200


@pytest.mark.parametrize(
    ("act", "body", "pointer", "code"),
    [
        ("pause", {}, "/reason", "required"),
        ("pause", {"reason": ""}, "/reason", "blank"),
        ("pause", {"reason": " \t"}, "/reason", "blank"),
        ("pause", {"reason": None}, "/reason", "null"),
        ("pause", {"reason": 7}, "/reason", "invalid"),
        ("pause", {"reason": "x" * 1001}, "/reason", "max_length"),
        ("pause", {"reason": "a\x00"}, "/reason", "null_characters_not_allowed"),
        ("pause", {"reason": "r", "name": "other"}, "/name", "unknown"),
        ("retry", {"reason": "r", "position": "1"}, "/position", "invalid"),
        ("skip", {"reason": "r"}, "/position", "required"),
        ("skip", {"reason": "r", "position": -1}, "/position", "min_value"),
        ("skip", {"reason": "r", "position": 2**63}, "/position", "max_value"),
        ("skip", {"reason": "r", "position": True}, "/position", "invalid"),
        ("reset", {"reason": "r"}, "/to", "required"),
        ("reset", {"reason": "r", "to": "end"}, "/to", "invalid"),
        ("reset", {"reason": "r", "to": -1}, "/to", "invalid"),
        ("reset", {"reason": "r", "to": True}, "/to", "invalid"),
        ("reset", {"reason": "r", "to": ["now"]}, "/to", "invalid"),
        ("rate", {"reason": "r"}, "/rate", "required"),
        ("rate", {"reason": "r", "rate": "fast"}, "/rate", "invalid"),
        ("rate", {"reason": "r", "rate": "0/s"}, "/rate", "invalid"),
        ("rate", {"reason": "r", "rate": "5/s", "burst": 0}, "/burst", "min_value"),
        ("rate", {"reason": "r", "rate": "5/s", "burst": 2**31}, "/burst", "max_value"),
        ("rate", {"reason": "r", "rate": "", "burst": 5}, "/burst", "invalid"),
    ],
)
def test_what_an_act_cannot_be_told_is_refused_with_its_place(
    operator: APIClient, act: str, body: dict[str, Any], pointer: str, code: str
) -> None:
    failing(set())
    deliver()
    problem = problem_of(operator.post(f"{ONE}{act}/", body), 400, "invalid")
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [(pointer, code)]
    assert acts() == []


@pytest.mark.parametrize("name", ["t.unknown", "t" * 300, "a\x00b", "ü.ä"])
def test_a_subscription_that_does_not_exist_is_not_found(operator: APIClient, name: str) -> None:
    problem_of(operator.get(f"{LIST}{quote(name)}/"), 404, "not_found")
    problem_of(operator.post(f"{LIST}{quote(name)}/pause/", {"reason": "r"}), 404, "not_found")


def test_nothing_can_be_written_but_by_an_act(operator: APIClient) -> None:
    parked = one_parked()
    for address in (LIST, ONE, PARKED, f"{PARKED}{parked.pk}/"):
        for method in (operator.put, operator.patch, operator.delete, operator.post):
            problem_of(method(address, {}), 405, "method_not_allowed")
    problem_of(operator.get(f"{ONE}pause/"), 405, "method_not_allowed")


def test_the_page_for_browsers_opens(operator: APIClient) -> None:
    parked = one_parked()
    halt(NAME, SECRET)
    for address in (LIST, ONE, PARKED, f"{PARKED}{parked.pk}/"):
        page = operator.get(address, HTTP_ACCEPT="text/html")
        assert page.status_code == 200
        assert SECRET not in page.content.decode()
    assert operator.options(f"{ONE}pause/").status_code == 200
    assert Segment.objects.filter(subscription=NAME).exists()
