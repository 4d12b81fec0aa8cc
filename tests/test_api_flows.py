"""Flows over HTTP: all of it or nothing, once for each key, and only what the user may see and do."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from rest_framework.test import APIClient

from demo_bank.models import Account
from demo_bank.transfers import transfer
from eventsourcing_app import flow
from eventsourcing_app.api import FlowViewSet
from eventsourcing_app.models import StoredEvent
from tests.api_client import client_of, problem_of, user_with

pytestmark = [pytest.mark.django_db]

ADDRESS = "/api/v1/transfers/"
TELLER = ("demo_bank.view_account", "demo_bank.change_account", "eventsourcing_app.view_storedevent")


@pytest.fixture
def teller() -> APIClient:
    return client_of(user_with(*TELLER))


@pytest.fixture
def root() -> APIClient:
    return client_of(User.objects.create_superuser("root"))


def opened(owner: str, amount: int = 0, **more: Any) -> Account:
    account = Account()
    account.open(owner=owner, **more)
    if amount:
        account.deposit(Decimal(amount))
    account.save()
    return account


def balances(*accounts: Account) -> list[Decimal]:
    return [Account.objects.get(pk=account.pk).balance for account in accounts]


def body_of(source: Account, target: Account, amount: str = "30.00", **more: str) -> dict[str, str]:
    return {"source": str(source.pk), "target": str(target.pk), "amount": amount, **more}


def test_a_flow_is_answered_with_its_value_and_the_events_that_it_wrote(root: APIClient) -> None:
    ada, bob = opened("Ada", 50), opened("Bob")
    response = root.post(ADDRESS, body_of(ada, bob, reference="rent"))
    answer = response.json()
    assert response.status_code == 201
    assert balances(ada, bob) == [Decimal(20), Decimal(30)]
    assert UUID(answer["value"])
    assert [event["type"] for event in answer["events"]] == ["bank.transfer_sent", "bank.transfer_received"]
    assert answer["count"] == 2
    assert answer["position"] == answer["events"][-1]["position"] == StoredEvent.objects.latest("position").position


def test_a_refusal_changes_neither_side(teller: APIClient) -> None:
    ada, bob = opened("Ada", 10), opened("Bob")
    problem_of(teller.post(ADDRESS, body_of(ada, bob)), 422, "insufficient_funds")
    problem_of(teller.post(ADDRESS, body_of(ada, ada)), 422, "same_account")
    assert balances(ada, bob) == [Decimal(10), Decimal(0)]


def test_the_same_key_moves_the_money_once_and_gets_the_same_answer(teller: APIClient) -> None:
    ada, bob = opened("Ada", 50), opened("Bob")
    first = teller.post(ADDRESS, body_of(ada, bob), headers={"Idempotency-Key": "web-1"})
    again = teller.post(ADDRESS, body_of(ada, bob), headers={"Idempotency-Key": "web-1"})
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert (again.headers.get("Idempotency-Replayed"), first.headers.get("Idempotency-Replayed")) == ("true", None)
    assert balances(ada, bob) == [Decimal(20), Decimal(30)]
    other = teller.post(ADDRESS, body_of(ada, bob, "1.00"), headers={"Idempotency-Key": "web-1"})
    problem_of(other, 422, "idempotency_key_reused")


def test_a_refusal_is_decided_again(teller: APIClient) -> None:
    ada, bob = opened("Ada", 10), opened("Bob")
    problem_of(teller.post(ADDRESS, body_of(ada, bob), headers={"Idempotency-Key": "k"}), 422, "insufficient_funds")
    Account.objects.perform(ada.pk, Account.deposit, amount=Decimal(40))
    assert teller.post(ADDRESS, body_of(ada, bob), headers={"Idempotency-Key": "k"}).status_code == 201
    assert balances(ada, bob) == [Decimal(20), Decimal(30)]


def test_an_aggregate_that_the_user_does_not_see_is_pointed_at(teller: APIClient) -> None:
    ada = opened("Ada", 50)
    body = {**body_of(ada, ada), "target": str(UUID(int=7))}
    problem = problem_of(teller.post(ADDRESS, body), 400, "invalid")
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [("/target", "not_found")]


@pytest.mark.parametrize("change", [{"amount": True}, {"amount": "x"}, {"transfer_id": str(UUID(int=1))}, {"x": 1}])
def test_arguments_that_do_not_fit_or_are_not_offered_are_refused(teller: APIClient, change: dict[str, Any]) -> None:
    ada, bob = opened("Ada", 50), opened("Bob")
    body = {**body_of(ada, bob), **change}
    assert teller.post(ADDRESS, body).status_code == 400
    assert balances(ada, bob) == [Decimal(50), Decimal(0)]


def test_a_flow_needs_its_permission_and_is_only_posted_to(teller: APIClient) -> None:
    ada, bob = opened("Ada", 50), opened("Bob")
    problem_of(APIClient().post(ADDRESS, body_of(ada, bob)), 401, "not_authenticated")
    viewer = client_of(user_with("demo_bank.view_account", name="viewer"))
    problem_of(viewer.post(ADDRESS, body_of(ada, bob)), 403, "permission_denied")
    blind = client_of(user_with("demo_bank.change_account", name="blind"))
    problem_of(blind.post(ADDRESS, body_of(ada, bob)), 403, "permission_denied")
    problem_of(teller.get(ADDRESS), 405, "method_not_allowed")
    assert balances(ada, bob) == [Decimal(50), Decimal(0)]


def test_the_viewset_of_a_flow_says_at_once_what_cannot_work() -> None:
    with pytest.raises(ImproperlyConfigured, match="who may run"):

        class NoPermission(FlowViewSet, flow=transfer):
            pass

    with pytest.raises(ImproperlyConfigured, match="has no sum"):

        class Unknown(FlowViewSet, flow=transfer):
            permission = "demo_bank.change_account"
            arguments = ("source", "target", "sum")

    with pytest.raises(ImproperlyConfigured, match="needs amount"):

        class Missing(FlowViewSet, flow=transfer):
            permission = "demo_bank.change_account"
            arguments = ("source", "target")

    @flow("tests.unanswerable")
    def unanswerable(what: str) -> object:
        return what

    with pytest.raises(ImproperlyConfigured, match="cannot be stored"):

        class Unanswerable(FlowViewSet, flow=unanswerable):
            permission = "demo_bank.change_account"
