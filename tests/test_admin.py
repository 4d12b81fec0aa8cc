"""The admin shows what is stored to those who may see it, and nobody can change any of it there.

The lists of the log neither count nor skip over rows, and no filter answers questions about what is not shown.
"""

from __future__ import annotations

import re
from datetime import UTC
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path

from eventsourcing_app import context
from eventsourcing_app.admin import EventSourcedAdmin, ParkedEventAdmin, StoredEventAdmin, SubscriptionAdmin
from eventsourcing_app.admin.values import summary
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent, Subscription
from tests.admin_client import client_with, text_of
from tests.samples.models import Book, Counter, Wallet

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Response

site = admin.AdminSite()
site.register(StoredEvent, StoredEventAdmin)
site.register(Subscription, SubscriptionAdmin)
site.register(ParkedEvent, ParkedEventAdmin)
site.register(Wallet, EventSourcedAdmin)
site.register(Counter, EventSourcedAdmin)
site.register(Book, EventSourcedAdmin)
urlpatterns = [path("admin/", site.urls)]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

EVENTS = "/admin/eventsourcing_app/storedevent/"
SUBSCRIPTIONS = "/admin/eventsourcing_app/subscription/"
PARKED = "/admin/eventsourcing_app/parkedevent/"
WALLETS = "/admin/samples/wallet/"
COUNTERS = "/admin/samples/counter/"
BOOKS = "/admin/samples/book/"
VIEW_EVENTS, VIEW_WALLETS = "view_storedevent", "view_wallet"
VIEW_SUBSCRIPTIONS, VIEW_PARKED = "view_subscription", "view_parkedevent"


@pytest.fixture
def wallet() -> Wallet:
    with context(actor="user:7", correlation_id="one-request", request_id="r-1"):
        wallet = Wallet()
        wallet.open(owner="Ada")
        wallet.add(Decimal(50), reference="<script>alert(1)</script>")
        wallet.save()
    return wallet


@pytest.fixture
def subscription() -> Subscription:
    subscription = Subscription.objects.create(name="samples.totals", kind=Subscription.Kind.PROJECTION)
    segment = Segment.objects.create(
        subscription=subscription, checkpoint=12, last_error="Traceback\nValueError: <b>no</b>", parked=1
    )
    ParkedEvent.objects.create(
        segment=segment,
        position=7,
        event_id=uuid4(),
        type="samples.money_added",
        stream_type="samples.wallet",
        stream_key="w1",
        sequence="s",
        state="dead",
        reason="ValueError: <b>no stamps</b>",
        error="Traceback\nValueError: <b>no stamps</b>",
    )
    return subscription


def positions_in(response: Response) -> list[int]:
    """The positions of the list, in its order."""
    return [int(found) for found in re.findall(rf'<a href="{EVENTS}(\d+)/change/[^"]*">\d+</a>', text_of(response))]


# Who may see what


def pages(wallet: Wallet, subscription: Subscription) -> dict[str, set[str]]:
    """Every page, and the permissions that it needs."""
    position = wallet.history()[0].position
    return {
        EVENTS: {VIEW_EVENTS},
        f"{EVENTS}{position}/change/": {VIEW_EVENTS},
        f"{EVENTS}{position}/history/": {VIEW_EVENTS},
        WALLETS: {VIEW_WALLETS},
        f"{WALLETS}{wallet.pk}/change/": {VIEW_WALLETS},
        f"{WALLETS}{wallet.pk}/history/": {VIEW_WALLETS, VIEW_EVENTS},
        f"{WALLETS}{wallet.pk}/past/": {VIEW_WALLETS, VIEW_EVENTS},
        SUBSCRIPTIONS: {VIEW_SUBSCRIPTIONS},
        f"{SUBSCRIPTIONS}{subscription.pk}/change/": {VIEW_SUBSCRIPTIONS},
        f"{SUBSCRIPTIONS}{subscription.pk}/history/": {VIEW_SUBSCRIPTIONS},
        PARKED: {VIEW_PARKED},
        f"{PARKED}{ParkedEvent.objects.get().pk}/change/": {VIEW_PARKED},
        f"{PARKED}{ParkedEvent.objects.get().pk}/history/": {VIEW_PARKED},
    }


