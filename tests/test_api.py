"""The API: state and commands of event-sourced models, their trails, and the log.

What a client sends is checked, what it may not see does not exist, and every error it can cause is a problem+json.
"""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import include, path
from rest_framework.authtoken.models import Token
from rest_framework.routers import DefaultRouter
from rest_framework.test import APIClient

from eventsourcing_app import command
from eventsourcing_app.access.visibility import visible_events, visible_trail
from eventsourcing_app.aggregates.declare import command_of
from eventsourcing_app.api import EventSourcedViewSet, StoredEventViewSet
from eventsourcing_app.api.commands import serializer_for
from eventsourcing_app.exceptions import ConcurrencyError, KeyInFlight
from eventsourcing_app.models import StoredEvent
from tests.api_client import PROBLEM, client_of, problem_of, user_with
from tests.samples.ended import Visit
from tests.samples.models import Book, Counter, Wallet


class WalletViewSet(EventSourcedViewSet):
    model = Wallet


class CounterViewSet(EventSourcedViewSet):
    model = Counter
    commands = ("begin", "count")


class BookViewSet(EventSourcedViewSet):
    model = Book


class VisitViewSet(EventSourcedViewSet):
    model = Visit


class OwnWalletViewSet(EventSourcedViewSet):
    """Shows each user the wallets that carry the user's name."""

    model = Wallet

    def get_queryset(self) -> Any:
        return super().get_queryset().filter(owner=self.request.user.get_username())


router = DefaultRouter()
router.include_format_suffixes = False
router.register("wallets", WalletViewSet)
router.register("own", OwnWalletViewSet, basename="own")
router.register("counters", CounterViewSet)
router.register("books", BookViewSet)
router.register("visits", VisitViewSet)
router.register("events", StoredEventViewSet)
urlpatterns = [path("api/", include(router.urls))]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


PAYLOAD = "eventsourcing_app.view_payload"
TELLER = ("samples.view_wallet", "samples.add_wallet", "samples.change_wallet", PAYLOAD)
AUDITOR = ("samples.view_wallet", "eventsourcing_app.view_storedevent", PAYLOAD)


@pytest.fixture
def teller() -> APIClient:
    return client_of(user_with(*TELLER))


@pytest.fixture
def auditor() -> APIClient:
    return client_of(user_with(*AUDITOR, name="auditor"))


@pytest.fixture
def root() -> APIClient:
    return client_of(User.objects.create_superuser("root"))


@pytest.fixture
def wallet() -> Wallet:
    wallet = Wallet()
    wallet.open(owner="Ada")
    wallet.add(Decimal(50))
    wallet.save()
    return wallet


def pointers(body: dict[str, Any]) -> list[str]:
    return sorted(error["pointer"] for error in body["errors"])


# State


def test_the_state_has_version_time_in_utc_and_amounts_as_text(teller: APIClient, wallet: Wallet) -> None:
    response = teller.get(f"/api/wallets/{wallet.pk}/")
    assert response.status_code == 200
    assert response.headers["ETag"] == '"2"'
    body = response.json()
    assert body["balance"] == "50.00"
    assert body["version"] == 2
    assert body["changed_at"].endswith("Z")
    assert body["id"] == str(wallet.pk)


