"""The admin tells how a state came about and what it was, to those who may see that, and for as many events at most.

Whatever is asked, nothing is told of fields that the page of the aggregate does not show.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path

from eventsourcing_app.admin import AuditTrailMixin, EventSourcedAdmin, ReadOnlyAdmin, StoredEventAdmin
from eventsourcing_app.aggregates.past import snapshots
from eventsourcing_app.log.recorded import FROM_ROW
from eventsourcing_app.models import StoredEvent, StoredSnapshot
from tests.admin_client import client_with, text_of
from tests.reactions_sample.scene import append_raw
from tests.samples.ended import Lease
from tests.samples.factories import add, counter_of, issue_passport, open_wallet, remove_row
from tests.samples.lease_admins import OwnAndGoneLeases, OwnLeases
from tests.samples.models import Contract, Counter, Customer, Passport, Wallet

if TYPE_CHECKING:
    from django.db.models import Model, QuerySet
    from django.http import HttpRequest


class DiscreetAdmin(EventSourcedAdmin[Wallet]):
    """Shows the owner to superusers only."""

    def get_exclude(self, request: HttpRequest, obj: Wallet | None = None) -> tuple[str, ...]:
        return () if request.user.is_superuser else ("owner", "balance")


class ThirdPartyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # cannot be subscripted at run time
    """A base class of somebody else, with a template and styles of its own."""

    change_form_template = "admin/change_form.html"

    class Media:
        css = {"all": ["third.css"]}


class CustomerAdmin(AuditTrailMixin, ThirdPartyAdmin):  # type: ignore[type-arg]
    """An ordinary model: the history that is meant is that of its first contract."""

    def audited(self, request: HttpRequest, obj: Customer) -> Contract | None:
        return Contract.objects.filter(customer=obj).first()


class OwnContracts(EventSourcedAdmin[Contract]):
    """Shows those of some customers."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Contract]:
        return super().get_queryset(request).exclude(customer__name="theirs")


site = admin.AdminSite()
site.register(StoredEvent, StoredEventAdmin)
site.register(Wallet, DiscreetAdmin)
site.register(Counter, EventSourcedAdmin)
site.register(Passport, EventSourcedAdmin)
site.register(Lease, EventSourcedAdmin)
site.register(Customer, CustomerAdmin)
narrow = admin.AdminSite(name="narrow")
narrow.register(Lease, OwnLeases)
narrow.register(Contract, OwnContracts)
narrow.register(Customer, CustomerAdmin)
lenient = admin.AdminSite(name="lenient")
lenient.register(Lease, OwnAndGoneLeases)
urlpatterns = [path("admin/", site.urls), path("narrow/", narrow.urls), path("lenient/", lenient.urls)]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

WALLETS, COUNTERS, LEASES = "/admin/samples/wallet/", "/admin/samples/counter/", "/admin/samples/lease/"
SEES = ("view_wallet", "view_counter", "view_lease", "view_storedevent")
PAYLOAD = "view_payload"


@pytest.fixture
def wallet() -> Wallet:
    wallet = open_wallet("Ada", 50, 7)
    wallet.take(Decimal(20))
    wallet.save()
    return wallet


def words_of(html: str) -> str:
    """What is read on a page."""
    return " ".join(re.sub(r"<[^>]+>", " ", html.replace("<wbr>", "")).split())


def past(client: Client, wallet: Wallet, query: str = "", status: int = 200) -> str:
    return words_of(text_of(client.get(f"{WALLETS}{wallet.pk}/past/?{query}"), status))


# The trail


def test_the_trail_tells_what_each_event_changed(root: Client, wallet: Wallet) -> None:
    page = words_of(text_of(root.get(f"{WALLETS}{wallet.pk}/history/")))
    for change in (
        "Balance was 57.00 → is now 37.00",
        "Balance was 50.00 → is now 57.00",
        "Owner → is now Ada Balance → is now 0.00",
    ):
        assert change in page
    assert page.index("37.00") < page.index("Owner")


