"""Whatever page tells a history: of which fields, whose, and in which words, is decided in one place."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import path

from eventsourcing_app.admin import AuditTrailMixin, EventSourcedAdmin, ReadOnlyAdmin, StoredEventAdmin
from eventsourcing_app.models import StoredEvent
from tests.admin_client import client_with, text_of
from tests.samples.ended import Lease
from tests.samples.factories import open_wallet, remove_row
from tests.samples.models import Customer, Wallet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest


class Discreet(EventSourcedAdmin[Wallet]):
    """Shows the balance, but tells nothing of what it was."""

    def audited_fields(self, request: HttpRequest, model: Any, obj: Any) -> Sequence[str]:
        return [name for name in super().audited_fields(request, model, obj) if name != "balance"]


class Plain(ReadOnlyAdmin[Wallet]):
    """Has no page that tells a history."""


class Owner(AuditTrailMixin[Customer], admin.ModelAdmin):  # type: ignore[type-arg]  # cannot be subscripted at run time
    """An ordinary model, with the history of a wallet."""

    def audited(self, request: HttpRequest, obj: Customer) -> Wallet | None:
        return Wallet.objects.filter(owner=obj.name).first()


class OwnLeases(EventSourcedAdmin[Lease]):
    """Shows some of the rows."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Lease]:
        return super().get_queryset(request).exclude(code="theirs")


class OwnAndGoneLeases(OwnLeases):
    """Shows those without a row, besides."""

    def may_view_without_row(self, request: HttpRequest, model: Any, stream_key: str) -> bool:
        return True


class SubclassOfOurs(EventSourcedAdmin[Lease]):
    """Overrides something else."""


def site_of(name: str, *registered: tuple[Any, Any]) -> admin.AdminSite:
    site = admin.AdminSite(name)
    site.register(StoredEvent, StoredEventAdmin)
    for model, shown_by in registered:
        site.register(model, shown_by)
    return site


SITES = (
    site_of("open", (Wallet, EventSourcedAdmin), (Customer, Owner), (Lease, SubclassOfOurs)),
    site_of("discreet", (Wallet, Discreet), (Customer, Owner), (Lease, OwnLeases)),
    site_of("lenient", (Wallet, Plain), (Lease, OwnAndGoneLeases)),
)
urlpatterns = [path(f"{site.name}/", site.urls) for site in SITES]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

SEES = ("view_wallet", "view_lease", "view_storedevent", "view_payload")


@pytest.fixture
def root() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def event_page(site: str, event: StoredEvent) -> str:
    return f"/{site}/eventsourcing_app/storedevent/{event.position}/change/"


# Of which fields


@pytest.mark.parametrize(("site", "tells"), [("open", True), ("discreet", False)])
def test_what_the_admin_of_a_model_lets_a_history_tell_of_holds_on_every_page(
    root: Client, site: str, tells: bool
) -> None:
    wallet, customer = open_wallet("Ada", 50, 7), Customer.objects.create(name="Ada")
    address = f"/{site}/samples/wallet/{wallet.pk}/"
    form = root.get(f"{address}command/take/", follow=True)
    sent = {name: form.context[name] for name in ("key", "version")}
    Wallet.objects.perform(wallet.pk, Wallet.take, amount=Decimal(20))
    stale = root.post(
        f"{address}command/take/", {"_es_key": sent["key"], "_es_version": sent["version"], "amount": "1"}
    )
    pages = {
        "trail": text_of(root.get(f"{address}history/")),
        "past": text_of(root.get(f"{address}past/?version=3")),
        "change": text_of(root.get(f"{address}change/")),
        "event": text_of(root.get(event_page(site, wallet.history()[2]))),
        "command": text_of(stale, 409),
        "of another model": text_of(root.get(f"/{site}/samples/customer/{customer.pk}/trail/")),
    }
    assert {name for name, page in pages.items() if "57.00" in page} == (set(pages) if tells else set())
    assert "37.00" in pages["change"]  # the state of now is no history
    assert "37.00" in pages["command"]


# Whose


@pytest.mark.parametrize(("site", "tells"), [("open", True), ("discreet", False), ("lenient", True)])
def test_a_row_that_has_gone_has_a_state_on_the_page_of_its_event_where_it_has_a_past(site: str, tells: bool) -> None:
    lease = Lease()
    lease.begin(text="first words", pk="gone")
    lease.go_on("more words")
    lease.end()
    lease.save()
    viewer = client_with(*SEES)
    response = viewer.get(event_page(site, lease.history()[1]))
    assert response.status_code == 200
    assert (response.context["state"] is not None) is tells
    assert (viewer.get(f"/{site}/samples/lease/gone/past/").status_code == 200) is tells


def test_an_admin_that_tells_no_history_cannot_say_whether_it_would_show_a_row_that_has_gone(root: Client) -> None:
    wallet = open_wallet("Ada", 50)
    event = wallet.history()[1]
    assert root.get(event_page("lenient", event)).context["state"].fields
    remove_row(wallet)
    assert root.get(event_page("lenient", event)).context["state"] is None


def test_a_row_that_has_gone_and_that_no_code_can_fold_to_its_end_is_no_error_of_the_page(
    root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet = open_wallet("Ada", 50)
    first = wallet.history()[0]
    remove_row(wallet)

    def broken(_self: Wallet, _event: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Wallet, "_added", broken)
    state = root.get(event_page("open", first)).context["state"]
    assert (state.fields, state.problem) == ([], None)  # which fields it would show depends on what it is