def test_times_are_utc_whatever_the_time_zone_of_the_project(teller: APIClient, wallet: Wallet, settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    assert teller.get(f"/api/wallets/{wallet.pk}/").json()["changed_at"].endswith("Z")


def test_a_list_is_paged_by_key_in_both_directions(teller: APIClient) -> None:
    keys = []
    for number in range(5):
        receipt = Wallet.objects.perform_new(Wallet.open, owner=f"owner {number}")
        keys.append(str(receipt.pk))
    with CaptureQueriesContext(connection) as queries:
        first = teller.get("/api/wallets/?limit=2").json()
    assert_neither_counted_nor_skipped(queries)
    assert first["previous"] is None
    second = teller.get(first["next"]).json()
    third = teller.get(second["next"]).json()
    assert third["next"] is None
    assert [row["id"] for page in (first, second, third) for row in page["results"]] == keys
    assert teller.get(third["previous"]).json()["results"] == second["results"]
    assert teller.get(second["previous"]).json()["results"] == first["results"]
    assert teller.get(second["previous"]).json()["previous"] is None


@pytest.mark.parametrize("key", ["not-a-uuid", "%00", str(UUID(int=7)), "a%ED%A0%80", "x" * 3000])
def test_a_key_that_nothing_has_is_not_found(teller: APIClient, key: str) -> None:
    for address in (f"/api/wallets/{key}/", f"/api/wallets/{key}/events/"):
        response = teller.get(address)
        assert response.status_code in ((404,) if "events" not in address else (403, 404))
        assert response.headers["Content-Type"] == PROBLEM
    problem_of(teller.post(f"/api/wallets/{key}/add/", {"amount": "1"}), 404, "not_found")


@pytest.mark.parametrize("key", ["0", "-1", "9" * 30, "1.5", "x", "%00"])
def test_any_kind_of_key_is_looked_up_safely(root: APIClient, key: str) -> None:
    for kind, command_name in (("counters", "count"), ("books", "rename"), ("events", None)):
        problem_of(root.get(f"/api/{kind}/{key}/"), 404, "not_found")
        if command_name is not None:
            body = {"title": "x"} if kind == "books" else {}
            problem_of(root.post(f"/api/{kind}/{key}/{command_name}/", body), 404, "not_found")


# Commands


def test_a_creating_command_answers_with_events_state_and_address(teller: APIClient) -> None:
    response = teller.post("/api/wallets/", {"owner": "Ada"})
    assert response.status_code == 201, response.content
    body = response.json()
    assert body["state"]["owner"] == "Ada"
    assert body["version"] == 1
    assert [event["type"] for event in body["events"]] == ["samples.wallet_opened"]
    assert body["events"][0]["position"] == body["position"]
    assert len(body["events"][0]["hash"]) == 64
    assert response.headers["ETag"] == '"1"'
    assert response.headers["Location"].endswith(f"/api/wallets/{body['state']['id']}/")
    assert teller.get(response.headers["Location"]).json() == body["state"]


def test_a_command_answers_with_what_it_wrote_and_nothing_else(teller: APIClient, wallet: Wallet) -> None:
    response = teller.post(f"/api/wallets/{wallet.pk}/add/", {"amount": "1.50", "reference": " spaces stay "})
    assert response.status_code == 200, response.content
    body = response.json()
    assert body["state"]["balance"] == "51.50"
    assert [event["version"] for event in body["events"]] == [3]
    assert body["events"][0]["data"] == {"amount": "1.50", "reference": " spaces stay "}
    assert body["version"] == body["state"]["version"] == 3


def test_a_command_that_found_nothing_to_do_wrote_no_event(teller: APIClient, wallet: Wallet) -> None:
    body = teller.post(f"/api/wallets/{wallet.pk}/tidy/").json()
    assert (body["events"], body["version"]) == ([], 2)


def test_a_fraction_that_the_column_would_round_is_refused(teller: APIClient, wallet: Wallet) -> None:
    body = b'{"amount": 0.12345678901234567891}'
    response = teller.post(f"/api/wallets/{wallet.pk}/add/", body, content_type="application/json")
    problem_of(response, 422, "does_not_fit")
    assert wallet.history().count() == 2


def test_every_key_works(root: APIClient) -> None:
    created = root.post("/api/counters/", {"by": 2}).json()
    number = created["state"]["number"]
    assert root.post(f"/api/counters/{number}/count/", {"by": 3}).json()["state"]["total"] == 5
    assert root.post(f"/api/counters/{number}/count/").json()["state"]["total"] == 6


def test_a_refusal_is_422_with_its_code_and_stores_nothing(teller: APIClient, wallet: Wallet) -> None:
    before = StoredEvent.objects.count()
    problem = problem_of(teller.post(f"/api/wallets/{wallet.pk}/take/", {"amount": "51"}), 422, "not_enough")
    assert problem["detail"] == "There is not that much in it."
    problem_of(teller.post(f"/api/wallets/{wallet.pk}/add_then_fail/", {"amount": "1"}), 422, "after_all")
    assert StoredEvent.objects.count() == before


def test_an_ended_aggregate_refuses(teller: APIClient, wallet: Wallet) -> None:
    assert teller.post(f"/api/wallets/{wallet.pk}/close/").json()["state"]["ended"] is True
    problem_of(teller.post(f"/api/wallets/{wallet.pk}/add/", {"amount": "1"}), 422, "ended")


def test_a_state_that_a_constraint_refuses_is_422(teller: APIClient, wallet: Wallet) -> None:
    for amount in ("1000000", "1" + "0" * 30, "1e30"):
        response = teller.post(f"/api/wallets/{wallet.pk}/add/", {"amount": amount})
        problem_of(response, 422, "state_refused" if amount == "1000000" else "does_not_fit")
    assert teller.get(f"/api/wallets/{wallet.pk}/").json()["version"] == 2


def test_an_integer_beyond_the_column_is_refused(root: APIClient) -> None:
    number = root.post("/api/counters/", {"by": 2**53 - 1}).json()["state"]["number"]
    problem_of(root.post(f"/api/counters/{number}/count/", {"by": 2**63}), 400, "invalid")


def test_a_state_that_no_column_can_hold_is_422(root: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    number = root.post("/api/counters/").json()["state"]["number"]

    def overflow(self: Counter, _event: object) -> None:
        self.total = 2**63

    monkeypatch.setattr(Counter, "_counted", overflow)
    problem_of(root.post(f"/api/counters/{number}/count/"), 422, "does_not_fit")


def test_a_lost_race_is_409_with_both_versions(
    teller: APIClient, wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(self: Wallet, _event: object) -> None:
        raise ConcurrencyError("samples.wallet", str(self.pk), expected=2, actual=3)

    monkeypatch.setattr(Wallet, "record", lose)
    problem = problem_of(teller.post(f"/api/wallets/{wallet.pk}/add/", {"amount": "1"}), 409, "conflict")
    assert (problem["expected"], problem["actual"]) == (2, 3)


# Idempotency


def test_the_same_key_answers_the_same_and_acts_once(teller: APIClient, wallet: Wallet) -> None:
    def send() -> Any:
        return teller.post(f"/api/wallets/{wallet.pk}/add/", {"amount": "1"}, headers={"Idempotency-Key": "one"})

    first = send()
    Wallet.objects.perform(wallet.pk, Wallet.add, amount=Decimal(7))
    again = send()
    assert first.json() == again.json()
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["ETag"] == first.headers["ETag"] == '"3"'
    assert teller.get(f"/api/wallets/{wallet.pk}/").json()["balance"] == "58.00"


def test_a_creation_can_be_repeated(teller: APIClient) -> None:
    answers = [
        teller.post("/api/wallets/", {"owner": "Ada"}, headers={"Idempotency-Key": "new"}) for _again in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert Wallet.objects.count() == 1


def test_a_key_with_another_request_is_422_and_a_running_one_409(
    teller: APIClient, wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, headers = f"/api/wallets/{wallet.pk}/add/", {"Idempotency-Key": "one"}
    teller.post(url, {"amount": "1"}, headers=headers)
    problem_of(teller.post(url, {"amount": "2"}, headers=headers), 422, "idempotency_key_reused")

    def running(*_args: object, **_kwargs: object) -> None:
        raise KeyInFlight("still running")

    monkeypatch.setattr("eventsourcing_app.aggregates.manager.run_once", running)
    response = teller.post(url, {"amount": "3"}, headers=headers)
    problem_of(response, 409, "idempotency_key_in_flight")
    assert response.headers["Retry-After"] == "1"


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "\x85"])
def test_a_key_that_cannot_be_stored_is_400(teller: APIClient, wallet: Wallet, key: str) -> None:
    response = teller.post(f"/api/wallets/{wallet.pk}/add/", {"amount": "1"}, headers={"Idempotency-Key": key})
    problem_of(response, 400, "idempotency_key_invalid")


def test_keys_of_two_users_are_two_keys(teller: APIClient, wallet: Wallet) -> None:
    other = client_of(user_with(*TELLER, name="other"))
    for client in (teller, other):
        client.post(f"/api/wallets/{wallet.pk}/add/", {"amount": "1"}, headers={"Idempotency-Key": "one"})
    assert teller.get(f"/api/wallets/{wallet.pk}/").json()["balance"] == "52.00"


# What is sent


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/amount"),
        ({"amount": None}, "/amount"),
        ({"amount": ""}, "/amount"),
        ({"amount": "much"}, "/amount"),
        ({"amount": True}, "/amount"),
        ({"amount": []}, "/amount"),
        ({"amount": {"$gt": 0}}, "/amount"),
        ({"amount": "NaN"}, "/amount"),
        ({"amount": "sNaN"}, "/amount"),
        ({"amount": "-Infinity"}, "/amount"),
        ({"amount": "1e400"}, "/amount"),
        ({"amount": "1e999999999999999999999"}, "/amount"),
        ({"amount": "9" * 5000}, "/amount"),
        ({"amount": "١"}, "/amount"),
        ({"amount": "1", "reference": 5}, "/reference"),
        ({"amount": "1", "reference": "a\x00b"}, "/reference"),
        ({"amount": "1", "reference": ["x"]}, "/reference"),
        ({"amount": "1", "refrence": "x"}, "/refrence"),
        ({"amount": "1", "a/b~c": "x"}, "/a~1b~0c"),
        ([], ""),
        ("text", ""),
        (5, ""),
        (None, ""),
    ],
)
def test_arguments_of_the_wrong_kind_are_400_and_named(
    teller: APIClient, wallet: Wallet, body: object, pointer: str
) -> None:
    response = teller.post(f"/api/wallets/{wallet.pk}/add/", json.dumps(body), content_type="application/json")
    assert pointer in pointers(problem_of(response, 400, "invalid"))


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b'{"amount": NaN}',
        b'{"amount": Infinity}',
        b'{"amount": -Infinity}',
        b'{"amount": 1, "amount": 2}',
        b'{"amount": 1e99999999999999999999}',
        b'{"amount": ' + b"9" * 10_000 + b"}",
        b"[" * 10_000,
        b'{"a":' * 10_000,
        b'{"amount": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_a_body_that_is_no_json_is_400(teller: APIClient, wallet: Wallet, body: bytes) -> None:
    response = teller.post(f"/api/wallets/{wallet.pk}/add/", body, content_type="application/json")
    problem_of(response, 400, "parse_error")


@pytest.mark.parametrize("number", [b"1e400", b"1E+5000", b"-0.5e-4000"])
def test_a_number_beyond_all_measure_is_400(teller: APIClient, wallet: Wallet, number: bytes) -> None:
    body = b'{"amount": ' + number + b"}"
    response = teller.post(f"/api/wallets/{wallet.pk}/add/", body, content_type="application/json")
    assert pointers(problem_of(response, 400, "invalid")) == ["/amount"]


def test_half_a_character_is_400(teller: APIClient, wallet: Wallet) -> None:
    body = rb'{"amount": "1", "reference": "\ud800"}'
    response = teller.post(f"/api/wallets/{wallet.pk}/add/", body, content_type="application/json")
    assert pointers(problem_of(response, 400, "invalid")) == ["/reference"]


def test_an_event_that_cannot_be_stored_is_400(teller: APIClient, wallet: Wallet, settings: Any) -> None:
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "MAX_EVENT_BYTES": 100}
    response = teller.post(f"/api/wallets/{wallet.pk}/add/", {"amount": "1", "reference": "x" * 200})
    problem_of(response, 400, "event_refused")


