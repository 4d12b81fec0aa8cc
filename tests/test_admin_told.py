"""Whatever page tells a history: of which fields, whose, and in which words, is decided in one place."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import path

from eventsourcing_app.admin import AuditTrailMixin, EventSourcedAdmin, ReadOnlyAdmin, StoredEventAdmin
from eventsourcing_app.admin.values import value_of_field
from eventsourcing_app.models import StoredEvent
from eventsourcing_app.testing import stored_history
from tests.admin_client import client_with, text_of
from tests.samples.catalogue import Article, ArticleAdopted, ArticleRenamed, Status
from tests.samples.ended import Lease
from tests.samples.factories import insert_rows, issue_passport, open_wallet, remove_row
from tests.samples.habits import Fleet, Ship
from tests.samples.lease_admins import OwnAndGoneLeases, OwnLeases
from tests.samples.models import Book, Customer, Passport, Wallet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model
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


class Articles(EventSourcedAdmin[Article]):
    """Has a moment in its state, in the list and on the page."""

    list_display = ("name", "seen", "made", "changed_at")
    list_display_links = ("name", "seen")
    list_filter = ("seen",)
    sortable_by = ("seen",)
    fields = ("name", ("made", "seen"), "version")


class LeasesOfOnesOwn(EventSourcedAdmin[Lease]):
    """Lets a user view those only whose text names that user."""

    def has_view_permission(self, request: HttpRequest, obj: Lease | None = None) -> bool:
        return super().has_view_permission(request, obj) and (obj is None or obj.text == request.user.get_username())


class LeasesForStaff(EventSourcedAdmin[Lease]):
    """Says for itself who may view them, whatever is in them."""

    def has_view_or_change_permission(self, request: HttpRequest, obj: Lease | None = None) -> bool:
        return bool(request.user.is_staff)


class LeasesUnchanged(EventSourcedAdmin[Lease]):
    """Nobody may change them, which takes nothing from those who may view them all."""

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class Ships(EventSourcedAdmin[Ship]):
    """Shows no names."""

    exclude = ("name",)


class Admiral(AuditTrailMixin[Customer], admin.ModelAdmin):  # type: ignore[type-arg]
    """An ordinary model, with the history of a proxy that has no page of its own."""

    def audited(self, request: HttpRequest, obj: Customer) -> Fleet | None:
        ship: Fleet | None = Fleet.objects.first()
        return ship


class SubclassOfOurs(EventSourcedAdmin[Lease]):
    """Overrides something else."""


def site_of(name: str, *registered: tuple[Any, Any]) -> admin.AdminSite:
    site = admin.AdminSite(name)
    site.register(StoredEvent, StoredEventAdmin)
    for model, shown_by in registered:
        site.register(model, shown_by)
    return site


SITES = (
    site_of(
        "open",
        (Wallet, EventSourcedAdmin),
        (Customer, Owner),
        (Lease, SubclassOfOurs),
        (Article, Articles),
        (Book, EventSourcedAdmin),
        (Passport, EventSourcedAdmin),
    ),
    site_of("discreet", (Wallet, Discreet), (Customer, Owner), (Lease, OwnLeases)),
    site_of("lenient", (Wallet, Plain), (Lease, OwnAndGoneLeases)),
    site_of("own", (Lease, LeasesOfOnesOwn), (Ship, Ships), (Customer, Admiral)),
    site_of("staff", (Lease, LeasesForStaff)),
    site_of("unchanged", (Lease, LeasesUnchanged)),
)
urlpatterns = [path(f"{site.name}/", site.urls) for site in SITES]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

SEES = ("view_wallet", "view_lease", "view_storedevent", "view_payload")


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


def test_a_proxy_without_a_page_is_told_as_the_page_of_its_model_shows_it(root: Client) -> None:
    ship = Ship()
    ship.begin("Argo")
    ship.save()
    customer = Customer.objects.create(name="Ada")
    for page in ("trail/", "past/", "past/?version=1"):
        response = root.get(f"/own/samples/customer/{customer.pk}/{page}")
        assert response.context["audited"].model is Fleet
        assert ">Name<" not in text_of(response)
    viewer = client_with("view_customer", "view_fleet", "view_storedevent", "view_payload")
    assert viewer.get(f"/own/samples/customer/{customer.pk}/trail/").status_code == 403  # it takes what the page takes


# With no more of it than is told


@pytest.mark.parametrize("page", ["history/", "change/", "past/", "conflict"])
def test_of_what_events_say_no_more_is_fetched_than_a_line_takes(root: Client, page: str) -> None:
    wallet = open_wallet("Ada", 50)
    wallet.label(["long"] * 10_000)
    wallet.save()
    address = f"/open/samples/wallet/{wallet.pk}/"
    if page == "conflict":
        sent = {"_es_key": "01a21a1b-58d7-7174-841b-b9e257e3cd18", "_es_version": "2", "amount": "1"}
        lines = root.post(f"{address}command/add/", sent).context["meanwhile"].lines
    else:
        context = root.get(f"{address}{page}").context
        lines = [context["made_by"]] if page == "past/" else context["timeline"].entries
    newest = lines[0]
    assert newest.summary.startswith('labels: ["long","long"')
    assert newest.summary.endswith("…")
    assert {"data", "metadata", "hash"} <= newest.event.get_deferred_fields()


# Whose


@pytest.mark.parametrize("page", ["history/", "past/", "past/?version=1"])
@pytest.mark.parametrize(("site", "before", "after"), [("own", 403, 302), ("staff", 200, 302), ("unchanged", 200, 200)])
def test_a_row_that_has_gone_is_not_shown_to_whom_it_was_not_shown_while_it_was_there(
    site: str, before: int, after: int, page: str
) -> None:
    viewer = client_with(*SEES)
    lease = Lease()
    lease.begin(text="first words", pk="k")
    lease.save()
    assert viewer.get(f"/{site}/samples/lease/k/{page}").status_code == before
    Lease.objects.perform("k", Lease.end, text="last words")
    assert viewer.get(f"/{site}/samples/lease/k/{page}").status_code == after
    assert (viewer.get(event_page(site, StoredEvent.objects.earliest("pk"))).context["state"] is None) is (after == 302)


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


@pytest.mark.parametrize("page", ["change/", "past/", "history/", "command/lose/"])
def test_there_is_nothing_of_a_key_that_no_column_holds(root: Client, page: str) -> None:
    issue_passport()  # its key is a foreign key
    assert root.get(f"/open/samples/passport/{10**30}/{page}").status_code in (302, 404)


NO_EVENT, MASKED = "No event of it has been recorded", "which is not shown to you"


@pytest.mark.parametrize("permissions", [(), ("view_payload",)])
def test_nobody_is_told_that_something_is_masked_where_there_is_nothing(permissions: tuple[str, ...]) -> None:
    insert_rows("9")
    viewer = client_with("view_book", "view_storedevent", *permissions)
    for query in ("", "when=2026-01-31T12:00", "part=1"):
        page = text_of(viewer.get(f"/open/samples/book/9/past/?{query}"))
        assert NO_EVENT in page, query
        assert MASKED not in page, query
    page = text_of(viewer.get("/open/samples/book/9/past/?version=1"), 400)
    assert NO_EVENT in page
    assert "It has not come to version 1 yet" in page


def test_a_question_that_is_none_is_answered_as_such_where_the_answer_is_masked() -> None:
    wallet = open_wallet("Ada", 50)
    viewer = client_with("view_wallet", "view_storedevent")
    assert MASKED in text_of(viewer.get(f"/open/samples/wallet/{wallet.pk}/past/?version=1"))
    page = text_of(viewer.get(f"/open/samples/wallet/{wallet.pk}/past/?version=0"), 400)
    assert MASKED in page
    assert "Versions count from 1." in page


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


# In which words


def article(pk: int, seen: datetime | None) -> Article:
    kept: dict[str, Any] = dict.fromkeys(
        ("weight", "reviewed", "opens", "lasts", "ident", "extra", "address", "shelf_id", "parent")
    )
    adopted = ArticleAdopted(
        **kept,
        name="Pen",
        scan="",
        sheet="{}",
        price=Decimal("1.500"),
        status=Status.DRAFT,
        stock=1,
        listed=True,
        labels=[],
        made=date(2026, 1, 1),
        seen=seen,
    )
    return stored_history(Article, adopted, ArticleRenamed(name="Pencil"), pk=pk)


NEW_YEAR_IN_LONDON = datetime(2026, 1, 1, 2, 0, tzinfo=UTC)


def test_a_moment_is_told_in_utc_on_every_page_whatever_the_time_zone_of_the_project(
    root: Client, settings: Any
) -> None:
    settings.TIME_ZONE = "America/New_York"
    pen = article(1, NEW_YEAR_IN_LONDON)
    address = "/open/samples/article/"
    for page in (
        event_page("open", pen.history()[0]),
        address,
        *(f"{address}1/{name}" for name in ("change/", "history/", "past/?version=1")),
    ):
        text = text_of(root.get(page))
        assert ">2026-01-01 02:00:00 UTC</time>" in text, page
        assert "Dec. 31, 2025" not in text, page
    half = NEW_YEAR_IN_LONDON.replace(microsecond=500_000)
    assert "2026-01-01 02:00:00.500000 UTC" in value_of_field(Article, "seen", half)


@pytest.mark.parametrize(
    ("zone", "moment"),
    [
        ("America/New_York", datetime(1, 1, 1, tzinfo=UTC)),
        ("Europe/Berlin", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_moment_at_the_edge_breaks_no_page(root: Client, zone: str, moment: datetime, settings: Any) -> None:
    settings.TIME_ZONE = zone
    pen = article(1, moment)
    for page in (
        event_page("open", pen.history()[0]),
        "/open/samples/article/",
        *(f"/open/samples/article/1/{name}" for name in ("change/", "history/", "past/?version=1")),
    ):
        assert re.search(r">(0001|1|9999)-(01-01 00:00:00|12-31 23:59:59) UTC</time>", text_of(root.get(page))), page


def test_a_choice_that_code_no_longer_has_is_told_as_it_was() -> None:
    assert value_of_field(Article, "status", Status.DRAFT.value) == Status.DRAFT.label
    assert value_of_field(Article, "status", "pulped") == "pulped"
    assert value_of_field(Article, "status", "") == "—"


def test_a_column_of_moments_is_one_like_others(root: Client) -> None:
    for pk, seen in ((1, NEW_YEAR_IN_LONDON.replace(hour=3)), (2, None), (3, NEW_YEAR_IN_LONDON)):
        article(pk, seen)
    page = text_of(root.get("/open/samples/article/?o=-1&seen__isnull=False"))
    assert re.findall(r'<td class="field-seen"><a href="/open/samples/article/(\d)/', page) == ["1", "3"]
    assert 'class="sortable column-seen sorted descending"' in " ".join(page.split())
    assert '<td class="field-seen"><a href="/open/samples/article/2/change/">-</a>' in text_of(
        root.get("/open/samples/article/")
    )
    page = text_of(root.get("/open/samples/article/2/change/"))
    assert re.search(
        r'field-seen.*?<label class="inline">Seen:</label>\s*<div class="readonly">[-—]</div>', page, re.DOTALL
    )
