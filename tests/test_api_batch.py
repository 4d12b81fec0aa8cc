"""Batches over HTTP: several commands in one request, all of them or none, each guarded as by itself."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.urls import include, path
from rest_framework.routers import DefaultRouter
from rest_framework.test import APIClient

from eventsourcing_app.api import BatchViewSet, EventSourcedViewSet
from eventsourcing_app.models import StoredEvent
from tests.api_client import client_of, problem_of, user_with
from tests.samples.factories import open_wallet
from tests.samples.models import Counter, Wallet


class WalletViewSet(EventSourcedViewSet):
    model = Wallet

    def get_queryset(self) -> Any:
        return super().get_queryset().exclude(owner="hidden")


class CarefulCounterViewSet(EventSourcedViewSet):
    model = Counter
    commands = ("begin", "count")
    if_match_required = True


class SmallBatchViewSet(BatchViewSet):
    viewsets = (WalletViewSet, CarefulCounterViewSet)
    largest = 5


router = DefaultRouter()
router.include_format_suffixes = False
router.register("wallets", WalletViewSet)
router.register("counters", CarefulCounterViewSet)
router.register("batch", SmallBatchViewSet, basename="batch")
urlpatterns = [path("api/", include(router.urls))]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

ADDRESS = "/api/batch/"


@pytest.fixture
def root() -> APIClient:
    return client_of(User.objects.create_superuser("root"))


def call(wallet: Wallet, command: str, version: int | None = None, **arguments: Any) -> dict[str, Any]:
    given = {"stream_type": Wallet.stream_type, "stream_key": str(wallet.pk), "command": command}
    return {**given, "arguments": arguments, **({} if version is None else {"version": version})}


def balance(wallet: Wallet) -> Decimal:
    return Wallet.objects.get(pk=wallet.pk).balance


def test_each_command_is_answered_as_by_itself_in_their_order(root: APIClient) -> None:
    ada, bob = open_wallet("Ada", 50), open_wallet("Bob", 50)
    creating = {"stream_type": Wallet.stream_type, "command": "open", "arguments": {"owner": "Cy"}}
    calls = [call(ada, "add", amount="1.00"), creating, call(bob, "add", amount="2.00"), call(ada, "add", amount="3")]
    response = root.post(ADDRESS, {"commands": calls})
    answer = response.json()
    assert response.status_code == 200, answer
    assert [result["status"] for result in answer["results"]] == [200, 201, 200, 200]
    assert [result["state"]["balance"] for result in answer["results"]] == ["51.00", "0.00", "52.00", "54.00"]
    assert [result["version"] for result in answer["results"]] == [3, 1, 3, 4]
    assert all(len(result["events"]) == 1 for result in answer["results"])
    assert answer["position"] == answer["results"][-1]["position"] == StoredEvent.objects.latest("position").position
    assert len(set(StoredEvent.objects.order_by("-position").values_list("recorded_at", flat=True)[:4])) == 1


def test_if_one_is_refused_none_has_happened_and_each_is_accounted_for(root: APIClient) -> None:
    ada, bob, last = open_wallet("Ada", 50), open_wallet("Bob", 50), StoredEvent.objects.latest("position").position
    calls = [call(ada, "add", amount="1"), call(bob, "take", amount="999"), call(ada, "add", amount="1")]
    problem = problem_of(root.post(ADDRESS, {"commands": calls}), 422, "not_enough")
    assert problem["item"] == 1
    assert [(each["status"], each["code"]) for each in problem["results"]] == [
        (424, "rolled_back"),
        (422, "not_enough"),
        (424, "not_run"),
    ]
    assert (balance(ada), balance(bob)) == (Decimal(50), Decimal(50))
    assert StoredEvent.objects.latest("position").position == last


def test_every_wrong_argument_of_every_command_is_pointed_at(root: APIClient) -> None:
    ada = open_wallet("Ada", 50)
    calls = [
        call(ada, "add", amount="x"),
        call(ada, "add", amount="1"),
        {"stream_type": "nothing", "command": "add"},
        {"stream_type": Wallet.stream_type, "command": "vanish", "stream_key": str(ada.pk)},
        {"stream_type": Wallet.stream_type, "command": "add", "arguments": {"amount": "1"}},
    ]
    problem = problem_of(root.post(ADDRESS, {"commands": calls}), 400, "invalid")
    assert [error["pointer"] for error in problem["errors"]] == [
        "/commands/0/arguments/amount",
        "/commands/2/stream_type",
        "/commands/3/command",
        "/commands/4/stream_key",
    ]
    assert balance(ada) == 50


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"commands": []},
        {"commands": {}},
        {"commands": [1]},
        {"commands": [[]]},
        {"commands": [{}]},
        {"commands": "x"},
        {"commands": [{"stream_type": 1, "command": []}]},
        {"commands": [{"stream_type": "x", "command": "y", "arguments": [], "more": 1}]},
    ],
)
def test_a_body_that_is_no_batch_is_400(root: APIClient, body: Any) -> None:
    problem_of(root.post(ADDRESS, body), 400, "invalid")


def test_a_batch_that_is_too_large_is_413(root: APIClient) -> None:
    ada = open_wallet("Ada", 50)
    problem_of(root.post(ADDRESS, {"commands": [call(ada, "add", amount="1")] * 6}), 413, "batch_too_large")
    assert balance(ada) == 50


def test_another_version_than_the_client_has_seen_is_412_for_all(root: APIClient) -> None:
    ada, bob = open_wallet("Ada", 50), open_wallet("Bob", 50)
    calls = [call(ada, "add", 2, amount="1"), call(ada, "add", 2, amount="1")]
    problem = problem_of(root.post(ADDRESS, {"commands": calls}), 412, "precondition_failed")
    assert (problem["item"], problem["expected"], problem["actual"]) == (1, "2", 3)
    refused = problem_of(
        root.post(ADDRESS, {"commands": [call(bob, "take", 9, amount="99")]}), 412, "precondition_failed"
    )
    assert refused["item"] == 0
    assert root.post(ADDRESS, {"commands": [calls[0], call(ada, "add", 3, amount="1")]}).status_code == 200
    assert balance(ada) == 52


def test_a_view_that_needs_a_version_needs_it_here_too(root: APIClient) -> None:
    counter = Counter.objects.perform_new(Counter.begin).pk
    given = {"stream_type": Counter.stream_type, "stream_key": str(counter), "command": "count"}
    problem = problem_of(root.post(ADDRESS, {"commands": [given]}), 400, "invalid")
    assert problem["errors"][0]["pointer"] == "/commands/0/version"
    assert root.post(ADDRESS, {"commands": [{**given, "version": 1}]}).status_code == 200


def test_each_command_needs_what_it_needs_by_itself() -> None:
    ada, hidden = open_wallet("Ada", 50), open_wallet("hidden", 50)
    problem_of(APIClient().post(ADDRESS, {"commands": [call(ada, "add", amount="1")]}), 401, "not_authenticated")
    viewer = client_of(user_with("samples.view_wallet", name="viewer"))
    assert problem_of(viewer.post(ADDRESS, {"commands": [call(ada, "add", amount="1")]}), 403, "permission_denied")
    teller = client_of(user_with("samples.view_wallet", "samples.change_wallet", name="teller"))
    both = [call(ada, "add", amount="1"), call(hidden, "add", amount="1")]
    problem = problem_of(teller.post(ADDRESS, {"commands": both}), 404, "not_found")
    assert problem["item"] == 1
    creating = {"stream_type": Wallet.stream_type, "command": "open", "arguments": {"owner": "Cy"}}
    assert problem_of(teller.post(ADDRESS, {"commands": [creating]}), 403, "permission_denied")["item"] == 0
    for key in ("x", "\x00", "\ud800", str(UUID(int=9))):
        unknown = json.dumps({"commands": [{**call(ada, "add", amount="1"), "stream_key": key}]})
        assert teller.post(ADDRESS, unknown, content_type="application/json").status_code in (400, 404)
    assert (balance(ada), balance(hidden)) == (Decimal(50), Decimal(50))


def test_the_same_key_runs_the_batch_once_and_gets_the_same_answer(root: APIClient) -> None:
    ada = open_wallet("Ada", 50)
    body = {"commands": [call(ada, "add", amount="1"), call(ada, "add", amount="2")]}
    first = root.post(ADDRESS, body, headers={"Idempotency-Key": "b1"})
    again = root.post(ADDRESS, body, headers={"Idempotency-Key": "b1"})
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert balance(ada) == 53
    other = {"commands": body["commands"][:1]}
    problem_of(root.post(ADDRESS, other, headers={"Idempotency-Key": "b1"}), 422, "idempotency_key_reused")


def test_numbers_with_a_fraction_are_read_as_in_a_command_by_itself(root: APIClient) -> None:
    wallet = open_wallet("Ada", 50)
    body = {"commands": [call(wallet, "add", amount=1.5)]}
    answer = root.post(ADDRESS, body, format="json")
    assert answer.status_code == 200, answer.content
    assert balance(wallet) == Decimal("51.5")


def test_a_version_is_a_number_without_a_fraction_however_it_is_written(root: APIClient) -> None:
    wallet = open_wallet("Ada", 50)
    for version, status in ((2.5, 400), (2.0, 200)):
        sent = {**call(wallet, "add", amount="1"), "version": version}
        assert root.post(ADDRESS, {"commands": [sent]}, format="json").status_code == status