def test_a_text_longer_than_its_column_is_400_on_every_database(teller: APIClient) -> None:
    assert pointers(problem_of(teller.post("/api/wallets/", {"owner": "x" * 41}), 400, "invalid")) == ["/owner"]


def test_the_wrong_item_of_a_list_is_pointed_at(teller: APIClient, wallet: Wallet) -> None:
    response = teller.post(f"/api/wallets/{wallet.pk}/label/", {"labels": ["a", 5]})
    assert pointers(problem_of(response, 400, "invalid")) == ["/labels/1"]
    assert teller.post(f"/api/wallets/{wallet.pk}/label/", {"labels": ["a"]}).json()["state"]["labels"] == ["a"]


def test_a_body_that_is_too_large_is_413_whether_it_says_so_or_not(
    teller: APIClient, wallet: Wallet, settings: Any
) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    url, body = f"/api/wallets/{wallet.pk}/add/", json.dumps({"amount": "1", "reference": "x" * 2000})
    problem_of(teller.post(url, body, content_type="application/json"), 413, "body_too_large")
    response = teller.post(url, b"{}", content_type="application/json", CONTENT_LENGTH=str(2**30))
    problem_of(response, 413, "body_too_large")


def test_other_formats_and_methods_are_problems_too(teller: APIClient, wallet: Wallet) -> None:
    url = f"/api/wallets/{wallet.pk}/"
    problem_of(teller.post(f"{url}add/", {"amount": "1"}, format="multipart"), 415, "unsupported_media_type")
    for method in ("put", "patch", "delete"):
        problem_of(getattr(teller, method)(url, {"balance": "0"}), 405, "method_not_allowed")
    problem_of(teller.get(f"{url}add/"), 405, "method_not_allowed")
    problem_of(teller.get(url, headers={"Accept": "application/xml"}), 406, "not_acceptable")


