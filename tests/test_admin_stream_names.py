"""Events are told with the names of their aggregates, to those who may see these, and by one query for each model."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import path

from demo_bank.models import Account
from eventsourcing_app import context
from eventsourcing_app.admin import EventSourcedAdmin, StoredEventAdmin
from eventsourcing_app.models import StoredEvent
from tests.admin_client import EVENTS, READS, SEES, client_with, text_of
from tests.samples.factories import open_wallet, run_sql
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest


class OwnAccounts(EventSourcedAdmin[Account]):
    """Shows no account of Bob's, and of those of Mallory none on its own page."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Account]:
        return super().get_queryset(request).exclude(owner="Bob")

    def has_view_permission(self, request: HttpRequest, obj: Account | None = None) -> bool:
        return super().has_view_permission(request, obj) and (obj is None or obj.owner != "Mallory")


site = admin.AdminSite()
site.register(StoredEvent, StoredEventAdmin)
site.register(Account, OwnAccounts)
site.register(Wallet, EventSourcedAdmin)
urlpatterns = [path("admin/", site.urls)]
pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]
TELLS = "view_account"


def account(owner: str, number: str, *, correlation_id: str = "the request") -> Account:
    with context(correlation_id=correlation_id):
        receipt = Account.objects.perform_new(Account.open, owner=owner, number=number, currency="EUR")
        cause = StoredEvent.objects.latest("position").event_id
        with context(causation_id=cause):
            Account.objects.perform(receipt.pk, Account.deposit, amount=Decimal(5), reference="r")
    return Account.objects.get(pk=receipt.pk)


@pytest.fixture
def ada(db: None) -> Account:
    return account("Ada <b>", "DE01")


def pages(pk: object) -> dict[str, str]:
    position = StoredEvent.objects.filter(stream_key=str(pk)).earliest("position").position
    return {
        "list": EVENTS,
        "tail": f"{EVENTS}tail/?after=0",
        "event": f"{EVENTS}{position}/change/",
        "correlation": f"{EVENTS}correlation/?id=the+request",
    }


def said(response: Any) -> str:
    """What a page or the tail says, as HTML."""
    if response.headers["Content-Type"] == "application/json":
        return "".join(row["html"] for row in response.json()["rows"])
    return text_of(response)


@pytest.mark.parametrize("page", ["list", "tail", "event", "correlation"])
def test_an_event_is_told_with_the_name_of_its_aggregate_to_who_may_see_that(page: str, ada: Account) -> None:
    url, key = pages(ada.pk)[page], str(ada.pk)
    seeing, other = client_with(SEES, TELLS, name="seeing"), client_with(SEES, READS, name="other")
    text = said(seeing.get(url))
    assert f'<span title="{key}">DE01 (Ada &lt;b&gt;)</span>' in text
    assert f'href="/admin/demo_bank/account/{key}/change/"' in text
    assert "(Ada" not in said(other.get(url))


def test_the_page_of_an_event_tells_the_whole_key_beside_the_name(ada: Account) -> None:
    text = text_of(client_with(SEES, TELLS).get(pages(ada.pk)["event"]))
    assert f"{ada.pk}, DE01 (Ada &lt;b&gt;)</a>" in text


@pytest.mark.parametrize("owner", ["Bob", "Mallory"])
def test_what_the_admin_keeps_from_the_viewer_is_not_named(owner: str, ada: Account) -> None:
    hidden = account(owner, "DE02")
    client = client_with(SEES, TELLS)
    for url in {*pages(ada.pk).values(), *pages(hidden.pk).values()}:
        text = said(client.get(url))
        assert owner not in text, url
        assert "DE02" not in text, url


def test_what_has_no_name_or_no_row_or_no_model_here_goes_by_its_key(ada: Account) -> None:
    wallet = open_wallet("Ada")
    gone = account("Cleo", "DE03")
    run_sql("DELETE FROM demo_bank_account")
    text = text_of(client_with(SEES, TELLS, "view_wallet").get(EVENTS))
    assert "Wallet object" not in text
    assert "Cleo" not in text
    for key in (wallet.pk, gone.pk, ada.pk):
        assert f'<span title="{key}">…{str(key)[-8:]}</span>' in text


def test_a_name_that_cannot_be_told_breaks_no_page(
    ada: Account, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_account: Account) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(Account, "__str__", fail)
    client = client_with(SEES, TELLS)
    for url in pages(ada.pk).values():
        assert str(ada.pk) in said(client.get(url)), url
    assert "The name of a Account could not be told." in caplog.text


def test_names_take_one_query_for_each_model_however_many_there_are(ada: Account) -> None:
    client = client_with(SEES, TELLS)

    def counted() -> int:
        with CaptureQueriesContext(connection) as queries:
            text_of(client.get(EVENTS))
        return len([each for each in queries.captured_queries if 'FROM "demo_bank_account"' in each["sql"]])

    counted()  # types of contents are known now
    assert counted() == 1
    for number in range(4, 8):
        account("Ada", f"DE0{number}")
    assert counted() == 1