def test_the_trail_of_one_type(root: Client, wallet: Wallet) -> None:
    address = f"{WALLETS}{wallet.pk}/history/?type="
    taken = text_of(root.get(f"{address}samples.money_taken"))
    assert re.findall(r'<th scope="row">(\d+)</th>', taken) == ["4"]
    assert "Balance was 57.00 → is now 37.00" in words_of(taken)
    assert re.findall(r'<th scope="row">\d', text_of(root.get(f"{address}samples.money_put_in"))) != []
    assert "No events here." in text_of(root.get(f"{address}of.somebody.else"))


def test_events_far_apart_lead_to_what_they_changed(
    root: Client, wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventsourcing_app.admin.timeline.SPAN", 2)
    page = text_of(root.get(f"{WALLETS}{wallet.pk}/history/"))
    assert "was 57.00" in words_of(page)
    assert "was 0.00" not in words_of(page)
    address = re.search(rf'href="({WALLETS}{wallet.pk}/past/\?version=2&amp;compare=1)"', page)
    assert address is not None
    assert "Since version 1" in text_of(root.get(address[1].replace("&amp;", "&")))


def test_the_page_of_the_object_tells_its_newest_history(root: Client, wallet: Wallet) -> None:
    add(wallet, 10).save()
    page = text_of(root.get(f"{WALLETS}{wallet.pk}/change/"))
    versions = re.findall(r'<th scope="row">(\d+)</th>\s*<td class="es-when">', page)
    assert versions == [str(version) for version in range(14, 4, -1)]
    assert "Balance was 46.00 → is now 47.00" in words_of(page)
    assert f'action="{WALLETS}{wallet.pk}/past/"' in page
    assert "Balance over time" in page


# Past states


def test_the_state_at_a_version_and_what_has_become_of_it(root: Client, wallet: Wallet) -> None:
    page = past(root, wallet, "version=2")
    for words in ("Version 2 of 4", "Owner Ada", "Balance 50.00", "This is final.", "samples.money_added"):
        assert words in page
    assert "From then to now, version 4 What is different Field Change Balance was 50.00 → is now 37.00" in page
    assert "Left out, because it has no history: Note." in page
    assert "Balance was 0.00 → is now 50.00" in past(root, wallet, "version=2&compare=1")
    assert "From then to version 3" in past(root, wallet, "version=2&compare=3")
    assert "What is different" not in past(root, wallet, "version=2&compare=2")
    assert "Version 4, as it is now" in past(root, wallet)


def test_the_state_at_a_time_says_whether_it_is_final(root: Client, wallet: Wallet) -> None:
    recorded = wallet.history()[0].recorded_at
    then = recorded.strftime("%Y-%m-%dT%H:%M:%S.%f")
    for when in (then, then + "Z", then.replace("T", " ")):
        assert "Version 3 of 4" in past(root, wallet, f"when={when}")  # what was saved together
    page = past(root, wallet, "when=2999-01-01T00:00")
    assert "Not final yet" in page
    page = past(root, wallet, "when=2001-02-03T04:05%2B01:00")
    assert "It did not exist yet" in page
    assert "At 2001-02-03 03:05:00.000000 UTC it did not exist yet" in page


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("version=0", "Versions count from 1."),
        ("version=x", "A version is a whole number"),
        ("version=-1", "A version is a whole number"),
        ("version=5", "It has not come to version 5 yet: now it is at version 4."),
        (f"version={10**18}", "It has not come to version"),
        ("compare=5", "It has not come to version 5 yet"),
        ("when=yesterday", "A time is a date and a time of day"),
        ("when=2026-01-01", "A time is a date and a time of day"),
        ("when=0001-01-01T00:00%2B12:00", "A time is a date and a time of day"),
        ("when=%00", "A time is a date and a time of day"),
        ("version=1&when=2026-01-01T00:00", "Give a version or a time, not both."),
    ],
)
def test_what_cannot_be_answered_is_said_in_words(root: Client, wallet: Wallet, query: str, sentence: str) -> None:
    page = past(root, wallet, query, 400)
    assert sentence in page
    assert "By version" in page  # the form, to ask better
    assert sentence in past(root, wallet, f"{query}&part=1", 400)


