"""What is asked over HTTP costs as many queries with little stored as with much."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from demo_bank.models import Account, DailyTotal
from eventsourcing_app import context
from eventsourcing_app.models import StoredEvent
from tests.api_client import client_of

pytestmark = pytest.mark.django_db

READS = {
    "list": "accounts/",
    "ordered list": "accounts/?order=-balance,number&status=open&search=a",
    "state": "accounts/{pk}/",
    "state of the past": "accounts/{pk}/?version=2",
    "state of a moment": "accounts/{pk}/?when={now}",
    "difference": "accounts/{pk}/diff/?since=1",
    "trail": "accounts/{pk}/events/",
    "log": "events/?order=-position",
    "filtered log": "events/?type=bank.money_deposited&stream_type=bank.account&stream_key={pk}&actor=user:7",
    "event": "events/{position}/",
    "event types": "event-types/",
    "read model": "daily-totals/",
    "subscriptions": "subscriptions/",
    "parked events": "parked/",
}
COMMANDS: dict[str, tuple[str, dict[str, Any]]] = {
    "creation": ("accounts/", {"owner": "Zoë"}),
    "command": ("accounts/{pk}/deposit/", {"amount": "1.00"}),
    "flow": ("transfers/", {"source": "{pk}", "target": "{other}", "amount": "1.00"}),
}


@pytest.fixture
def root() -> APIClient:
    return client_of(User.objects.create_superuser("root"))


def stored(accounts: int, deposits: int) -> dict[str, str]:
    """So many accounts, the first of them with so many deposits, all caused by one event; what the addresses need."""
    with context(actor="user:7"):
        pks = [Account.objects.perform_new(Account.open, owner=f"Ada {number}").pk for number in range(accounts)]
        first = StoredEvent.objects.earliest("position")
        with context(causation_id=first.event_id, correlation_id=first.correlation_id):
            for _ in range(deposits):
                Account.objects.perform(pks[0], Account.deposit, amount=Decimal("5.00"))
    day = timezone.now().date()
    DailyTotal.objects.bulk_create(
        DailyTotal(day=day, currency=f"{number:03}", deposits=number) for number in range(accounts)
    )
    facts = {
        "pk": pks[0],
        "other": pks[1],
        "position": first.position,
        "now": f"{timezone.now():%Y-%m-%dT%H:%M:%S.%fZ}",
    }
    return {name: str(value) for name, value in facts.items()}


def counted(client: APIClient, method: str, address: str, body: Any = None) -> int:
    with CaptureQueriesContext(connection) as queries:
        response = getattr(client, method)(f"/api/v1/{address}", body)
        content = b"".join(response.streaming_content) if response.streaming else response.content
    assert response.status_code in (200, 201), content
    return len(queries)


def filled(value: Any, facts: dict[str, str]) -> Any:
    return {name: text.format(**facts) for name, text in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("what", [*READS, *COMMANDS])
def test_it_costs_as_many_queries_with_much_stored(what: str, root: APIClient) -> None:
    address, body = (READS[what], None) if what in READS else COMMANDS[what]
    method = "get" if what in READS else "post"
    counts = []
    for accounts, deposits in ((2, 3), (9, 30)):
        facts = stored(accounts, deposits)
        counted(root, method, address.format(**facts), filled(body, facts))  # permissions and types are known now
        counts.append(counted(root, method, address.format(**facts), filled(body, facts)))
        DailyTotal.objects.all().delete()
    assert counts[0] == counts[1]