def test_each_page_opens_with_its_permissions_only(wallet: Wallet, subscription: Subscription) -> None:
    roles = {
        name: (client_with(*codenames, name=name), set(codenames))
        for name, codenames in {
            "nothing": (),
            "events": (VIEW_EVENTS,),
            "wallets": (VIEW_WALLETS,),
            "writer": ("add_wallet", "delete_wallet"),
            "subscriptions": (VIEW_SUBSCRIPTIONS,),
            "parked": (VIEW_PARKED,),
            "auditor": (VIEW_EVENTS, VIEW_WALLETS),
        }.items()
    }
    for address, needed in pages(wallet, subscription).items():
        for name, (client, held) in roles.items():
            expected = 200 if needed <= held else 403
            assert client.get(address).status_code == expected, (name, address)
        for stranger in (Client(), client_with(VIEW_EVENTS, name=f"no staff {address}", staff=False)):
            response = stranger.get(address)
            assert (response.status_code, response.headers["Location"].partition("?")[0]) == (302, "/admin/login/")


def test_a_superuser_sees_every_page(root: Client, wallet: Wallet, subscription: Subscription) -> None:
    for address in pages(wallet, subscription):
        assert root.get(address).status_code == 200, address


def test_the_button_and_the_links_are_shown_to_those_who_may_follow_them(wallet: Wallet) -> None:
    position = wallet.history()[0].position
    support = client_with(VIEW_WALLETS, name="support")
    assert "Audit trail" not in text_of(support.get(f"{WALLETS}{wallet.pk}/change/"))
    auditor = client_with(VIEW_WALLETS, VIEW_EVENTS, name="auditor")
    assert "Audit trail" in text_of(auditor.get(f"{WALLETS}{wallet.pk}/change/"))
    assert f"{WALLETS}{wallet.pk}/change/" in text_of(auditor.get(f"{EVENTS}{position}/change/"))
    log_only = client_with(VIEW_EVENTS, name="log only")
    assert WALLETS not in text_of(log_only.get(f"{EVENTS}{position}/change/"))
    assert WALLETS not in text_of(log_only.get(EVENTS))


# Nothing can be changed


def everything() -> list[Any]:
    return [
        list(model._base_manager.order_by("pk").values())
        for model in (StoredEvent, Wallet, Subscription, Segment, ParkedEvent)
    ]  # fmt: skip


def test_every_writing_door_is_403_to_superusers_too(root: Client, wallet: Wallet, subscription: Subscription) -> None:
    event, before = wallet.history()[0], everything()
    parked = ParkedEvent.objects.get().pk
    objects = {EVENTS: event.pk, WALLETS: wallet.pk, SUBSCRIPTIONS: subscription.pk, PARKED: parked}
    forged = {
        "action": "delete_selected",
        "post": "yes",
        "index": "0",
        "select_across": "1",
        "owner": "Mallory",
        "balance": "1000",
        "actor": "user:1",
        "type": "x",
        "status": "paused",
        "_save": "Save",
        "segments-TOTAL_FORMS": "1",
        "segments-INITIAL_FORMS": "1",
        "segments-0-checkpoint": "0",
        "form-TOTAL_FORMS": "1",
        "form-INITIAL_FORMS": "1",
        "form-0-actor": "user:1",
    }
    may_view = (VIEW_EVENTS, VIEW_WALLETS, VIEW_SUBSCRIPTIONS, VIEW_PARKED)
    clients = (root, client_with(*may_view, "change_wallet", "delete_wallet"))
    for client in clients:
        for address, pk in objects.items():
            data = {**forged, "_selected_action": str(pk)}
            doors = [address, f"{address}add/", f"{address}{pk}/change/", f"{address}{pk}/delete/"]
            past = [f"{address}{pk}/past/"] if address == WALLETS else []
            for door in (*doors, *past, f"{address}{pk}/history/", f"{address}?q=&_popup=1"):
                assert client.post(door, data).status_code == 403, door
                for method in ("put", "patch", "delete"):
                    assert getattr(client, method)(door).status_code == 403, (method, door)
            for door in (f"{address}add/", f"{address}{pk}/delete/"):
                assert client.get(door).status_code == 403, door
            assert client.post(f"{address}add/?_to_field=actor&_popup=1", data).status_code in (400, 403)
            assert client.post(f"{address}{pk}/change/?_to_field=owner", data).status_code in (400, 403)
    assert everything() == before


def test_no_button_leads_to_a_change(root: Client, wallet: Wallet, subscription: Subscription) -> None:
    for address in pages(wallet, subscription):
        page = text_of(root.get(address))
        for sign in ("delete_selected", 'name="_save"', "/delete/", "deletelink"):
            assert sign not in page, (address, sign)
        assert not re.search(r'"/admin/\w+/\w+/add/', page), address