@pytest.mark.parametrize("query", ["owner=Ada", "chart=owner", "chart=note", "chart=nothing", "data__amount=1"])
def test_what_is_not_offered_is_400(root: Client, wallet: Wallet, query: str) -> None:
    assert root.get(f"{WALLETS}{wallet.pk}/past/?{query}").status_code == 400


def test_a_part_of_the_page_can_be_had_alone(root: Client, wallet: Wallet) -> None:
    part = text_of(root.get(f"{WALLETS}{wallet.pk}/past/?version=2&part=1"))
    assert "<html" not in part
    assert "Balance was 50.00 → is now 37.00" in words_of(part)


def test_columns_that_the_database_computes_are_left_out(root: Client) -> None:
    passport = issue_passport(32, stamps=("FR",))
    page = words_of(text_of(root.get(f"/admin/samples/passport/{passport.pk}/past/?version=1")))
    assert "Left out, because it has no history: Sides." in page
    assert "Pages 32" in page


# Who may see it


def test_without_payloads_neither_changes_nor_past_states_are_told(wallet: Wallet) -> None:
    blind, seeing = client_with(*SEES, name="blind"), client_with(*SEES, PAYLOAD, name="seeing")
    for address in ("history/", "past/?version=2", "past/?version=2&part=1", "past/?version=9", "change/"):
        page = text_of(blind.get(f"{WALLETS}{wallet.pk}/{address}"), 400 if "9" in address else 200)
        assert "57.00" not in page, address
        assert "is now" not in page, address
        assert "over time" not in page, address
        assert "masked" in page, address
    assert "masked" not in text_of(seeing.get(f"{WALLETS}{wallet.pk}/history/"))


def test_fields_that_the_page_does_not_show_are_told_nowhere(root: Client, wallet: Wallet) -> None:
    seeing = client_with(*SEES, PAYLOAD)
    wallet.label(labels=["vip"])
    wallet.save()
    for address in ("history/", "past/?version=2", "past/?version=5&compare=1", "change/"):
        page = text_of(seeing.get(f"{WALLETS}{wallet.pk}/{address}"))
        assert "Balance" not in page, address
        assert "Owner" not in page, address
        assert "57.00" not in page, address
    assert seeing.get(f"{WALLETS}{wallet.pk}/past/?chart=balance").status_code == 400
    assert "Labels → is now [&quot;vip&quot;]" in past(seeing, wallet, "version=1")
    assert "Balance" in past(root, wallet, "version=1")


def test_of_a_history_with_hidden_events_nothing_is_told_that_follows_from_it(
    root: Client, wallet: Wallet, settings: Any
) -> None:
    settings.EVENTSOURCING = {
        **settings.EVENTSOURCING,
        "VISIBLE_EVENTS": lambda events, _user: events.exclude(version=2),
    }
    for address in ("history/", "past/?version=3", "change/", "past/?when=2001-01-01T00:00"):
        page = text_of(root.get(f"{WALLETS}{wallet.pk}/{address}"))
        assert "is now" not in page, address
        assert "over time" not in page, address
        assert "did not exist" not in page, address


# Events that no code can read


def test_what_can_be_shown_is_shown_beside_an_event_that_no_code_can_read(root: Client, wallet: Wallet) -> None:
    append_raw("samples.of_the_next", {}, key=wallet.stream_key, version=5)
    for address in ("history/", "change/"):
        page = text_of(root.get(f"{WALLETS}{wallet.pk}/{address}"))
        assert "samples.of_the_next" in page, address
        assert "no code here can read one of them" in page, address
        assert "Balance was 57.00 → is now 37.00" in words_of(page), address
    assert "No code here can tell this state" in past(root, wallet)
    page = past(root, wallet, "version=2")
    assert "Balance 50.00" in page
    assert "No code here can tell this state" in page  # that it is compared with
    assert "It cannot be drawn" in page


