"""Requests with an Idempotency-Key: the first answer is stored with what was done, and is given again."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import include, path
from rest_framework import serializers
from rest_framework.routers import DefaultRouter
from rest_framework.test import APIClient

from eventsourcing_app.aggregates.records import StoredReceipt
from eventsourcing_app.api import EventSourcedViewSet
from eventsourcing_app.context import context
from eventsourcing_app.models import StoredEvent
from tests.api_client import client_of, problem_of, user_with
from tests.samples.factories import open_wallet
from tests.samples.models import Wallet


class WalletViewSet(EventSourcedViewSet):
    model = Wallet


class KeyedWalletViewSet(EventSourcedViewSet):
    model = Wallet
    idempotency_key_required = True


router = DefaultRouter()
router.include_format_suffixes = False
router.register("wallets", WalletViewSet)
router.register("keyed", KeyedWalletViewSet, basename="keyed")
urlpatterns = [path("api/", include(router.urls))]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


@pytest.fixture
def teller() -> APIClient:
    return client_of(user_with("samples.view_wallet", "samples.add_wallet", "samples.change_wallet"))


@pytest.fixture
def wallet() -> Wallet:
    return open_wallet("Ada", 50)


def add(client: APIClient, wallet: Wallet, key: str, amount: str = "1.00", root: str = "wallets") -> Any:
    return client.post(f"/api/{root}/{wallet.pk}/add/", {"amount": amount}, headers={"Idempotency-Key": key})


def test_a_repetition_gets_the_very_bytes_of_the_first_answer_whatever_has_happened_since(
    teller: APIClient, wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = add(teller, wallet, "k")
    add(teller, wallet, "another")

    class Narrow(serializers.ModelSerializer[Wallet]):
        class Meta:
            model = Wallet
            fields = ("id",)

    monkeypatch.setattr(WalletViewSet, "serializer_class", Narrow)  # a release that shows the state otherwise
    again = add(teller, wallet, "k")
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["ETag"] == first.headers["ETag"] == '"3"'
    assert again.headers["Idempotency-Replayed"] == "true"
    assert Wallet.objects.get(pk=wallet.pk).balance == 52


def test_a_creation_is_answered_again_with_its_status_and_address(teller: APIClient) -> None:
    first, again = [
        teller.post("/api/wallets/", {"owner": "Ada"}, headers={"Idempotency-Key": "new"}) for _ in range(2)
    ]
    assert (again.status_code, again.content, again.headers["Location"]) == (
        201,
        first.content,
        first.headers["Location"],
    )
    assert Wallet.objects.count() == 1


def test_the_answer_is_stored_with_the_receipt_and_by_the_same_statement(teller: APIClient, wallet: Wallet) -> None:
    with CaptureQueriesContext(connection) as queries:
        first = add(teller, wallet, "k")
    written = [query["sql"] for query in queries if "receipt" in query["sql"] and "SELECT" not in query["sql"][:6]]
    assert len(written) == 1
    receipt = StoredReceipt.objects.get()
    assert (receipt.response_status, json.loads(receipt.response_body)) == (200, first.json())
    assert receipt.response_body.encode() == first.content


def test_a_refusal_is_not_stored_and_decided_again(teller: APIClient, wallet: Wallet) -> None:
    address, headers = f"/api/wallets/{wallet.pk}/take/", {"Idempotency-Key": "k"}
    problem_of(teller.post(address, {"amount": "99.00"}, headers=headers), 422, "not_enough")
    assert not StoredReceipt.objects.exists()
    add(teller, wallet, "more", "49.00")
    assert teller.post(address, {"amount": "99.00"}, headers=headers).status_code == 200


def test_an_answer_that_another_version_forbids_is_not_stored(teller: APIClient, wallet: Wallet) -> None:
    address, body = f"/api/wallets/{wallet.pk}/add/", {"amount": "1.00"}
    refused = teller.post(address, body, headers={"Idempotency-Key": "k", "If-Match": '"1"'})
    problem_of(refused, 412, "precondition_failed")
    assert not StoredReceipt.objects.exists()
    assert teller.post(address, body, headers={"Idempotency-Key": "k", "If-Match": '"2"'}).status_code == 200


def test_where_a_key_is_required_no_request_goes_without_one(teller: APIClient, wallet: Wallet) -> None:
    last = StoredEvent.objects.count()
    problem_of(teller.post(f"/api/keyed/{wallet.pk}/add/", {"amount": "1.00"}), 400, "idempotency_key_required")
    problem_of(teller.post("/api/keyed/", {"owner": "Ada"}), 400, "idempotency_key_required")
    assert StoredEvent.objects.count() == last
    assert add(teller, wallet, "k", root="keyed").status_code == 200
    assert teller.get("/api/keyed/").status_code == 200


def test_a_key_that_was_used_in_python_is_answered_over_http(teller: APIClient, wallet: Wallet) -> None:
    with context(actor=f"user:{teller.get('/api/wallets/').wsgi_request.user.pk}"):
        Wallet.objects.once("k").perform(wallet.pk, Wallet.add, amount=Decimal("1.00"))
    add(teller, wallet, "another")
    again = add(teller, wallet, "k")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (again.json()["version"], again.json()["state"]["balance"]) == (3, "51.00")
    assert Wallet.objects.get(pk=wallet.pk).balance == 52


def test_a_key_that_was_used_over_http_is_answered_in_python(teller: APIClient, wallet: Wallet) -> None:
    add(teller, wallet, "k")
    with context(actor=StoredReceipt.objects.get().actor):
        receipt = Wallet.objects.once("k").perform(wallet.pk, Wallet.add, amount=Decimal("1.00"))
    assert (receipt.replayed, receipt.version, receipt.pk) == (True, 3, wallet.pk)
