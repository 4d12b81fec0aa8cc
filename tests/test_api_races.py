"""Sixteen clients at once, against a real server: a key acts once, and a version is moved on by one of them only."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from django.contrib.auth.models import User
from rest_framework.authtoken.models import Token

from demo_bank.models import Account
from eventsourcing_app.aggregates.records import StoredReceipt
from tests.web_server import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.django_db(transaction=True)]

CLIENTS, ROUNDS = 16, 3


@pytest.fixture(params=["gunicorn", pytest.param("uvicorn", marks=pytest.mark.needs_postgres)])
def address(request: pytest.FixtureRequest, child_env: dict[str, str], tmp_path: Path) -> Iterator[str]:
    with serving(request.param, child_env, tmp_path / "server.log") as address:
        yield address


@pytest.fixture
def account() -> Account:
    account = Account()
    account.open(owner="Ada")
    account.deposit(Decimal(1000))
    account.save()
    return account


@pytest.fixture
def token() -> str:
    return str(Token.objects.create(user=User.objects.create_superuser("root")).key)


def at_once(address: str, token: str, request: Callable[[httpx.Client, int], Any]) -> list[Any]:
    """What each of the clients gets, when all of them ask at the same moment."""
    barrier = Barrier(CLIENTS)

    def one(number: int) -> Any:
        headers = {"Authorization": f"Token {token}"}
        with httpx.Client(base_url=f"{address}/api/v1", headers=headers, timeout=50) as client:
            client.get("/accounts/")  # connected
            barrier.wait(50)
            return request(client, number)

    with ThreadPoolExecutor(CLIENTS) as clients:
        return list(clients.map(one, range(CLIENTS)))


def until_answered(
    client: httpx.Client, path: str, body: dict[str, Any], key: str
) -> tuple[Counter[str], httpx.Response]:
    """Repeat a request as a careful client does: while another one is under way, or the server is busy."""
    seen = Counter[str]()
    while True:
        response = client.post(path, json=body, headers={"Idempotency-Key": key})
        if response.status_code < 300:
            return seen, response
        seen[response.json()["code"]] += 1
        assert "Retry-After" in response.headers, response.text


def test_a_key_acts_once_and_everybody_gets_its_answer(address: str, token: str, account: Account) -> None:
    def ask(client: httpx.Client, _number: int) -> list[Any]:
        path = f"/accounts/{account.pk}/deposit/"
        return [until_answered(client, path, {"amount": "1.00"}, f"key-{turn}") for turn in range(ROUNDS)]

    answers = at_once(address, token, ask)
    for turn in range(ROUNDS):
        of_turn = [each[turn][1] for each in answers]
        assert len({response.content for response in of_turn}) == 1
        assert Counter(response.headers.get("Idempotency-Replayed") for response in of_turn)[None] == 1
    refused = sum((seen for each in answers for seen, _response in each), Counter[str]())
    assert set(refused) <= {"idempotency_key_in_flight", "busy"}
    assert StoredReceipt.objects.count() == ROUNDS
    assert Account.objects.get(pk=account.pk).balance == 1000 + ROUNDS


def test_of_those_who_have_seen_the_same_version_one_goes_on(address: str, token: str, account: Account) -> None:
    def ask(client: httpx.Client, _number: int) -> list[int]:
        path, headers = f"/accounts/{account.pk}/withdraw/", {"If-Match": '"2"'}
        return [client.post(path, json={"amount": "1.00"}, headers=headers).status_code for _turn in range(3)]

    codes = Counter(code for each in at_once(address, token, ask) for code in each)
    assert codes == {200: 1, 412: CLIENTS * 3 - 1}
    assert Account.objects.get(pk=account.pk).balance == 999


def test_money_that_moves_both_ways_is_neither_made_nor_lost(address: str, token: str, account: Account) -> None:
    other = Account()
    other.open(owner="Bob")
    other.deposit(Decimal(1000))
    other.save()

    def ask(client: httpx.Client, number: int) -> None:
        one, two = (account, other) if number % 2 else (other, account)
        for turn in range(ROUNDS):
            body = {"source": str(one.pk), "target": str(two.pk), "amount": f"{number + 1}.00"}
            until_answered(client, "/transfers/", body, f"{number}-{turn}")
            call = {"stream_type": Account.stream_type, "command": "deposit", "arguments": {"amount": "1.00"}}
            calls = [{**call, "stream_key": str(each.pk)} for each in (one, two)]
            until_answered(client, "/batch/", {"commands": calls}, f"{number}-{turn}")

    at_once(address, token, ask)
    balances = [Account.objects.get(pk=each.pk).balance for each in (account, other)]
    moved = sum((number + 1) * (1 if number % 2 else -1) for number in range(CLIENTS)) * ROUNDS
    deposited = CLIENTS * ROUNDS
    assert balances == [1000 - moved + deposited, 1000 + moved + deposited]