# Rows that have gone


@pytest.fixture
def lease() -> Lease:
    lease = Lease()
    lease.begin(text="first words", pk="a/b")
    lease.go_on("more words")
    lease.end("last words")
    lease.save()
    assert not Lease.objects.exists()
    return lease


def test_an_aggregate_whose_row_has_gone_has_a_history_and_a_past(root: Client, lease: Lease) -> None:
    for page in ("history/", "past/?version=2"):
        text = text_of(root.get(f"{LEASES}a_2Fb/{page}"))
        assert "It has no row any more" in text
        assert "more words" in text
        assert "/change/" not in re.sub(r"storedevent/\d+/change/", "", text)
    assert root.get(f"{LEASES}a_2Fb/change/").status_code == 302
    assert root.get(f"{LEASES}other/past/").status_code == 302


def test_a_row_that_has_gone_is_shown_to_those_only_who_see_every_row(lease: Lease) -> None:
    viewer = client_with("view_lease", "view_storedevent", PAYLOAD, name="viewer")
    assert viewer.get(f"{LEASES}a_2Fb/past/").status_code == 200
    assert viewer.get("/narrow/samples/lease/a_2Fb/past/").status_code == 302
    assert viewer.get("/lenient/samples/lease/a_2Fb/past/").status_code == 200
    for held in (("view_lease", PAYLOAD), ("view_storedevent", PAYLOAD)):
        client = client_with(*held, name=held[0])
        for page in ("past", "history"):
            assert client.get(f"{LEASES}a_2Fb/{page}/").status_code == 403


def test_a_row_that_a_user_is_not_shown_has_no_past_for_that_user(root: Client) -> None:
    theirs = Lease()
    theirs.begin(pk="theirs")
    theirs.save()
    assert root.get(f"{LEASES}theirs/past/").status_code == 200
    for page in ("past", "history", "change"):
        for name in ("narrow", "lenient"):
            assert root.get(f"/{name}/samples/lease/theirs/{page}/").status_code == 302


def test_a_row_that_is_missing_by_mistake_has_a_past_all_the_same(root: Client, wallet: Wallet) -> None:
    remove_row(wallet)
    assert "Balance 50.00" in past(root, wallet, "version=2")


# Any admin


def kept_by_django(obj: Model, text: str) -> None:
    """As the admin does when somebody sends a form."""
    LogEntry.objects.create(
        user=User.objects.get(),
        content_type=ContentType.objects.get_for_model(obj),
        object_id=obj.pk,
        object_repr=str(obj),
        action_flag=CHANGE,
        change_message=text,
    )


def test_another_model_tells_no_history_of_what_the_admin_of_the_aggregate_keeps_back(root: Client) -> None:
    for name, status in (("ours", 200), ("theirs", 403)):
        customer = Customer.objects.create(name=name)
        Contract.objects.perform_new(Contract.sign, customer_id=customer.pk, terms=("thirty days",))
        base = f"/narrow/samples/customer/{customer.pk}/"
        for page in ("trail/", "past/", "past/?version=1&part=1"):
            assert root.get(base + page).status_code == status, page
        assert ("thirty days" in text_of(root.get(f"{base}change/"))) is (status == 200)


