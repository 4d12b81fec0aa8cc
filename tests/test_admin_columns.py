"""Lists of the admin show what ``list_display`` names: columns of ours, fields, and what a project adds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import admin
from django.urls import path
from django.utils.html import escape

from eventsourcing_app.admin import ParkedEventAdmin, StoredEventAdmin, SubscriptionAdmin
from eventsourcing_app.admin.columns import column
from eventsourcing_app.admin.event_pages import EventList
from eventsourcing_app.models import ParkedEvent, StoredEvent, Subscription
from tests.admin_client import EVENTS, EXPORTS, READS, SEES, client_with, text_of
from tests.admin_operators import PARKED, SUBSCRIPTIONS
from tests.api_operators import NAME, one_parked
from tests.samples.factories import open_wallet

if TYPE_CHECKING:
    from django.http import HttpRequest

    from eventsourcing_app.admin.columns import Reader


class OwnList(EventList):
    """A list of a project's own."""


class OurEventAdmin(StoredEventAdmin):
    list_display = ("position", "stream_type", "year", "data", "actor")
    list_display_links = ("data",)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[EventList]:
        return OwnList

    @admin.display(description="Year")
    def year(self, event: StoredEvent) -> str:
        return f"in {event.recorded_at.year}"

    def actor(self, event: StoredEvent, reader: Reader) -> str:
        return f"{event.actor or 'nobody'}, told to {reader.request.user}"


class OurParkedAdmin(ParkedEventAdmin):
    list_display = ("wire_name", "error", "position")


class OurSubscriptionAdmin(SubscriptionAdmin):
    list_display = ("name_in_words", "lag", "created_at")

    @column("How far behind")
    def lag(self, subscription: Any, reader: Reader) -> str:
        return f"behind by {subscription.overview.lag.events}"


site = admin.AdminSite()
site.register(StoredEvent, OurEventAdmin)
site.register(ParkedEvent, OurParkedAdmin)
site.register(Subscription, OurSubscriptionAdmin)
urlpatterns = [path("admin/", site.urls)]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


def columns_of(response: Any) -> list[str]:
    return [getattr(each, "__name__", each) for each in response.context["cl"].list_display]


def test_all_that_is_named_can_be_shown() -> None:
    assert StoredEventAdmin(StoredEvent, site).check() == []  # Django's check of the names, among others
    assert ParkedEventAdmin(ParkedEvent, site).check() == []
    assert SubscriptionAdmin(Subscription, site).check() == []
    for registered in site._registry.values():
        assert registered.check() == []


def test_the_list_of_events_shows_the_columns_that_are_named() -> None:
    open_wallet("Ada", 5)
    client = client_with(SEES, READS, name="Mary")
    response = client.get(EVENTS)
    assert columns_of(response) == list(OurEventAdmin.list_display)
    page = text_of(response)
    for part in ("samples.wallet", "in 20", "owner: Ada", "nobody, told to Mary"):
        assert part in page
    assert page.count('field-data nowrap"><a ') + page.count('field-data"><a ') == page.count('class="field-data')
    assert "correlation" not in page.partition("<tbody>")[0].partition("<thead>")[2]


def test_a_column_of_ours_masks_what_a_field_of_its_name_would_tell() -> None:
    open_wallet("Ada", 5)
    page = text_of(client_with(SEES).get(EVENTS))
    assert "owner: Ada" not in page
    assert "masked" in page


def test_a_field_that_is_masked_elsewhere_is_masked_where_a_list_names_it(
    own_subscriptions: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    parked = one_parked()
    Subscription.objects.filter(name=NAME).update(status="halted", status_reason=parked.reason)
    digest = str(bytes(StoredEvent.objects.get(position=parked.position).hash))
    monkeypatch.setattr(OurEventAdmin, "list_display", ("position", "metadata", "hash"))
    monkeypatch.setattr(OurParkedAdmin, "list_display", ("wire_name", "reason"))
    monkeypatch.setattr(OurSubscriptionAdmin, "list_display", ("name_in_words", "status_reason"))
    sees = (SEES, "view_subscription", "view_parkedevent")
    blind, seeing = client_with(*sees, name="blind"), client_with(*sees, READS, name="seeing")
    for address in (EVENTS, PARKED, SUBSCRIPTIONS):
        hidden, shown = text_of(blind.get(address)), text_of(seeing.get(address))
        assert "es-masked" in hidden, address
        assert parked.reason not in hidden, address
        assert escape(digest) not in hidden, address
        assert "es-masked" not in shown, address


def test_a_list_of_ones_own_leaves_tail_and_export_as_they_are() -> None:
    client = client_with(SEES, READS, EXPORTS)
    response = client.get(f"{EVENTS}?live=1")
    assert isinstance(response.context["cl"], OwnList)
    open_wallet("Ada", 5)
    answer = client.get(f"{EVENTS}tail/?live=1&after=0").json()
    assert "owner: Ada" in "".join(row["html"] for row in answer["rows"])
    assert "told to" in answer["rows"][0]["html"]
    exported = client.get(f"{EVENTS}export/?format=csv")
    assert exported.status_code == 200
    assert b"samples.wallet_opened" in b"".join(exported)


def test_lists_of_operators_show_the_columns_that_are_named(own_subscriptions: None) -> None:
    Subscription.objects.all().delete()  # the demo's
    one_parked()
    client = client_with("view_parkedevent", "view_subscription")
    response = client.get(PARKED)
    assert columns_of(response) == list(OurParkedAdmin.list_display)
    assert "masked" in text_of(response)
    response = client.get(SUBSCRIPTIONS)
    assert columns_of(response) == list(OurSubscriptionAdmin.list_display)
    for part in (NAME.partition(".")[0], "How far behind", "behind by 0"):
        assert part in text_of(response)