@pytest.mark.parametrize("field", ["actor", "data", "hash", "event_id", "nothing"])
def test_no_field_can_be_read_as_the_target_of_a_key(root: Client, wallet: Wallet, field: str) -> None:
    position = wallet.history()[0].position
    assert root.get(f"{EVENTS}?_to_field={field}").status_code == 400
    assert root.get(f"{EVENTS}{position}/change/?_to_field={field}").status_code == 400
    query = f"app_label=eventsourcing_app&model_name=storedevent&field_name={field}&term=a"
    assert root.get(f"/admin/autocomplete/?{query}").status_code in (403, 404)


# The list of events


@pytest.fixture
def five(wallet: Wallet) -> list[int]:
    """Positions of five events."""
    for _number in range(3):
        Wallet.objects.perform(wallet.pk, Wallet.add, amount=Decimal(1))
    return list(StoredEvent.objects.values_list("position", flat=True))


def test_the_list_turns_its_pages_by_position(root: Client, five: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoredEventAdmin, "list_per_page", 2)
    first = root.get(EVENTS)
    assert positions_in(first) == five[:2:-1]
    assert "after=" not in text_of(first)
    assert f'href="?before={five[3]}"' in text_of(first)
    second = root.get(f"{EVENTS}?before={five[3]}")
    assert positions_in(second) == [five[2], five[1]]
    assert f'href="?after={five[2]}"' in text_of(second)
    last = root.get(f"{EVENTS}?before={five[1]}")
    assert positions_in(last) == [five[0]]
    assert "before=" not in text_of(last)
    back = root.get(f"{EVENTS}?after={five[0]}")
    assert positions_in(back) == [five[2], five[1]]
    newest = root.get(f"{EVENTS}?after={five[2]}")
    assert positions_in(newest) == [five[4], five[3]]
    assert "after=" not in text_of(newest)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?before=1000000",
        "?after=0",
        "?type=samples.money_added",
        "?actor=user:7",
        "?q=user:7",
        "?q={position}",
        "?p=3",
        "?all=",
        "?o=1.-2",
        "?_facets=True",
        "?_popup=1",
    ],
)
def test_the_list_neither_counts_nor_skips(root: Client, five: list[int], query: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert root.get(EVENTS + query.format(position=five[2])).status_code == 200
    statements = [entry["sql"] for entry in queries.captured_queries if "storedevent" in entry["sql"]]
    # A search first asks what of the log its term names at all.
    assert len(statements) == (2 if "q=" in query else 1)
    assert not any(re.search(r"COUNT\(|OFFSET|DISTINCT", each, re.IGNORECASE) for each in statements)
    statement = statements[-1]
    assert not re.search(r"COUNT\(|OFFSET|DISTINCT", statement, re.IGNORECASE)
    assert re.search(r'ORDER BY "eventsourcing_app_storedevent"."position" (DESC|ASC) LIMIT 101', statement)
    for column in ("metadata", "hash"):
        assert f'"{column}"' not in statement
    assert not re.search(r'"data"(?!(?:\)::text)?, 1, )', statement)  # its beginning only


def test_a_longer_list_takes_no_more_queries(root: Client, wallet: Wallet) -> None:
    counts = []
    for _round in range(2):
        with CaptureQueriesContext(connection) as queries:
            root.get(EVENTS)
        counts.append(len(queries))
        for number in range(10):
            Wallet.objects.perform_new(Wallet.open, owner=f"owner {number}")
    assert counts[0] == counts[1]


def test_filters_and_search_find_exactly(root: Client, five: list[int], wallet: Wallet) -> None:
    other = Wallet.objects.perform_new(Wallet.open, owner="Bob")
    event = wallet.history()[0]
    expected = {
        "type=samples.wallet_opened": [other.position, five[0]],
        "type=samples.money_put_in": five[:0:-1],
        "type=nothing.known": [],
        "stream_type=samples.wallet": [other.position, *five[::-1]],
        f"stream_type=samples.wallet&stream_key={other.pk}": [other.position],
        "actor=user:7": [five[1], five[0]],
        "actor=user:": [],
        "correlation_id=one-request": [five[1], five[0]],
        "actor=user:7&type=samples.wallet_opened": [five[0]],
        "q=user:7": [five[1], five[0]],
        "q=user:": [],
        f"q={event.event_id}": [five[0]],
        f"q={five[3]}": [five[3]],
        f"q={other.pk}": [other.position],
        "q=samples.wallet_opened": [other.position, five[0]],
        "q=%20user:7%20": [five[1], five[0]],
        "q=%": [],
        f"q={'9' * 30}": [],
    }
    for query, positions in expected.items():
        assert positions_in(root.get(f"{EVENTS}?{query}")) == positions, query


def test_choices_of_types_come_from_the_code(root: Client, wallet: Wallet) -> None:
    page = text_of(root.get(EVENTS))
    assert "?type=samples.never_applied" in page
    assert "?stream_type=samples.book" in page
    assert "?actor=" in page  # the link in the column, not a choice
    assert "?actor=user:7" not in page  # no choice: nobody looks through the log for actors
    filtered = text_of(root.get(f"{EVENTS}?actor=user:7&before=100000"))
    assert 'name="actor" value="user:7"' in filtered
    assert "before=100000" not in filtered


@pytest.mark.parametrize(
    "query",
    [
        "data__amount__startswith=5",
        "data__amount=50",
        "data=x",
        "metadata__request_id=r-1",
        "metadata__has_key=ip",
        "hash=x",
        "actor__startswith=u",
        "actor__regex=.*",
        "actor__isnull=0",
        "type__in=a,b",
        "position__gt=1",
        "recorded_at__year=2026",
        "stream_key__contains=a",
        "_connector=OR",
        "nothing=1",
        "e=1&data__amount=50",
        "period=month",
        "period=hour&since=2026-01-01",
        "since=yesterday",
        "until=2026-13-01",
        "since=0001-01-01T00:00%2B14:00",
        "live=2",
        "format=csv",
        "before=x",
        "before=-1",
        "after=1&before=9",
        f"after={2**63}",
        f"before={'9' * 5000}",
        "actor=%00",
        "actor=a&actor=b",
        "type=a&type=a",
        "q=%00",
        "%00=1",
    ],
)
def test_a_question_about_what_is_not_offered_is_400(root: Client, wallet: Wallet, query: str) -> None:
    assert root.get(f"{EVENTS}?{query}").status_code == 400


# Pages of one thing


def test_an_event_shows_every_column_escaped(root: Client, wallet: Wallet) -> None:
    event = wallet.history()[1]
    page = text_of(root.get(f"{EVENTS}{event.position}/change/"))
    assert "<script>alert" not in page
    assert "&quot;reference&quot;: &quot;&lt;script&gt;alert(1)&lt;/script&gt;&quot;" in page
    assert "&quot;request_id&quot;: &quot;r-1&quot;" in page
    assert bytes(event.hash).hex() in page
    assert event.recorded_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f UTC") in page
    for value in (event.event_id, event.type, "one-request", "user:7", f"{WALLETS}{wallet.pk}/change/"):
        assert str(value) in page


def test_times_are_utc_whatever_the_time_zone_of_the_project(root: Client, wallet: Wallet, settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    event = wallet.history()[0]
    exactly = event.recorded_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f UTC")
    assert f'title="{exactly}"' in text_of(root.get(EVENTS))
    shown = event.recorded_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    for address in (f"{EVENTS}?live=1", f"{WALLETS}{wallet.pk}/change/", WALLETS):
        assert shown in text_of(root.get(address)), address
    exact = event.recorded_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f UTC")
    for address in ("history", "past"):
        assert exact in text_of(root.get(f"{WALLETS}{wallet.pk}/{address}/?")), address


def test_an_event_leads_to_its_neighbours_in_the_stream(root: Client, five: list[int]) -> None:
    between = Wallet.objects.perform_new(Wallet.open, owner="Bob").position
    for before, at, after in ((None, five[0], five[1]), (five[1], five[2], five[3]), (five[3], five[4], None)):
        page = text_of(root.get(f"{EVENTS}{at}/change/"))
        previous = re.search(rf'href="{EVENTS}(\d+)/change/" rel="prev"', page)
        following = re.search(rf'href="{EVENTS}(\d+)/change/" rel="next"', page)
        assert (previous and int(previous[1])) == before
        assert (following and int(following[1])) == after
        assert f"{EVENTS}{between}/" not in page


def test_an_event_leads_to_its_cause(root: Client, wallet: Wallet) -> None:
    cause = wallet.history()[0]
    with context(causation_id=cause.event_id):
        position = Wallet.objects.perform(wallet.pk, Wallet.add, amount=Decimal(1)).position
    assert f"{EVENTS}{cause.position}/change/" in text_of(root.get(f"{EVENTS}{position}/change/"))


def test_the_state_is_shown_with_its_version(root: Client, wallet: Wallet) -> None:
    page = text_of(root.get(f"{WALLETS}{wallet.pk}/change/"))
    for value in ("Ada", "50.00", str(wallet.pk), "Audit trail"):
        assert value in page
    assert re.search(r'field-version.*?<div class="readonly">2</div>', page, re.DOTALL)
    assert '<input type="text"' not in page


def test_the_audit_trail_is_newest_first_in_pages(
    root: Client, wallet: Wallet, five: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EventSourcedAdmin, "events_per_page", 2)
    address = f"{WALLETS}{wallet.pk}/history/"

    def versions(query: str) -> list[int]:
        page = text_of(root.get(address + query))
        return [int(found) for found in re.findall(r'<th scope="row">(\d+)</th>', page)]

    with CaptureQueriesContext(connection) as queries:
        assert versions("") == [5, 4]
    trail = [entry["sql"] for entry in queries.captured_queries if "storedevent" in entry["sql"]]
    assert len(trail) == 2  # the page, and the fold that tells what its events changed
    assert not re.search(r"COUNT\(|OFFSET", "".join(trail), re.IGNORECASE)
    assert versions("?before=4") == [3, 2]
    assert versions("?before=2") == [1]
    assert versions("?after=1") == [3, 2]
    assert versions("?after=3") == [5, 4]
    page = text_of(root.get(f"{address}?before=4"))
    assert 'href="?after=3"' in page
    assert 'href="?before=2"' in page
    for query in ("?before=x", "?before=1&after=2", "?after=-1", "?type=%00", "?data=1"):
        assert root.get(address + query).status_code == 400


def test_the_audit_trail_tells_who_and_what_escaped(root: Client, wallet: Wallet) -> None:
    page = text_of(root.get(f"{WALLETS}{wallet.pk}/history/"))
    assert "samples.money_added" in page
    assert "?actor=user%3A7" in page
    assert "amount: 50 · reference: &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page


@pytest.mark.parametrize("key", ["nothing", "_00", "999999999999999999999999", "0", "-1", "_22", "x" * 3000])
def test_what_does_not_exist_is_said_to_not_exist(root: Client, key: str) -> None:
    for address in (EVENTS, WALLETS, COUNTERS, BOOKS, SUBSCRIPTIONS):
        for page in ("change", "history", "past"):
            assert root.get(f"{address}{key}/{page}/").status_code in (302, 404), (address, page)


@pytest.mark.parametrize("query", ["q=%00", "owner=%00", "%00", "nothing=1", "version=x", "o=999.x", "p=x"])
def test_odd_questions_to_other_lists_do_no_harm(root: Client, wallet: Wallet, query: str) -> None:
    for address in (WALLETS, COUNTERS, BOOKS, SUBSCRIPTIONS, PARKED):
        assert root.get(f"{address}?{query}").status_code in (200, 302, 400), address


def test_subscriptions_show_how_far_they_are_and_what_stopped_them(root: Client, subscription: Subscription) -> None:
    page = text_of(root.get(SUBSCRIPTIONS))
    assert "ValueError: &lt;b&gt;no&lt;/b&gt;" in page
    one = text_of(root.get(f"{SUBSCRIPTIONS}{subscription.pk}/change/"))
    assert re.search(r"Checkpoint <strong>12<", one)
    assert "Traceback" in one


def test_parked_events_show_why_they_wait(root: Client, subscription: Subscription) -> None:
    page = text_of(root.get(PARKED))
    assert "ValueError: &lt;b&gt;no stamps&lt;/b&gt;" in page
    assert "samples.totals" in page
    assert "Traceback" in text_of(root.get(f"{PARKED}{ParkedEvent.objects.get().pk}/change/"))


def test_a_summary_is_one_short_line() -> None:
    assert summary({"amount": "5", "lines": [1, 2]}) == "amount: 5 · lines: [1, 2]"
    assert summary({"text": "a\n  b"}) == "text: a b"
    assert len(summary({"text": "x" * 1000})) <= 120
    assert summary({}) == ""
    assert summary(5) == "5"


def test_pages_have_no_inline_script_or_style(root: Client, wallet: Wallet, subscription: Subscription) -> None:
    for address in pages(wallet, subscription):
        page = text_of(root.get(address))
        assert not re.findall(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>", page), address
        assert "<style" not in page, address
        assert not re.findall(r'\s(?:style|on\w+)="', page), address
