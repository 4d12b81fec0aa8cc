"""The API shows what was, what changed and by which events, and acts on no state that the client has not seen."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import include, path
from rest_framework import serializers
from rest_framework.routers import DefaultRouter
from rest_framework.test import APIClient

from eventsourcing_app.api import EventSourcedViewSet
from eventsourcing_app.models import StoredEvent
from tests.api_client import client_of, problem_of, user_with
from tests.reactions_sample.scene import append_raw
from tests.samples.models import Wallet


class WalletViewSet(EventSourcedViewSet):
    model = Wallet


class CarefulViewSet(EventSourcedViewSet):
    model = Wallet
    if_match_required = True


class OwnerSerializer(serializers.ModelSerializer[Wallet]):
    """Shows less than there is, under names of its own."""

    held_by = serializers.CharField(source="owner")

    class Meta:
        model = Wallet
        fields = ("held_by",)


class DiscreetViewSet(EventSourcedViewSet):
    model = Wallet
    serializer_class = OwnerSerializer


router = DefaultRouter()
router.include_format_suffixes = False
router.register("wallets", WalletViewSet)
router.register("careful", CarefulViewSet, basename="careful")
router.register("discreet", DiscreetViewSet, basename="discreet")
urlpatterns = [path("api/", include(router.urls))]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

AUDITOR = (
    "samples.view_wallet",
    "samples.change_wallet",
    "eventsourcing_app.view_storedevent",
    "eventsourcing_app.view_payload",
)


@pytest.fixture
def auditor() -> APIClient:
    return client_of(user_with(*AUDITOR, name="auditor"))


@pytest.fixture
def wallet() -> Wallet:
    """Version 1: opened; 2: 50; 3: 80; in three commits."""
    wallet = Wallet()
    wallet.open(owner="Ada")
    wallet.save()
    for amount in (50, 30):
        wallet.add(Decimal(amount))
        wallet.save()
    return wallet


def address(wallet: Wallet, more: str = "") -> str:
    return f"/api/wallets/{wallet.pk}/{more}"


def moments(wallet: Wallet) -> list[str]:
    return [each.recorded_at.isoformat().replace("+00:00", "Z") for each in wallet.history()]


# States


def test_a_state_of_the_past_is_found_by_its_version_and_by_its_moment(auditor: APIClient, wallet: Wallet) -> None:
    answer = auditor.get(address(wallet, "?version=2"))
    body = answer.json()
    assert (answer.headers["ETag"], body["version"], body["balance"], body["is_final"]) == ('"2"', 2, "50.00", True)
    assert body["position"] == wallet.history()[1].position
    body = auditor.get(address(wallet), {"when": moments(wallet)[1]}).json()
    assert (body["version"], body["balance"]) == (2, "50.00")
    assert "is_final" not in auditor.get(address(wallet)).json()


@pytest.mark.parametrize("parameters", [{"version": "0"}, {"when": "2001-01-01T00:00:00Z"}])
def test_before_it_existed_there_was_nothing(auditor: APIClient, wallet: Wallet, parameters: dict[str, str]) -> None:
    problem_of(auditor.get(address(wallet), parameters), 404, "not_found")


@pytest.mark.parametrize(
    ("parameters", "wrong", "code"),
    [
        ({"version": "4"}, "version", "version_ahead"),
        ({"version": "-1"}, "version", "invalid"),
        ({"version": "two"}, "version", "invalid"),
        ({"version": str(2**63 - 1)}, "version", "version_ahead"),
        ({"version": "9" * 30}, "version", "invalid"),
        ({"when": "2026-11-01T00:00:00"}, "when", "invalid"),
        ({"when": "yesterday"}, "when", "invalid"),
        ({"when": "0001-01-01T00:00:00+14:00"}, "when", "invalid"),
        ({"version": "2", "when": "2026-11-01T00:00:00Z"}, "when", "invalid"),
        ({"version": ["1", "2"]}, "version", "repeated"),
        ({"since": "1"}, "since", "unknown"),
    ],
)
def test_a_question_about_the_past_that_has_no_answer_is_400_and_named(
    auditor: APIClient, wallet: Wallet, parameters: dict[str, Any], wrong: str, code: str
) -> None:
    (error,) = problem_of(auditor.get(address(wallet), parameters), 400, code)["errors"]
    assert error["parameter"] == wrong


def test_the_past_needs_the_permission_to_see_events(wallet: Wallet) -> None:
    support = client_of(user_with("samples.view_wallet", name="support"))
    assert support.get(address(wallet)).status_code == 200
    for more in ("?version=2", "?when=2026-11-01T00:00:00Z", "diff/", "events/"):
        problem_of(support.get(address(wallet, more)), 403, "permission_denied")


def test_the_position_is_that_of_the_event_that_brought_it_there_also_in_lists(
    auditor: APIClient, wallet: Wallet
) -> None:
    other = Wallet()
    other.open(owner="Bob")
    other.save()
    with CaptureQueriesContext(connection) as few:
        states = auditor.get("/api/wallets/").json()["results"]
    newest = {each.pk: each.history().latest("version").position for each in (wallet, other)}
    assert {state["id"]: state["position"] for state in states} == {str(pk): at for pk, at in newest.items()}
    for _ in range(5):
        Wallet.objects.perform_new(Wallet.open, owner="Eve")
    with CaptureQueriesContext(connection) as many:
        assert len(auditor.get("/api/wallets/").json()["results"]) == 7
    assert len(many) == len(few)


# Differences


def test_a_difference_shows_each_field_before_and_after(auditor: APIClient, wallet: Wallet) -> None:
    body = auditor.get(address(wallet, "diff/?since=1&until=3")).json()
    assert body == {
        "since": 1,
        "until": 3,
        "is_final": True,
        "changes": {"balance": {"before": "0.00", "after": "80.00"}},
    }
    whole = auditor.get(address(wallet, "diff/")).json()
    assert (whole["since"], whole["until"]) == (0, 3)
    assert whole["changes"]["owner"] == {"before": None, "after": "Ada"}
    by_time = auditor.get(address(wallet, "diff/"), {"since": moments(wallet)[1]}).json()
    assert by_time["changes"] == {"balance": {"before": "50.00", "after": "80.00"}}


@pytest.mark.parametrize(
    ("query", "code"),
    [("since=3&until=1", "invalid"), ("until=9", "version_ahead"), ("since=x", "invalid"), ("version=1", "unknown")],
)
def test_a_difference_that_cannot_be_is_400(auditor: APIClient, wallet: Wallet, query: str, code: str) -> None:
    problem_of(auditor.get(address(wallet, f"diff/?{query}")), 400, code)


def test_what_the_state_does_not_show_no_difference_shows_either(auditor: APIClient, wallet: Wallet) -> None:
    assert auditor.get(f"/api/discreet/{wallet.pk}/").json() == {"held_by": "Ada"}
    assert auditor.get(f"/api/discreet/{wallet.pk}/diff/").json()["changes"] == {
        "held_by": {"before": None, "after": "Ada"}
    }
    (first, second, _) = auditor.get(f"/api/discreet/{wallet.pk}/events/").json()["results"]
    assert (first["changes"], second["changes"]) == ({"held_by": {"before": None, "after": "Ada"}}, {})


# Trails


def test_a_trail_says_of_each_event_what_it_changed_on_any_page(auditor: APIClient, wallet: Wallet) -> None:
    page = auditor.get(address(wallet, "events/?after_version=1&limit=1")).json()
    (entry,) = page["results"]
    assert (entry["version"], entry["changes"]) == (2, {"balance": {"before": "0.00", "after": "50.00"}})
    (last,) = auditor.get(page["next"]).json()["results"]
    assert last["changes"] == {"balance": {"before": "50.00", "after": "80.00"}}
    assert auditor.get(address(wallet, "events/?after_version=3")).json()["results"] == []


def test_from_an_event_on_that_this_code_cannot_read_nobody_knows_what_changed(
    auditor: APIClient, wallet: Wallet
) -> None:
    append_raw("samples.of_the_next_release", {}, key=str(wallet.pk), version=4)
    entries = auditor.get(address(wallet, "events/")).json()["results"]
    assert [entry["changes"] is None for entry in entries] == [False, False, False, True]


# Conditional requests


@pytest.mark.parametrize(
    ("header", "status"), [('"3"', 304), ('W/"3"', 304), ('"1", "3"', 304), ("*", 304), ('"2"', 200), ("3", 200)]
)
def test_what_the_client_has_is_not_sent_again(auditor: APIClient, wallet: Wallet, header: str, status: int) -> None:
    answer = auditor.get(address(wallet), headers={"If-None-Match": header})
    assert (answer.status_code, answer.headers["ETag"]) == (status, '"3"')
    assert bool(answer.content) == (status == 200)


def add(client: APIClient, wallet: Wallet, *, amount: int = 1, view: str = "wallets", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(f"/api/{view}/{wallet.pk}/add/", {"amount": amount}, format="json", headers=named)


@pytest.mark.parametrize("header", ['"3"', '"7", "3"', "*"])
def test_a_command_runs_on_the_state_that_the_client_has_seen(auditor: APIClient, wallet: Wallet, header: str) -> None:
    answer = add(auditor, wallet, If_Match=header)
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"4"')


@pytest.mark.parametrize("header", ['"2"', 'W/"3"', "3", '"4"', ""])
@pytest.mark.parametrize("amount", [1, -1])
def test_on_any_other_state_it_does_nothing_and_says_which_it_is(
    auditor: APIClient, wallet: Wallet, header: str, amount: int
) -> None:
    """Also if the command would refuse: what it says of a state that the client has not seen is no answer."""
    problem = problem_of(add(auditor, wallet, amount=amount, If_Match=header), 412, "precondition_failed")
    assert (problem["expected"], problem["actual"]) == (header, 3)
    assert StoredEvent.objects.filter(stream_key=str(wallet.pk)).count() == 3


def test_a_repetition_is_answered_though_the_state_has_moved_on(auditor: APIClient, wallet: Wallet) -> None:
    first, again = (add(auditor, wallet, If_Match='"3"', Idempotency_Key="k-1") for _ in range(2))
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert again.json()["events"] == first.json()["events"]
    problem_of(add(auditor, wallet, If_Match='"3"', Idempotency_Key="k-2"), 412, "precondition_failed")


def test_a_view_can_ask_for_the_state_that_the_client_has_seen(auditor: APIClient, wallet: Wallet) -> None:
    problem_of(add(auditor, wallet, view="careful"), 428, "precondition_required")
    assert add(auditor, wallet, view="careful", If_Match='"3"').status_code == 200
    root = client_of(User.objects.create_superuser("root"))
    assert root.post("/api/careful/", {"owner": "Eve"}, format="json").status_code == 201
