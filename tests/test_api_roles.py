"""Who may do what: each role at each address by each method is answered as the table says, and no other effect is had.

The addresses come from the URLconf of the demo: one without a row fails, and so does a row without an address.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.db import transaction

from eventsourcing_app.subscriptions.health import recent_health
from tests.api_bank import OWNER, SECRETS, Bank
from tests.api_client import PROBLEM, problem_of
from tests.api_roles import (
    METHODS,
    ROLES,
    addresses,
    cells,
    client_by,
    customers_see_their_own,
    users,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.contrib.auth.models import User
    from rest_framework.test import APIClient

pytestmark = pytest.mark.django_db
SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")


@pytest.fixture(autouse=True)
def visibility(db: None) -> Iterator[None]:
    recent_health.forget()
    with customers_see_their_own():
        yield
    recent_health.forget()


@pytest.fixture
def bank() -> Bank:
    return Bank()


@pytest.fixture
def everybody() -> dict[str, User]:
    return users()


class Answer:
    """What was answered, and what became of the bank."""

    def __init__(self, client: APIClient, bank: Bank, name: str, method: str) -> None:
        path, body = bank.path_of(name, addresses()[name]), bank.body_of(name)
        with transaction.atomic():
            self.response: Any = client.generic(method, path, json.dumps(body), content_type="application/json")
            response: Any = self.response
            content = b"".join(response.streaming_content) if response.streaming else response.content
            self.has_changed = bank.shape() != bank.before
            transaction.set_rollback(True)
        self.status = response.status_code
        # The documentation is a page for browsers: what it answers is text for people.
        self.is_problem = name == "docs" or response.headers.get("Content-Type") == PROBLEM
        headers = "\n".join(f"{each}: {value}" for each, value in response.headers.items())
        self.text = content.decode() + headers


def test_each_address_and_method_has_a_row_and_each_row_an_address() -> None:
    rows = defaultdict[tuple[str, str], list[str]](list)
    for cell in cells():
        rows[cell.name, cell.method].append(cell.role)
    assert sorted(rows) == sorted((name, method) for name in addresses() for method in METHODS)
    assert all(tuple(roles) == ROLES for roles in rows.values()), "one row each"


# How one logs in is the same on every database; half of it is enough of the slowest test there is.
@pytest.mark.parametrize("how", ["token", pytest.param("session", marks=pytest.mark.needs_postgres)])
@pytest.mark.parametrize("role", ROLES)
def test_each_role_is_answered_as_the_table_says_and_what_is_refused_has_no_effect(
    role: str, how: str, bank: Bank, everybody: dict[str, User]
) -> None:
    client = client_by(how, everybody.get(role))
    wrong: list[Any] = []
    for cell in cells():
        if cell.role != role:
            continue
        answer = Answer(client, bank, cell.name, cell.method)
        leaked = [each for each in SECRETS if each in answer.text]
        may_see = role != "other" and answer.status < 400
        expected = cell.method == "POST" and cell.status < 300
        if answer.status != cell.status or answer.has_changed is not expected or (leaked and not may_see):
            wrong.append((cell, answer.status, answer.has_changed, leaked))
        if answer.status >= 400 and cell.method != "HEAD" and not answer.is_problem:
            wrong.append((cell, "no problem", answer.response["Content-Type"], answer.text[:100]))
    assert not wrong


def test_a_session_without_its_csrf_token_can_change_nothing(bank: Bank, everybody: dict[str, User]) -> None:
    for role, user in everybody.items():
        client = client_by("session without its token", user)
        for cell in cells():
            if cell.role == role and cell.method not in SAFE and cell.name != "health":
                answer = Answer(client, bank, cell.name, cell.method)
                assert (answer.status, answer.has_changed) == (403, False), cell
                assert answer.is_problem


# Another customer's object is as one that does not exist


def told(response: Any) -> dict[str, Any]:
    body = json.loads(response.content)
    return {"status": response.status_code} | {
        name: value for name, value in body.items() if name not in ("instance", "correlation_id")
    }


OBJECTS = sorted(
    (name, method)
    for name, path in addresses().items()
    for method in METHODS
    if "(?P<" in path and name.startswith(("account", "event-detail", "dailytotal", "parked", "subscription"))
)


@pytest.mark.parametrize("role", ["other", "operator", "customer"])
def test_nobody_can_tell_what_is_hidden_from_what_does_not_exist(
    role: str, bank: Bank, everybody: dict[str, User]
) -> None:
    client = client_by("token", everybody[role])
    for name, method in OBJECTS:
        path, body = addresses()[name], json.dumps(bank.body_of(name))
        absent: object = uuid4() if name.startswith("account") else "987654"
        hidden: object = bank.foreign.pk if role == "customer" and name.startswith("account") else None
        if role == "customer" and name == "event-detail":
            hidden = bank.foreign.history()[0].position
        if hidden is None and (role == "customer" or (role == "operator" and name.startswith(("parked", "subsc")))):
            continue  # it is there for that role
        answers = [
            client.generic(method, bank.path_of(name, path, key=key), body, content_type="application/json")
            for key in (hidden, absent)
        ]
        if method == "HEAD":
            assert answers[0].status_code == answers[1].status_code
            assert answers[0].headers.keys() == answers[1].headers.keys()
        elif answers[0].status_code != 200:  # OPTIONS, to whoever may see the like
            assert told(answers[0]) == told(answers[1]), (name, method)


def test_nor_can_a_transfer_or_a_batch_tell_them_apart(bank: Bank, everybody: dict[str, User]) -> None:
    client, own = client_by("token", everybody["other"]), str(bank.foreign.pk)
    before = bank.shape()
    answers = [
        (
            client.post("/api/v1/transfers/", {"source": own, "target": key, "amount": "1"}, format="json"),
            client.post("/api/v1/transfers/", {"source": key, "target": own, "amount": "1"}, format="json"),
            client.post("/api/v1/batch/", bank.body_of("batch-list", of=key), format="json"),
        )
        for key in (bank.main.pk, uuid4())
    ]
    for hidden, absent in zip(*answers, strict=True):
        assert told(hidden) == told(absent)
    problem_of(answers[0][0], 400, "invalid")
    problem_of(answers[0][2], 404, "not_found")
    assert bank.shape() == before


def test_what_other_customers_have_changes_no_list_and_no_length_of_an_answer(
    bank: Bank, everybody: dict[str, User]
) -> None:
    client = client_by("token", everybody["other"])
    before = client.get("/api/v1/accounts/?limit=1").content
    questions = (f"owner={OWNER}", "search=king", "order=balance", "order=-balance", "status=frozen")
    for question in questions:
        rows = client.get(f"/api/v1/accounts/?{question}").json()["results"]
        assert {row["owner"] for row in rows} <= {"bob"}, question
    bank.account(OWNER, "ACC-MORE", "3")
    assert client.get("/api/v1/accounts/?limit=1").content == before
