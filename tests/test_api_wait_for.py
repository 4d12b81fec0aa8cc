"""A read of a projection waits until that has reached what its client has written, or says that it has not."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from demo_bank.api import DailyTotalViewSet
from demo_bank.models import Account, DailyTotal
from eventsourcing_app.models import Subscription
from tests.api_client import client_of, problem_of, user_with
from tests.reactions_sample.scene import deliver, in_own_connection

if TYPE_CHECKING:
    from rest_framework.test import APIClient

pytestmark = pytest.mark.django_db(transaction=True)

TOTALS = "/api/v1/daily-totals/"


@pytest.fixture
def client(transactional_db: None) -> APIClient:
    deliver()  # so that there are segments
    return client_of(user_with("demo_bank.view_dailytotal"))


def deposit(amount: int = 5) -> int:
    """Pay into a new account; return the position of that."""
    receipt = Account.objects.perform_new(Account.open, owner="Ada")
    position = Account.objects.perform(receipt.pk, Account.deposit, amount=Decimal(amount)).position
    assert position is not None
    return position


def test_what_was_written_is_in_what_is_read(client: APIClient) -> None:
    position = deposit()
    worker = threading.Timer(0.2, in_own_connection(deliver))
    worker.start()
    response = client.get(f"{TOTALS}?wait_for={position}")
    worker.join()
    assert response.status_code == 200
    (total,) = response.json()["results"]
    assert (total["deposits"], total["withdrawals"], total["count"]) == ("5.00", "0.00", 1)
    assert client.get(f"{TOTALS}{total['id']}/?wait_for={position}").json() == total


def test_a_projection_that_does_not_come_is_a_problem_which_says_who(
    client: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DailyTotalViewSet, "wait_limit", 0.05)
    position = deposit()
    response = client.get(f"{TOTALS}?wait_for={position}")
    problem = problem_of(response, 409, "not_caught_up")
    assert problem["position"] == position
    (behind,) = problem["waiting"]
    assert behind.startswith("bank.daily_totals (at #")
    assert response.headers["Retry-After"] == "1"
    assert client.get(TOTALS).json()["results"] == []


def test_a_projection_that_is_paused_is_not_waited_for(client: APIClient) -> None:
    position = deposit()
    Subscription.objects.filter(name="bank.daily_totals").update(status="paused")
    problem = problem_of(client.get(f"{TOTALS}?wait_for={position}"), 409, "not_caught_up")
    assert problem["waiting"] == ["bank.daily_totals (paused)"]


def test_only_the_projections_that_the_view_names_are_waited_for(
    client: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    position = deposit()
    deliver()
    Subscription.objects.create(name="t.other", kind="projection", status="paused")
    assert client.get(f"{TOTALS}?wait_for={position}").status_code == 200
    monkeypatch.setattr(DailyTotalViewSet, "projections", ("bank.daily_totals", "t.other"))
    problem_of(client.get(f"{TOTALS}?wait_for={position}"), 409, "not_caught_up")


@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "9" * 30, "%00"])
def test_what_is_no_position_is_refused(client: APIClient, value: str) -> None:
    problem = problem_of(client.get(f"{TOTALS}?wait_for={value}"), 400, "invalid")
    assert problem["errors"][0]["parameter"] == "wait_for"


def test_a_position_beyond_the_log_is_refused_at_once(client: APIClient) -> None:
    position = deposit()
    problem_of(client.get(f"{TOTALS}?wait_for={position + 1}"), 400, "position_ahead")
    problem_of(client.get(f"{TOTALS}?wait_fro={position}"), 400, "unknown")


def test_whoever_may_not_see_it_does_not_wait_for_it(transactional_db: None) -> None:
    position = deposit()
    problem_of(client_of(user_with()).get(f"{TOTALS}?wait_for={position}"), 403, "permission_denied")


def test_totals_are_read_in_pages_and_at_a_constant_cost(client: APIClient) -> None:
    counts: list[tuple[int, Any]] = []
    for rows in (2, 20):
        DailyTotal.objects.bulk_create(
            DailyTotal(day=f"2026-{rows:02d}-{day + 1:02d}" if rows <= 12 else f"2025-01-{day + 1:02d}", currency="EUR")
            for day in range(rows)
        )
        with CaptureQueriesContext(connection) as queries:
            page = client.get(f"{TOTALS}?limit=20&wait_for=0").json()
        counts.append((len(queries), len(page["results"])))
    assert counts[0][0] == counts[1][0]
    assert [found for _, found in counts] == [2, 20]
    following = client.get(page["next"]).json()
    assert len(following["results"]) == 2
    assert client.post(TOTALS, {}).status_code == 405
