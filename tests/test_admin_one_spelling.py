"""An amount, a moment and a time that has come are said in one way, on whichever page of the admin they stand."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import path

from demo_bank.admin import AccountAdmin
from demo_bank.models import Account
from eventsourcing_app.admin import EventSourcedAdmin, StoredEventAdmin
from eventsourcing_app.admin.plot import plot
from eventsourcing_app.admin.times import both, due, relative
from eventsourcing_app.admin.values import value_of_field
from eventsourcing_app.log import clock
from eventsourcing_app.models import StoredEvent
from tests.admin_client import text_of
from tests.samples.catalogue import Article
from tests.samples.habits import Specimen

if TYPE_CHECKING:
    from eventsourcing_app.aggregates.model import EventSourcedModel

site = admin.AdminSite()
site.register(StoredEvent, StoredEventAdmin)
site.register(Account, AccountAdmin)
site.register(Specimen, EventSourcedAdmin)
urlpatterns = [path("admin/", site.urls)]

MOMENT = datetime(2026, 1, 1, 2, 0, tzinfo=UTC)


@pytest.fixture
def root(db: None, settings: Any) -> Client:
    settings.ROOT_URLCONF = __name__
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def words_of(html: str) -> str:
    """What is read on a page."""
    return " ".join(re.sub(r"<[^>]+>", " ", html.replace("<wbr>", "")).split())


def page_of(client: Client, aggregate: EventSourcedModel, page: str) -> str:
    options = aggregate._meta
    return words_of(
        text_of(client.get(f"/admin/{options.app_label}/{options.model_name}/{aggregate.pk}/{page}", follow=True))
    )


@pytest.fixture
def rich(db: None) -> Account:
    pk = Account.objects.perform_new(Account.open, owner="Ada", number="DE01").pk
    Account.objects.perform(pk, Account.deposit, amount=Decimal("14161.94"))
    Account.objects.perform(pk, Account.deposit, amount=Decimal("2400.00"))
    return Account.objects.get(pk=pk)


def test_the_page_of_an_event_says_amounts_before_after_and_in_between_alike(root: Client, rich: Account) -> None:
    event = rich.history()[2]
    page = words_of(text_of(root.get(f"/admin/eventsourcing_app/storedevent/{event.position}/change/")))
    assert "Amount 2,400.00 EUR" in page
    assert "14,161.94 EUR 16,561.94 EUR" in page


def test_state_trail_chart_and_past_say_amounts_alike(root: Client, rich: Account) -> None:
    page = page_of(root, rich, "change/")
    assert "Balance: 16,561.94 EUR" in page
    assert "Balance was 14,161.94 → is now 16,561.94" in page
    assert "highest 16,561.94" in page
    assert "was 14,161.94 → is now 16,561.94" in page_of(root, rich, "history/")
    past = page_of(root, rich, "past/?version=2")
    assert "Balance 14,161.94 EUR" in past
    assert "Balance was 14,161.94 EUR → is now 16,561.94 EUR" in past
    assert "Balance 16,561.94 EUR" in page_of(root, rich, "command/deposit/")


def test_moments_of_a_state_are_in_utc_and_say_so(root: Client, settings: Any) -> None:
    settings.TIME_ZONE = "America/New_York"
    shown = words_of(value_of_field(Article, "seen", MOMENT))
    assert shown == "2026-01-01 02:00:00 UTC"
    assert words_of(value_of_field(Article, "seen", MOMENT.replace(microsecond=5))) == "2026-01-01 02:00:00.000005 UTC"
    specimen = Specimen()
    specimen.measure()
    specimen.save()
    page = page_of(root, specimen, "change/")
    assert f"Seen at: {specimen.seen_at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC" in page
    assert "Width: 0.00" in page


def test_a_moment_is_told_exactly_before_it_is_told_how_long_ago_it_was() -> None:
    moment = clock.now() - timedelta(hours=3, minutes=5)
    assert words_of(both(moment)) == f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC 3\xa0hours ago".replace(
        "\xa0", " "
    )


def test_what_lies_ahead_is_not_told_as_what_has_just_been() -> None:
    now = clock.now()
    assert words_of(relative(now - timedelta(seconds=5))) == "just now"
    assert words_of(relative(now + timedelta(seconds=30))) == "in less than a minute"


def test_what_is_due_is_told_to_be_due() -> None:
    now = clock.now()
    assert words_of(due(now + timedelta(seconds=30))) == "in less than a minute"
    assert words_of(due(now + timedelta(hours=2, minutes=5))) == "in 2 hours"
    assert words_of(due(now - timedelta(seconds=5))) == words_of(due(now - timedelta(days=5))) == "due now"


def test_a_log_in_which_nothing_happens_is_drawn_as_nothing() -> None:
    still, busy = ([(0.0, 0.0), (1.0, number)] for number in (0.0, 5.0))
    assert {y for _x, y in plot(still, width=600, height=80, floor=0).points} == {76.0}
    assert [y for _x, y in plot(busy, width=600, height=80, floor=0).points] == [76.0, 4.0]
    assert {y for _x, y in plot([(0.0, 7.0), (1.0, 7.0)], width=600, height=80).points} == {40.0}
