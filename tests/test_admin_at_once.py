"""Two people, or two clicks of one, at the same moment: what the admin does, it does once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.db import connections

from eventsourcing_app.models import StoredEvent, Subscription
from tests.admin_client import client_with
from tests.samples.factories import WAIT, open_wallet

if TYPE_CHECKING:
    from django.test import Client

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.needs_postgres]


@pytest.fixture(autouse=True)
def no_workers(settings: Any) -> None:
    settings.EVENTSOURCING = {"DISPATCHER": "none"}


def at_once(clients: tuple[Client, Client], address: str, body: dict[str, str]) -> list[int]:
    """Send the same form twice, and return how both were answered."""
    together = Barrier(2)

    def send(client: Client) -> int:
        try:
            together.wait(WAIT)
            return client.post(address, body).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as threads:
        return sorted(threads.map(send, clients))


def test_of_two_operators_who_act_at_once_one_is_told_what_the_other_did() -> None:
    Subscription.objects.create(name="t.at_once", kind=Subscription.Kind.SUBSCRIBER)
    operates = ("view_subscription", "operate_subscription")
    both = client_with(*operates), client_with(*operates)
    address = "/admin/eventsourcing_app/subscription/t.at_once/act/pause/"
    assert at_once(both, address, {"reason": "To try it", "seen": "active 0"}) == [302, 409]
    assert StoredEvent.objects.filter(stream_key="t.at_once").count() == 1


@pytest.mark.urls("tests.test_admin")
def test_one_form_that_comes_twice_at_once_acts_once() -> None:
    wallet = open_wallet("Ada", 5)
    teller = client_with("view_wallet", "change_wallet")
    address = f"/admin/samples/wallet/{wallet.pk}/command/add/"
    body = {"_es_key": str(uuid4()), "_es_version": str(wallet.version), "amount": "1"}
    assert at_once((teller, teller), address, body) == [302, 302]
    assert wallet.history().count() == 3


@pytest.mark.urls("tests.test_admin")
def test_of_two_forms_about_the_same_version_one_is_a_conflict() -> None:
    wallet = open_wallet("Ada", 5)
    teller = client_with("view_wallet", "change_wallet")
    address = f"/admin/samples/wallet/{wallet.pk}/command/add/"
    together = Barrier(2)

    def send(key: str) -> int:
        try:
            together.wait(WAIT)
            body = {"_es_key": key, "_es_version": str(wallet.version), "amount": "1"}
            return teller.post(address, body).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(send, (str(uuid4()), str(uuid4())))) == [302, 409]
    assert wallet.history().count() == 3