# Who may


def test_strangers_are_401_and_others_403(wallet: Wallet) -> None:
    addresses = ["/api/wallets/", f"/api/wallets/{wallet.pk}/", f"/api/wallets/{wallet.pk}/events/", "/api/events/"]
    nobody, without = APIClient(), client_of(user_with(name="without"))
    for address in addresses:
        problem_of(nobody.get(address), 401, "not_authenticated")
        problem_of(without.get(address), 403, "permission_denied")
    for command_name in ("add", "take", "close", "label"):
        problem_of(nobody.post(f"/api/wallets/{wallet.pk}/{command_name}/", {}), 401, "not_authenticated")
        problem_of(without.post(f"/api/wallets/{wallet.pk}/{command_name}/", {}), 403, "permission_denied")
    problem_of(without.post("/api/wallets/", {"owner": "x"}), 403, "permission_denied")
    assert StoredEvent.objects.count() == 2


def test_each_permission_opens_its_own_door_only(wallet: Wallet) -> None:
    url = f"/api/wallets/{wallet.pk}/"
    viewer = client_of(user_with("samples.view_wallet", name="viewer"))
    assert viewer.get(url).status_code == 200
    problem_of(viewer.get(f"{url}events/"), 403, "permission_denied")
    problem_of(viewer.post(f"{url}add/", {"amount": "1"}), 403, "permission_denied")
    problem_of(viewer.post("/api/wallets/", {"owner": "x"}), 403, "permission_denied")
    changer = client_of(user_with("samples.view_wallet", "samples.change_wallet", name="changer"))
    assert changer.post(f"{url}add/", {"amount": "1"}).status_code == 200
    problem_of(changer.post("/api/wallets/", {"owner": "x"}), 403, "permission_denied")
    blind = client_of(user_with("samples.change_wallet", name="blind"))
    problem_of(blind.post(f"{url}add/", {"amount": "1"}), 403, "permission_denied")
    log_only = client_of(user_with("eventsourcing_app.view_storedevent", name="log_only"))
    assert log_only.get("/api/events/").status_code == 200
    problem_of(log_only.get(f"{url}events/"), 403, "permission_denied")