def test_an_admin_of_another_model_shows_the_history_that_it_names(root: Client) -> None:
    customer, other = Customer.objects.create(name="Ada"), Customer.objects.create(name="Bob")
    contract = Contract()
    contract.sign(customer_id=customer.pk, terms=("thirty days",))
    contract.save()
    base = "/admin/samples/customer/"
    page = text_of(root.get(f"{base}{customer.pk}/change/"))
    for part in (
        f'href="{base}{customer.pk}/trail/"',
        f'href="{base}{customer.pk}/past/"',
        "third.css",
        "aggregate.css",
        "core.js",
    ):
        assert part in page
    assert "thirty days" in text_of(root.get(f"{base}{customer.pk}/trail/"))
    past = text_of(root.get(f"{base}{customer.pk}/past/"))
    assert "Terms" in past
    assert f'href="{base}{customer.pk}/trail/"' in past
    assert "Time travel" not in text_of(root.get(f"{base}{other.pk}/change/"))
    for page in ("past", "trail"):
        assert root.get(f"{base}{other.pk}/{page}/").status_code == 404
        assert root.get(f"{base}987654/{page}/").status_code == 302
    clerk = client_with("view_customer", "view_storedevent", PAYLOAD)
    assert clerk.get(f"{base}{customer.pk}/change/").status_code == 200
    assert "Audit trail" not in text_of(clerk.get(f"{base}{customer.pk}/change/"))
    for page in ("past", "trail"):  # may not view contracts
        assert clerk.get(f"{base}{customer.pk}/{page}/").status_code == 403


@pytest.mark.parametrize("name", ["Ada", "Bob"])
def test_the_history_that_django_keeps_of_another_model_stays_where_it_was(root: Client, name: str) -> None:
    customer = Customer.objects.create(name=name)
    if name == "Ada":
        Contract.objects.perform_new(Contract.sign, customer_id=customer.pk)
    kept_by_django(customer, "Corrected the name.")
    address = f"/admin/samples/customer/{customer.pk}/"
    clerk = client_with("view_customer")
    for client in (root, clerk):
        assert f'href="{address}history/"' in text_of(client.get(f"{address}change/"))
        page = text_of(client.get(f"{address}history/"))
        assert "Corrected the name." in page
        assert "It has no row any more" not in page


def test_an_event_sourced_object_that_names_no_aggregate_has_the_history_that_django_keeps(
    root: Client, wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DiscreetAdmin, "audited", lambda *_asked: None)
    kept_by_django(wallet, "Exported.")
    page = text_of(root.get(f"{WALLETS}{wallet.pk}/history/"))
    assert "Exported." in page
    assert "It has no row any more" not in page
    assert root.post(f"{WALLETS}{wallet.pk}/history/").status_code == 403
    assert root.get(f"{WALLETS}{wallet.pk}/trail/").status_code in (302, 404)


def test_a_mixin_before_another_base_is_read_only_with_ours() -> None:
    class Both(AuditTrailMixin[Wallet], ReadOnlyAdmin[Wallet], ThirdPartyAdmin):
        pass

    assert "third.css" in str(Both(Wallet, site).media)


# Cost


