"""Whoever may not see payloads learns nothing of them: not at any address of the demo, not by asking, not by length."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, transaction
from django.test import Client

from eventsourcing_app.log import clock
from eventsourcing_app.models import Segment, StoredEvent, Subscription
from eventsourcing_app.testing import append_only_lifted
from tests.api_bank import MARKER, Bank
from tests.api_client import user_with
from tests.api_roles import BLIND, METHODS, addresses, client_by, customers_see_their_own

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.contrib.auth.models import User
    from pytest_django import Settings

pytestmark = pytest.mark.django_db

ACTS = ("demo_bank.add_account", "demo_bank.change_account", "eventsourcing_app.operate_subscription")
PAYLOAD = "eventsourcing_app.view_payload"
ADMIN = "/admin/eventsourcing_app"
PAGES = (
    f"{ADMIN}/storedevent/",
    f"{ADMIN}/storedevent/?q={{key}}",
    f"{ADMIN}/storedevent/{{position}}/change/",
    f"{ADMIN}/subscription/",
    f"{ADMIN}/subscription/bank.audit/change/",
    f"{ADMIN}/parkedevent/",
    f"{ADMIN}/parkedevent/{{parked}}/change/",
    "/admin/demo_bank/account/{key}/history/",
)
EVENTS = (
    "/api/v1/events/",
    "/api/v1/events/?order=-position",
    "/api/v1/events/?type=bank.money_deposited",
    "/api/v1/events/?format=csv",
    "/api/v1/events/?format=ndjson",
    "/api/v1/events/?format=api",
    "/api/v1/events/{position}/",
    "/api/v1/events/{position}/?format=api",
    "/api/v1/events/stream/?after_position=0",
    "/api/v1/accounts/{key}/events/",
    "/api/v1/accounts/{key}/diff/",
    "/api/v1/accounts/{key}/?version=1",
)


@pytest.fixture(autouse=True)
def visibility(db: None) -> Iterator[None]:
    with customers_see_their_own():
        yield


@pytest.fixture
def bank() -> Bank:
    bank = Bank()
    Subscription.objects.filter(name="bank.audit").update(status="halted", status_reason=MARKER)
    return bank


def staff(*more: str, name: str) -> User:
    user = user_with(*BLIND, *ACTS, *more, name=name)
    user.is_staff = True
    user.save()
    return user


ANEW = re.compile(
    r'csrf(?:middlewaretoken" value=|Token": )"\w+|Expires: .*|'
    r'"?(?i:x-correlation-id|correlation_id)"?:(?:</b> <span class="lit">| ?(?:"|&quot;)?)[\w-]+'
)


def whole(response: Any) -> str:
    """Headers and body, without what is another one at each request."""
    content = b"".join(response.streaming_content) if response.streaming else response.content
    headers = "\n".join(f"{name}: {value}" for name, value in response.items())
    return ANEW.sub("", f"{headers}\n\n{content.decode()}")


def filled(address: str, bank: Bank) -> str:
    return address.format(key=bank.main.pk, position=bank.position, parked=bank.parked.pk)


def asked(user: User, bank: Bank, name: str, method: str) -> str:
    """Ask an address with the marker wherever a body can have it, and undo what it does."""
    body: Any = {key: MARKER if key in ("reason", "reference") else value for key, value in bank.body_of(name).items()}
    if name in ("account-deposit", "account-withdraw", "transfer-list"):
        body["reference"] = MARKER
    for call in body.get("commands", ()):
        call["arguments"]["reference"] = MARKER
    url = bank.path_of(name, addresses()[name])
    with transaction.atomic():
        client = client_by("token", user)
        found = whole(client.generic(method, url, json.dumps(body), content_type="application/json"))
        transaction.set_rollback(True)
    return found


# What operators say themselves, they may read again: it is no payload of what failed.
SAID = {"subscription-pause", "subscription-resume"}
QUOTED = {
    *("event-list", "event-detail", "event-stream", "account-events"),
    *("account-deposit", "account-withdraw", "account-freeze", "transfer-list", "batch-list"),
    *("subscription-list", "subscription-detail", "parked-list", "parked-detail", "parked-retry"),
}
"""The addresses that show a payload or what may quote one, to who may see it."""


def test_no_answer_holds_what_is_in_payloads(bank: Bank) -> None:
    blind, seeing = staff(name="blind"), staff(PAYLOAD, name="seeing")
    shows = set()
    for name in addresses():
        for method in METHODS:
            assert name in SAID or MARKER not in asked(blind, bank, name, method), (name, method)
            if MARKER in asked(seeing, bank, name, method):
                shows.add(name)
    assert shows >= QUOTED


@pytest.mark.parametrize("page", PAGES)
def test_no_page_of_the_admin_holds_it(page: str, bank: Bank) -> None:
    answers = []
    for user in (staff(name="blind"), staff(PAYLOAD, name="seeing")):
        client = Client()
        client.force_login(user)
        response = client.get(filled(page, bank))
        assert response.status_code == 200
        answers.append(whole(response))
    assert MARKER not in answers[0]
    assert MARKER in answers[1]


@pytest.mark.parametrize("field", ["data", "metadata", "last_error", "error", "reason", "status_reason", "payload"])
@pytest.mark.parametrize("place", ["events", "parked", "subscriptions", "accounts"])
def test_nothing_can_be_asked_of_it(place: str, field: str, bank: Bank) -> None:
    client = client_by("token", staff(name="blind"))
    lookups = ("", "__contains", "__startswith", "__reference", "__regex")
    questions = [f"{field}{lookup}={MARKER}" for lookup in lookups] + [f"order={field}", f"order=-{field}"]
    for question in questions:
        response = client.get(f"/api/v1/{place}/?{question}")
        assert response.status_code == 400, question
        assert MARKER not in whole(response)


def test_an_answer_is_the_same_whatever_the_payload_is(bank: Bank, settings: Settings) -> None:
    moment = clock.now()  # pages say how long ago things were
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "CLOCK": lambda: moment}
    user = staff(name="blind")
    by_token, by_session = client_by("token", user), client_by("session", user)

    def everything() -> dict[str, str]:
        found = {url: whole(by_token.get(filled(url, bank))) for url in EVENTS}
        found |= {url: whole(by_session.get(filled(url, bank))) for url in PAGES}
        return found

    before = everything()
    with append_only_lifted(), connection.cursor() as cursor:
        longer = json.dumps({"amount": "1.00", "currency": "EUR", "reference": "x" * 2_000})
        cursor.execute(f'UPDATE "{StoredEvent._meta.db_table}" SET data = %s, metadata = %s', [longer, longer])
    Segment.objects.update(last_error="y" * 2_000)
    after = everything()
    for url, answer in before.items():
        assert answer.splitlines() == after[url].splitlines(), url


# Repetitions


REQUESTS = ("account-deposit", "transfer-list", "batch-list")


def payloads_in(response: Any) -> list[Any]:
    body = response.json()
    parts = [body, *body.get("results", ())]
    return [event["data"] for part in parts for event in part.get("events", ())]


@pytest.mark.parametrize("name", REQUESTS)
def test_a_repetition_shows_no_more_than_its_user_may_see_by_then(name: str, bank: Bank) -> None:
    user = staff(PAYLOAD, name="teller")
    url, body = bank.path_of(name, addresses()[name]), bank.body_of(name)

    def post() -> Any:
        client = client_by("token", user)
        return client.post(url, body, format="json", headers={"Idempotency-Key": "1"})

    first, again = post(), post()
    assert all(payloads_in(first))
    assert first.content == again.content
    granted = user.user_permissions.get(codename="view_payload")
    user.user_permissions.remove(granted)
    masked = post()
    assert masked.headers["Idempotency-Replayed"] == "true"
    assert not any(payloads_in(masked))
    for each in ("data", "metadata", "hash"):
        assert f'"{each}":{{' not in masked.content.decode()
    assert masked.json().get("state") == first.json().get("state")
    user.user_permissions.add(granted)
    assert post().content == first.content


@pytest.mark.parametrize("name", REQUESTS)
def test_a_repetition_shows_no_more_than_the_first_answer_did(name: str, bank: Bank) -> None:
    user = staff(name="teller")
    url, body = bank.path_of(name, addresses()[name]), bank.body_of(name)
    headers = {"Idempotency-Key": "1"}
    first = client_by("token", user).post(url, body, format="json", headers=headers)
    user.user_permissions.add(*staff(PAYLOAD, name="seeing").user_permissions.all())
    assert client_by("token", user).post(url, body, format="json", headers=headers).content == first.content
    assert not any(payloads_in(first))