def test_a_permission_that_the_model_declares_guards_its_command(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Wallet._meta, "permissions", [("take_wallet", "Can take money out")])
    some = Permission.objects.get(codename="view_wallet")
    user = user_with("samples.view_wallet", "samples.change_wallet")
    client, url = client_of(user), f"/api/wallets/{wallet.pk}/"
    assert client.post(f"{url}add/", {"amount": "1"}).status_code == 200
    problem_of(client.post(f"{url}take/", {"amount": "1"}), 403, "permission_denied")
    own = Permission.objects.create(content_type=some.content_type, codename="take_wallet", name="Can take")
    user.user_permissions.add(own)
    assert client.post(f"{url}take/", {"amount": "1"}).status_code == 200


def test_no_event_is_visible_without_the_permission(wallet: Wallet) -> None:
    with_it = user_with("eventsourcing_app.view_storedevent", name="with it")
    without = user_with("samples.view_wallet", name="without")
    assert [visible_events(user).count() for user in (with_it, without, AnonymousUser())] == [2, 0, 0]
    assert [visible_trail(user, wallet).count() for user in (with_it, without)] == [2, 0]


def test_what_the_queryset_leaves_out_does_not_exist(wallet: Wallet) -> None:
    ada = client_of(user_with(*TELLER, "eventsourcing_app.view_storedevent", name="Ada"))
    bob = client_of(user_with(*TELLER, "eventsourcing_app.view_storedevent", name="Bob"))
    url = f"/api/own/{wallet.pk}/"
    assert ada.get(url).status_code == ada.get(f"{url}events/").status_code == 200
    assert ada.post(f"{url}add/", {"amount": "1"}).status_code == 200
    problem_of(bob.get(url), 404, "not_found")
    problem_of(bob.get(f"{url}events/"), 404, "not_found")
    problem_of(bob.post(f"{url}add/", {"amount": "1"}), 404, "not_found")
    assert bob.get("/api/own/").json()["results"] == []