@pytest.fixture
def events_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events were folded."""
    read, make = [0], FROM_ROW[connection.vendor]

    def counted(row: Any) -> Any:
        read[0] += 1
        return make(row)

    monkeypatch.setitem(FROM_ROW, connection.vendor, counted)
    return read


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("page", ["change/", "history/", "history/?before=700", "past/?version=700", "past/?part=1"])
def test_a_long_history_costs_what_a_shorter_one_costs(
    root: Client, page: str, events_read: list[int], settings: Any
) -> None:
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "SNAPSHOT_EVERY": 32}
    cost = []
    for versions in (800, 2400):
        address = f"{COUNTERS}{counter_of(versions).pk}/{page}"
        text_of(root.get(address))  # makes the snapshots
        events_read[0] = 0
        with CaptureQueriesContext(connection) as queries:
            text_of(root.get(address))
        assert not any(re.search(r"COUNT\(|OFFSET|DISTINCT", entry["sql"]) for entry in queries)
        cost.append((len(queries), events_read[0]))
    assert cost[0][0] == cost[1][0]
    assert all(events <= 6 * 32 for _queries, events in cost), cost


# The chart


def samples_in(page: str) -> list[int]:
    (table,) = re.findall(r"<details>.*?</details>", page, re.DOTALL)
    return [int(found) for found in re.findall(r'<th scope="row">(\d+)</th>', table)]


def test_a_chart_shows_every_value_of_a_short_history(root: Client, wallet: Wallet) -> None:
    wallet.label(labels=["vip"])  # changes no number
    wallet.save()
    page = text_of(root.get(f"{WALLETS}{wallet.pk}/change/"))
    assert samples_in(page) == [1, 2, 3, 4, 5]
    assert "From 0.00 at version 1 to 37.00 at version 5; lowest 0.00, highest 57.00." in page
    assert re.search(r'<path d="M[\d.]+ [\d.]+H[\d.]+V[\d.]+', page)
    assert "The history is long" not in page


@pytest.mark.django_db(transaction=True)
def test_a_chart_of_a_long_history_is_sampled_by_snapshots(root: Client, settings: Any) -> None:
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "SNAPSHOT_EVERY": 4}
    counter = counter_of(1003)
    address = f"{COUNTERS}{counter.pk}/past/"
    assert "snapshots are wanting" not in text_of(root.get(address))  # the state of now, folded, has made them
    versions = samples_in(text_of(root.get(address)))
    assert versions[0] == 1
    assert versions[-1] == 1003
    assert len(versions) <= 120
    assert set(range(16, 1001, 16)) <= set(versions)
    values = re.findall(r'<th scope="row">(\d+)</th><td>.*?</td><td>(\d+)</td>', text_of(root.get(address)))
    assert {int(version): int(value) for version, value in values} == {version: version - 1 for version in versions}


@pytest.mark.django_db(transaction=True)
def test_a_chart_says_where_snapshots_are_wanting_and_believes_no_forged_one(root: Client, settings: Any) -> None:
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "SNAPSHOT_EVERY": 4}
    counter = counter_of(40)
    address = f"{COUNTERS}{counter.pk}/past/"
    text_of(root.get(address))
    forged = StoredSnapshot.objects.get(version=16)
    forged.event_hash = b"x" * 32  # made at another event
    forged.stamp = snapshots._stamp(forged)
    forged.save()
    StoredSnapshot.objects.filter(version=20).delete()
    page = text_of(root.get(address))
    assert "Between versions 16 and 20 snapshots are wanting" in page
    assert not {16, 20} & set(samples_in(page))


# The past in the chart


def mark_of(page: str) -> float | None:
    """Where the chart is marked, if it shows a mark."""
    found = re.search(r'<line class="es-mark" id="es-mark" x1="([\d.]+)"', page)
    return None if found is None else float(found[1])


def test_the_chart_is_marked_where_the_state_was_recorded(root: Client, wallet: Wallet) -> None:
    address = f"{WALLETS}{wallet.pk}/"
    for version in (1, 2, 3):
        add(wallet, version).save()
    latest = wallet.history().count()
    marks = [mark_of(text_of(root.get(f"{address}past/?version={version}"))) for version in range(1, latest + 1)]
    assert marks == sorted(marks, key=float)  # type: ignore[arg-type]  # none of them is missing
    assert (marks[0], marks[-1]) == (4.0, 636.0)
    assert mark_of(text_of(root.get(f"{address}past/"))) == 636.0
    assert mark_of(text_of(root.get(f"{address}past/?when=2001-01-01T00:00"))) is None  # it did not exist yet
    assert "es-mark" not in text_of(root.get(f"{address}change/"))


def test_a_date_that_was_not_given_is_asked_for(root: Client, wallet: Wallet) -> None:
    address = f"{WALLETS}{wallet.pk}/past/"
    page = text_of(root.get(address))
    assert re.search(r'<input type="datetime-local" name="when"[^>]* required>', page)
    assert "A time is a date and a time of day" in text_of(root.get(f"{address}?when=&compare="), 400)
    assert "as it is now" in text_of(root.get(f"{address}?version=&compare="))


def test_what_scrolls_can_be_reached_by_keyboard_and_has_a_name(root: Client, wallet: Wallet) -> None:
    for page in ("change/", "history/", "past/?version=1"):
        found = re.findall(r'<div class="es-scroll"([^>]*)>', text_of(root.get(f"{WALLETS}{wallet.pk}/{page}")))
        assert found, page
        for attributes in found:
            assert 'role="region" tabindex="0" aria-label' in attributes, page
