"""Wherever a page tells who did something and when, it says the name and the exact time, to those who may see both."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from demo_bank.models import Account
from eventsourcing_app import context
from eventsourcing_app.models import Segment, StoredEvent, Subscription
from eventsourcing_app.subscriptions import acts
from tests.admin_client import EVENTS, client_with, text_of

pytestmark = pytest.mark.django_db

NAMED = re.compile(r'user:\d+</a> \(<a href="/admin/auth/user/\d+/change/">Ada Byron</a>\)')
EXACT = re.compile(r"<time [^>]*>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC</time>")


@pytest.fixture
def account() -> Account:
    """What Ada has done: three events of an account."""
    ada = User.objects.create_user("ada", first_name="Ada", last_name="Byron")
    with context(actor=f"user:{ada.pk}"):
        pk = Account.objects.perform_new(Account.open, owner="Eve", number="DE01").pk
        for amount in (20, 30):
            Account.objects.perform(pk, Account.deposit, amount=Decimal(amount))
    account: Account = Account.objects.get(pk=pk)
    return account


@pytest.fixture
def acted(account: Account) -> StoredEvent:
    """An event that Ada has told a subscription to give up."""
    event: StoredEvent = account.history()[1]
    row = Subscription.objects.create(name="t.skipped", kind="subscriber", types=[event.type])
    Segment.objects.create(subscription=row, checkpoint=event.position)
    with context(actor=event.actor):
        acts.record_act(
            acts.EventSkipped(
                subscription="t.skipped",
                reason="It cannot be mended.",
                position=event.position,
                event_id=event.event_id,
                type=event.type,
            )
        )
    return event


def told_of(page: str) -> tuple[bool, bool]:
    return NAMED.search(page) is not None, EXACT.search(page) is not None


@pytest.mark.parametrize("address", [EVENTS, f"{EVENTS}?live=1", "{account}/change/", "{account}/history/"])
def test_lists_of_events_name_people_and_say_when(address: str, root: Client, account: Account) -> None:
    page = text_of(root.get(address.format(account=f"/admin/demo_bank/account/{account.pk}")))
    assert told_of(page) == (True, True)
    assert len(NAMED.findall(page)) == 3


def test_the_live_tail_names_people_as_the_list_does(root: Client, account: Account) -> None:
    answer = json.loads(text_of(root.get(f"{EVENTS}tail/?after=0")))
    assert [told_of(row["html"]) for row in answer["rows"]] == [(True, True)] * 3


def test_a_past_state_names_who_made_it(root: Client, account: Account) -> None:
    assert NAMED.search(text_of(root.get(f"/admin/demo_bank/account/{account.pk}/past/?version=2&part=1")))


def test_what_happened_meanwhile_names_people_and_says_when(root: Client, account: Account) -> None:
    address = f"/admin/demo_bank/account/{account.pk}/command/deposit/"
    sent: dict[str, Any] = {"_es_key": str(uuid4()), "_es_version": "2", "amount": "5"}
    page = text_of(root.post(address, sent), 409)
    event = account.history().latest("version")
    assert told_of(page) == (True, True)
    assert f'<a href="{EVENTS}{event.position}/change/">Event {event.position}</a>' in page


def test_acts_of_operators_name_people_and_say_when(root: Client, acted: StoredEvent) -> None:
    subscription = text_of(root.get("/admin/eventsourcing_app/subscription/t.skipped/change/"))
    assert told_of(subscription[subscription.index('id="es-last-acts"') :]) == (True, True)
    delivery = text_of(root.get(f"{EVENTS}{acted.position}/change/")).partition('id="es-deliveries"')[2]
    assert told_of(delivery) == (True, True)
    assert told_of(text_of(root.get(f"{EVENTS}operators/"))) == (True, True)


def test_people_are_looked_up_once_a_page(root: Client, account: Account, acted: StoredEvent) -> None:
    for address in (EVENTS, f"{EVENTS}{acted.position}/change/", f"/admin/demo_bank/account/{account.pk}/history/"):
        with CaptureQueriesContext(connection) as queries:
            assert NAMED.search(text_of(root.get(address)))
        asked = [query["sql"] for query in queries if 'FROM "auth_user"' in query["sql"] and " IN (" in query["sql"]]
        assert len(asked) == 1, address


def test_who_may_not_see_users_sees_no_names(account: Account) -> None:
    reader = client_with("view_storedevent", "view_account")
    for address in (EVENTS, f"/admin/demo_bank/account/{account.pk}/history/"):
        page = text_of(reader.get(address))
        assert account.history()[0].actor in page
        assert "Ada Byron" not in page


def test_the_links_of_a_trail_say_where_they_lead(root: Client, account: Account) -> None:
    address = f"/admin/demo_bank/account/{account.pk}/"
    page, event = text_of(root.get(f"{address}history/")), account.history()[1]
    assert f'<a href="{EVENTS}{event.position}/change/">Event {event.position}</a>' in page
    past = re.search(rf'<a href="{address}past/\?version=2[^"]*">(.*?)</a>', page)
    assert past is not None
    assert re.sub(r"<[^>]+>", "", past[1]) == "State then, version 2"
    assert "<a" not in "".join(re.findall(r'<th scope="row">(.*?)</th>', page))