def test_the_session_needs_a_csrf_token_for_commands(wallet: Wallet) -> None:
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(user_with(*TELLER))
    response = client.post(f"/api/wallets/{wallet.pk}/add/", {"amount": "1"})
    problem_of(response, 403, "permission_denied")


def test_the_actor_of_a_session_is_in_the_event(teller: APIClient, wallet: Wallet) -> None:
    teller.post(f"/api/wallets/{wallet.pk}/add/", {"amount": "1"}, headers={"X-Correlation-ID": "from-outside"})
    event = StoredEvent.objects.latest("position")
    assert event.actor == f"user:{User.objects.get(username='teller').pk}"
    assert event.correlation_id == "from-outside"


def test_the_actor_of_a_token_is_in_the_event(wallet: Wallet) -> None:
    user = user_with(*TELLER)
    client = Client(headers={"Authorization": f"Token {Token.objects.create(user=user).key}"})
    response = client.post(f"/api/wallets/{wallet.pk}/add/", {"amount": "1"}, content_type="application/json")
    assert response.status_code == 200
    assert response.json()["events"][0]["actor"] == f"user:{user.pk}"
    assert StoredEvent.objects.latest("position").actor == f"user:{user.pk}"


# The trail and the log


def test_the_trail_is_in_order_and_paged_by_version(auditor: APIClient, wallet: Wallet) -> None:
    for _number in range(3):
        Wallet.objects.perform(wallet.pk, Wallet.add, amount=Decimal(1))
    with CaptureQueriesContext(connection) as queries:
        first = auditor.get(f"/api/wallets/{wallet.pk}/events/?limit=2").json()
    assert_neither_counted_nor_skipped(queries)
    assert [event["version"] for event in first["results"]] == [1, 2]
    second = auditor.get(first["next"]).json()
    assert [event["version"] for event in second["results"]] == [3, 4]
    assert [event["version"] for event in auditor.get(second["next"]).json()["results"]] == [5]
    after = auditor.get(f"/api/wallets/{wallet.pk}/events/?after_version=4").json()
    assert [event["version"] for event in after["results"]] == [5]


def test_the_log_is_in_order_without_count_and_offset(auditor: APIClient, wallet: Wallet) -> None:
    Wallet.objects.perform(wallet.pk, Wallet.add, amount=Decimal(1))
    with CaptureQueriesContext(connection) as queries:
        first = auditor.get("/api/events/?limit=2").json()
    assert_neither_counted_nor_skipped(queries)
    second = auditor.get(first["next"]).json()
    positions = [event["position"] for page in (first, second) for event in page["results"]]
    assert positions == sorted(positions)
    assert positions == list(StoredEvent.objects.values_list("position", flat=True))
    assert second["next"] is None
    after = auditor.get(f"/api/events/?after_position={positions[0]}").json()
    assert [event["position"] for event in after["results"]] == positions[1:]


def test_pages_of_the_log_cost_the_same_number_of_queries(auditor: APIClient, wallet: Wallet) -> None:
    counts = []
    for _round in range(2):
        with CaptureQueriesContext(connection) as queries:
            auditor.get("/api/events/")
        counts.append(len(queries))
        for _number in range(20):
            Wallet.objects.perform(wallet.pk, Wallet.add, amount=Decimal(1))
    assert counts[0] == counts[1]


def test_an_event_has_every_column(auditor: APIClient, wallet: Wallet) -> None:
    event = wallet.history()[1]
    body = auditor.get(f"/api/events/{event.position}/").json()
    columns = {field.name for field in StoredEvent._meta.concrete_fields}
    assert columns < set(body)
    assert body["hash"] == bytes(event.hash).hex()
    assert body["recorded_at"].endswith("Z")
    assert body["data"] == {"amount": "50", "reference": ""}


