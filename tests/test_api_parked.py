"""What subscriptions failed on is shown over HTTP, in pages and by filters of a fixed list, and retried or skipped."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from eventsourcing_app.models import Subscription
from tests import api_operators
from tests.api_client import client_of, problem_of, user_with
from tests.api_operators import NAME, OPERATOR, PARKED, SECRET, acts, failing, one_parked
from tests.reactions_sample.scene import deliver, wallet

pytestmark = [pytest.mark.django_db, pytest.mark.urls(api_operators.__name__)]


@pytest.fixture(autouse=True)
def only_own(own_subscriptions: None, db: None) -> None:
    Subscription.objects.all().delete()  # the demo's


@pytest.fixture
def operator() -> APIClient:
    return client_of(user_with(*OPERATOR, name="operator"))


@pytest.fixture
def superuser() -> APIClient:
    return client_of(User.objects.create_superuser("root"))


def test_a_parked_event_is_shown_with_its_stream_its_attempts_and_its_error(superuser: APIClient) -> None:
    parked = one_parked()
    listed = superuser.get(PARKED).json()["results"]
    assert [(row["state"], row["position"]) for row in listed] == [
        ("failed", parked.position),
        ("behind", parked.position + 1),
        ("behind", parked.position + 2),
    ]
    shown = superuser.get(f"{PARKED}{parked.pk}/").json()
    error = shown.pop("error")
    assert shown == listed[0]
    assert (shown["subscription"], shown["type"], shown["attempts"]) == (NAME, "samples.money_added", 1)
    assert (shown["stream_type"], shown["stream_key"]) == ("samples.wallet", parked.stream_key)
    assert shown["first_failed_at"].endswith("Z")
    assert shown["retry_at"] > shown["last_failed_at"]
    assert (shown["reason"], shown["masked"]) == (f"ValueError: {SECRET}", False)
    assert error.startswith("Traceback")


def test_parked_events_are_filtered_by_subscription_and_state_and_come_in_pages(superuser: APIClient) -> None:
    failing({2}, name="t.other")
    one_parked()
    assert len(superuser.get(PARKED).json()["results"]) == 6
    assert {row["subscription"] for row in superuser.get(PARKED, {"subscription": NAME}).json()["results"]} == {NAME}
    (failed,) = superuser.get(PARKED, {"subscription": NAME, "state": "failed"}).json()["results"]
    assert failed["state"] == "failed"
    page = superuser.get(PARKED, {"limit": 4}).json()
    assert len(page["results"]) == 4
    assert len(superuser.get(page["next"]).json()["results"]) == 2


def test_parked_events_cost_the_same_queries_however_many_they_are(superuser: APIClient) -> None:
    failing({2})
    counts = []
    for _ in range(2):
        for _ in range(3):
            wallet(adds=3)
        deliver()
        with CaptureQueriesContext(connection) as queries:
            found = superuser.get(PARKED).json()["results"]
        counts.append((len(found), len(queries)))
    assert [found for found, _ in counts] == [9, 18]
    assert counts[0][1] == counts[1][1]


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"state": "lost"}, "invalid"),
        ({"state": ""}, "invalid"),
        ({"subscription": "a\x00b"}, "invalid"),
        ({"error__startswith": "V"}, "unknown"),
        ({"segment__subscription": NAME}, "unknown"),
        ({"after": "x"}, "invalid"),
    ],
)
def test_what_parked_events_cannot_be_filtered_by_is_refused(
    superuser: APIClient, parameters: dict[str, str], code: str
) -> None:
    problem_of(superuser.get(PARKED, parameters), 400, code)


def test_a_parked_event_is_retried_and_skipped_by_its_id(operator: APIClient) -> None:
    parked = one_parked()
    address = f"{PARKED}{parked.pk}/"
    before = operator.get(address).json()
    again = operator.post(f"{address}retry/", {"reason": "mended"})
    assert (again.status_code, again.json()["attempts"], again.json()["state"]) == (200, 0, "failed")
    assert again.json()["retry_at"] < before["retry_at"]
    given_up = operator.post(f"{address}skip/", {"reason": "of no use"})
    assert (given_up.status_code, given_up.content) == (204, b"")
    problem_of(operator.get(address), 404, "not_found")
    problem_of(operator.post(f"{address}skip/", {"reason": "twice"}), 404, "not_found")
    assert [(what, why) for what, _, why in acts()] == [
        ("parked_events_retried", "mended"),
        ("event_skipped", "of no use"),
    ]


@pytest.mark.parametrize("identity", ["0", "x", str(2**63), "-1", "1.5"])
def test_a_parked_event_that_does_not_exist_is_not_found(operator: APIClient, identity: str) -> None:
    problem_of(operator.get(f"{PARKED}{identity}/"), 404, "not_found")
    problem_of(operator.post(f"{PARKED}{identity}/retry/", {"reason": "r"}), 404, "not_found")