def test_the_log_is_filtered_by_what_is_allowed(auditor: APIClient, wallet: Wallet) -> None:
    other = Wallet.objects.perform_new(Wallet.open, owner="Bob")
    event = wallet.history()[0]

    def found(query: str) -> list[int]:
        return [event["position"] for event in auditor.get(f"/api/events/?{query}").json()["results"]]

    opened = list(StoredEvent.objects.filter(type="samples.wallet_opened").values_list("position", flat=True))
    everything = list(StoredEvent.objects.values_list("position", flat=True))
    assert found("type=samples.wallet_opened") == opened
    assert found("type=samples.wallet_opened&type=samples.money_added") == everything
    assert found(f"stream_type=samples.wallet&stream_key={other.pk}") == [other.position]
    assert found(f"correlation_id={event.correlation_id}") == [event.position, event.position + 1]
    assert found("actor=user:1234567") == []
    assert found("actor=") == everything


def test_an_older_name_of_a_type_is_found_under_the_new_one_and_the_other_way(auditor: APIClient) -> None:
    wallet = Wallet.objects.perform_new(Wallet.open, owner="Ada")
    position = Wallet.objects.perform(wallet.pk, Wallet.add, amount=Decimal(1)).position
    for name in ("samples.money_added", "samples.money_put_in"):
        assert [event["position"] for event in auditor.get(f"/api/events/?type={name}").json()["results"]] == [position]


@pytest.mark.parametrize(
    "parameter",
    [
        "data__amount__startswith",
        "data",
        "metadata__ip",
        "actor__startswith",
        "actor__in",
        "type__regex",
        "_connector",
        "_negated",
        "pk__in",
        "hash",
        "order_by",
        "ordering",
        "cursor",
        "offset",
        "page",
        "search",
        "%00",
        "a'--",
    ],
)
def test_a_parameter_that_is_not_offered_is_400_and_named(auditor: APIClient, wallet: Wallet, parameter: str) -> None:
    for address in ("/api/events/", "/api/wallets/", f"/api/wallets/{wallet.pk}/", f"/api/wallets/{wallet.pk}/events/"):
        body = problem_of(auditor.get(f"{address}?{parameter}=x"), 400, "unknown")
        assert body["errors"][0]["parameter"] == parameter.replace("%00", "\x00")


@pytest.mark.parametrize(
    ("address", "parameter"),
    [
        ("/api/events/?limit=0", "limit"),
        ("/api/events/?limit=501", "limit"),
        ("/api/events/?limit=-1", "limit"),
        ("/api/events/?limit=1e3", "limit"),
        (f"/api/events/?limit={'9' * 400}", "limit"),
        ("/api/events/?after_position=x", "after_position"),
        ("/api/events/?after_position=-1", "after_position"),
        ("/api/events/?after_position=٣", "after_position"),
        (f"/api/events/?after_position={2**63}", "after_position"),
        (f"/api/events/?before_position={'9' * 5000}", "before_position"),
        ("/api/events/?after_position=1&before_position=3", "before_position"),
        ("/api/events/?actor=a&actor=b", "actor"),
        ("/api/events/?actor=%00", "actor"),
        ("/api/events/?type=a&type=%00", "type"),
        ("/api/wallets/?after=x", "after"),
        ("/api/wallets/?before=%00", "before"),
        ("/api/books/?after=%00", "after"),
        ("/api/counters/?after=1.5", "after"),
    ],
)
def test_a_parameter_with_a_value_it_cannot_have_is_400_and_named(
    root: APIClient, address: str, parameter: str
) -> None:
    response = root.get(address)
    body = json.loads(response.content)
    assert (response.status_code, body["errors"][0]["parameter"]) == (400, parameter)


def test_positions_up_to_the_largest_are_taken(root: APIClient) -> None:
    assert root.get(f"/api/events/?after_position={2**63 - 1}").json()["results"] == []
    assert root.get(f"/api/counters/?after={2**63 - 1}").json()["results"] == []


def test_the_log_cannot_be_written_to(root: APIClient, wallet: Wallet) -> None:
    position = wallet.history()[0].position
    for method in ("post", "put", "patch", "delete"):
        for address in ("/api/events/", f"/api/events/{position}/"):
            problem_of(getattr(root, method)(address, {"type": "x"}), 405, "method_not_allowed")
    for method in ("post", "put", "patch", "delete"):
        problem_of(getattr(root, method)(f"/api/wallets/{wallet.pk}/events/", {}), 405, "method_not_allowed")


# For people, and for whoever writes a view


def test_the_browsable_pages_work(root: APIClient, wallet: Wallet) -> None:
    position = wallet.history()[0].position
    for address in (
        "/api/",
        "/api/wallets/",
        f"/api/wallets/{wallet.pk}/",
        f"/api/wallets/{wallet.pk}/events/",
        "/api/events/",
        f"/api/events/{position}/",
    ):
        response = root.get(address, headers={"Accept": "text/html"})
        assert (response.status_code, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    refused = root.get("/api/events/?x=1", headers={"Accept": "text/html"})
    assert (refused.status_code, refused.headers["Content-Type"]) == (400, "text/html; charset=utf-8")
    for address in ("/api/wallets/", f"/api/wallets/{wallet.pk}/add/", "/api/events/"):
        assert root.options(address).status_code == 200
    assert root.options(f"/api/wallets/{wallet.pk}/add/").json()["actions"]["POST"]["amount"]["required"] is True


def test_a_view_offers_the_commands_that_it_names(wallet: Wallet) -> None:
    class Some(EventSourcedViewSet):
        model = Wallet
        commands = ("add",)

    assert hasattr(Some, "command_add")
    assert not hasattr(Some, "command_take")
    assert not hasattr(Some, "create")
    with pytest.raises(ImproperlyConfigured, match="has no fly"):
        type("Flying", (EventSourcedViewSet,), {"model": Wallet, "commands": ("fly",)})


def test_an_argument_that_no_request_can_hold_is_refused_at_once() -> None:
    @command
    def bad(self: Wallet, what: dict[str, int]) -> None: ...

    with pytest.raises(ImproperlyConfigured, match="what"):
        serializer_for(Wallet, command_of(bad))


def test_settings_may_name_what_has_no_view_in_it() -> None:
    script = """
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "rest_framework", "eventsourcing_app"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    REST_FRAMEWORK={
        "DEFAULT_PARSER_CLASSES": ["eventsourcing_app.api.JSONParser"],
        "DEFAULT_PAGINATION_CLASS": "eventsourcing_app.api.KeysetPagination",
        "DEFAULT_PERMISSION_CLASSES": ["eventsourcing_app.api.StoredEventPermission"],
        "EXCEPTION_HANDLER": "eventsourcing_app.api.exception_handler",
    },
)
django.setup()
import rest_framework.views
from eventsourcing_app.api import EventSourcedViewSet, exception_handler
from rest_framework.settings import api_settings
assert api_settings.EXCEPTION_HANDLER is exception_handler
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def assert_neither_counted_nor_skipped(queries: CaptureQueriesContext) -> None:
    statements = [query["sql"].upper() for query in queries.captured_queries]
    assert statements
    assert not [sql for sql in statements if "COUNT(" in sql or "OFFSET" in sql or "DISTINCT" in sql]


def test_a_command_that_ends_an_object_and_removes_its_row_is_answered_with_the_last_state(root: APIClient) -> None:
    pk = Visit.objects.perform_new(Visit.begin, text="begun").pk
    answer = root.post(f"/api/visits/{pk}/end/", {"text": "ended"}, format="json")
    assert answer.status_code == 200, answer.json()
    assert (answer.json()["state"]["text"], answer.json()["state"]["ended"], answer.json()["version"]) == (
        "ended",
        True,
        2,
    )
    assert not Visit.objects.exists()
    assert root.get(f"/api/visits/{pk}/").status_code == 404


def test_a_repetition_of_the_command_that_removed_the_row_gets_its_answer(root: APIClient) -> None:
    pk = Visit.objects.perform_new(Visit.begin, text="begun").pk
    first, again = (
        root.post(f"/api/visits/{pk}/end/", {"text": "ended"}, format="json", headers={"Idempotency-Key": "k1"})
        for _ in range(2)
    )
    assert (first.status_code, again.status_code) == (200, 200), again.json()
    assert (again.json()["state"], again.json()["version"]) == (first.json()["state"], 2)
    assert again.headers["Idempotency-Replayed"] == "true"
    for url, key in ((f"/api/visits/{pk}/end/", "k2"), ("/api/visits/no-key/end/", "k1"), ("/api/visits/7/end/", "k1")):
        other = root.post(url, {"text": "ended"}, format="json", headers={"Idempotency-Key": key})
        assert other.status_code == 404, other.json()
    assert root.post(f"/api/visits/{pk}/end/", {"text": "ended"}, format="json").status_code == 404
    assert Visit.objects.history(pk).count() == 2
