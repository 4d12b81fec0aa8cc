"""A correlation is shown as the trees of causes and effects that it is, however deep, wide or strange they are."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path

from eventsourcing_app import context, publish
from eventsourcing_app.access import correlation
from eventsourcing_app.access.correlation import correlation_of
from eventsourcing_app.admin import EventSourcedAdmin, StoredEventAdmin
from eventsourcing_app.admin.durations import duration
from eventsourcing_app.log.records import StoredEventQuerySet
from eventsourcing_app.models import StoredEvent
from tests.samples.events import NeverApplied, RateChanged
from tests.samples.factories import LOG, open_wallet, tamper
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from eventsourcing_app.access.correlation import Correlation

site = admin.AdminSite()
site.register(StoredEvent, StoredEventAdmin)
site.register(Wallet, EventSourcedAdmin)
urlpatterns = [path("admin/", site.urls)]
PAGE = "/admin/eventsourcing_app/storedevent/correlation/"

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


def all_events() -> StoredEventQuerySet:
    return StoredEventQuerySet(StoredEvent)


def fact(cause: StoredEvent | None = None, correlation_id: str = "one", key: str = "") -> StoredEvent:
    """A fact that another event caused."""
    with context(correlation_id=correlation_id, causation_id=None if cause is None else cause.event_id):
        return StoredEvent.objects.get(position=publish(NeverApplied(), key=key))


def chain(length: int) -> list[StoredEvent]:
    found: list[StoredEvent] = []
    for _ in range(length):
        found.append(fact(found[-1] if found else None))
    return found


def levels(found: Correlation) -> list[tuple[int, int]]:
    return [(node.event.position, node.level) for node in found.nodes()]


class Lists(HTMLParser):
    """How deep each event stands in the lists of the page, and whether all of them are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[int, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        classes = dict(attrs).get("class") or ""
        if (tag == "ol" and ("es-tree" in classes or self.open)) or (tag == "li" and self.open):
            self.open.append(tag)
        link = re.search(r"storedevent/(\d+)/change/", dict(attrs).get("href") or "")
        if link and self.open and self.open[-1] == "li" and not (self.found and self.found[-1][0] == int(link[1])):
            self.found.append((int(link[1]), self.open.count("ol") - 1))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("ol", "li") and self.open:
            assert self.open.pop() == tag


def lists_of(client: Client, query: str = "?id=one") -> list[tuple[int, int]]:
    response = client.get(PAGE + query)
    assert response.status_code == 200
    lists = Lists()
    lists.feed(response.content.decode())
    assert lists.open == []
    return lists.found


# The tree


def test_effects_stand_below_their_causes_across_streams(root: Client) -> None:
    first = fact()
    left, right = fact(first), fact(first)
    below = fact(left)
    alone = fact()
    expected = [(first.position, 0), (left.position, 1), (below.position, 2), (right.position, 1), (alone.position, 0)]
    found = correlation_of(all_events(), "one")
    assert levels(found) == expected
    assert lists_of(root) == expected
    assert [node.event for node in found.roots] == [first, alone]


def test_a_cause_of_another_correlation_is_told_as_such(root: Client) -> None:
    elsewhere = fact(correlation_id="two")
    fact(elsewhere)
    found = correlation_of(all_events(), "one")
    (node,) = found.roots
    assert node.cause == elsewhere
    page = root.get(f"{PAGE}?id=one").content.decode()
    assert "which belongs to another" in page
    assert f"{PAGE}?id=two" in page
    assert f"/storedevent/{elsewhere.position}/change/" in page


def test_a_cause_that_nobody_knows_is_told_as_such(root: Client) -> None:
    with context(correlation_id="one", causation_id=uuid4()):
        publish(NeverApplied())
    assert "Its cause is not among the events that you may see." in root.get(f"{PAGE}?id=one").content.decode()


def test_a_chain_of_any_length_is_told(root: Client) -> None:
    events = chain(130)
    found = correlation_of(all_events(), "one")
    assert levels(found) == [(event.position, level) for level, event in enumerate(events)]
    shown = lists_of(root)
    assert [position for position, _depth in shown[: 2 * 41 : 1]][:41] == [event.position for event in events[:41]]
    assert max(depth for _position, depth in shown) == 40
    page = root.get(f"{PAGE}?id=one").content.decode()
    assert "level 130" in page


def test_circles_and_causes_from_the_future_end(root: Client) -> None:
    one, two, three = chain(3)
    tamper(f"UPDATE {LOG} SET causation_id = %s WHERE position = %s", [_stored(three.event_id), one.position])
    tamper(f"UPDATE {LOG} SET causation_id = %s WHERE position = %s", [_stored(two.event_id), two.position])
    found = correlation_of(all_events(), "one")
    assert sorted(levels(found)) == [(one.position, 0), (two.position, 0), (three.position, 1)]
    assert len(lists_of(root)) >= 3


def _stored(event_id: UUID) -> Any:
    return event_id if connection.vendor == "postgresql" else event_id.hex


def test_streams_and_durations_are_summed_up(root: Client) -> None:
    with context(correlation_id="one"):
        open_wallet("Ada", 1, 2)
    fact(key="a")
    fact(key="b")
    found = correlation_of(all_events(), "one")
    assert len(found.events) == 5
    assert len(found.streams) == 3
    assert found.duration == found.events[-1].recorded_at - found.events[0].recorded_at
    page = root.get(f"{PAGE}?id=one").content.decode()
    assert page.count("<circle") == 5
    assert page.count("<g><title>") == 3


def test_of_events_of_one_moment_no_durations_are_told(root: Client) -> None:
    with context(correlation_id="one"):
        wallet = open_wallet("Ada", 1)
    first, second = wallet.history()
    tamper(f"UPDATE {LOG} SET causation_id = %s WHERE position = %s", [_stored(first.event_id), second.position])
    assert " after " not in root.get(f"{PAGE}?id=one").content.decode()
    later = second.recorded_at + timedelta(milliseconds=250)
    tamper(f"UPDATE {LOG} SET recorded_at = %s WHERE position = %s", [later, second.position])
    page = root.get(f"{PAGE}?id=one").content.decode()
    assert "250 ms after its cause" in page
    assert "250 ms after the first" in page


def test_the_title_tells_one_correlation_from_another(root: Client) -> None:
    for name in ("one", "a" * 128):
        fact(correlation_id=name)
        page = root.get(f"{PAGE}?id={name}").content.decode()
        title = re.search(r"<title>\s*Correlation (\S+)", page)
        assert title is not None
        assert title[1] == (name if name == "one" else "a" * 39 + "…")
        assert f"<code>{name}</code>" in page


def test_more_events_than_fit_are_told_in_parts(root: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlation, "MOST_EVENTS", 3)
    events = chain(5)
    response = root.get(f"{PAGE}?id=one")
    assert len(response.context["items"]) == 3
    more = response.context["more_url"]
    assert more == f"{PAGE}?id=one&after={events[2].position}"
    rest = root.get(more)
    assert [item.event for item in rest.context["items"]] == events[3:]
    assert rest.context["more_url"] is None
    # Its cause was told before.
    assert (
        f'Caused by <a href="/admin/eventsourcing_app/storedevent/{events[2].position}/change/">'
        in rest.content.decode()
    )


# Who may see what


def test_it_needs_the_permission_to_see_events(root: Client) -> None:
    fact()
    assert Client().get(f"{PAGE}?id=one").status_code == 302
    nobody = User.objects.create_user("nobody", is_staff=True)
    client = Client()
    client.force_login(nobody)
    assert client.get(f"{PAGE}?id=one").status_code == 403
    assert root.post(f"{PAGE}?id=one").status_code == 403


def test_summaries_are_masked_and_not_even_fetched() -> None:
    with context(correlation_id="one"):
        publish(RateChanged(currency="XSECRET", rate=Decimal(1)))
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename="view_storedevent"))
    client = Client()
    client.force_login(viewer)
    with CaptureQueriesContext(connection) as queries:
        page = client.get(f"{PAGE}?id=one").content.decode()
    assert "samples.rate_changed" in page.replace("<wbr>", "")
    assert "masked" in page
    assert "XSECRET" not in page
    assert not [entry for entry in queries.captured_queries if '"data"' in entry["sql"]]


def without_keys(events: QuerySet[StoredEvent], _user: object) -> QuerySet[StoredEvent]:
    return events.filter(stream_key="")


def test_events_that_are_not_there_for_a_user_are_not_told(root: Client, settings: Any) -> None:
    first = fact(key="hidden")
    second = fact(first)
    settings.EVENTSOURCING = {"DISPATCHER": "none", "VISIBLE_EVENTS": without_keys}
    assert [position for position, _ in lists_of(root)] == [second.position]
    page = root.get(f"{PAGE}?id=one").content.decode()
    assert "Its cause is not among the events that you may see." in page
    assert f"/{first.position}/" not in page


@pytest.mark.parametrize(
    "query", ["", "?id=", "?id=%00", f"?id={'x' * 129}", "?id=one&after=x", "?id=a&id=b", "?q=one", "?id=one&before=1"]
)
def test_what_cannot_be_asked_is_400(root: Client, query: str) -> None:
    assert root.get(PAGE + query).status_code == 400


def test_an_id_that_no_event_has_is_said_to_be_so(root: Client) -> None:
    response = root.get(f"{PAGE}?id=none")
    assert response.status_code == 200
    assert "no events with this correlation id" in response.content.decode()


def test_more_events_take_no_more_queries(root: Client) -> None:
    counts = []
    for length in (3, 20):
        chain(length)
        with context(correlation_id="one", actor=f"user:{length}"):
            open_wallet("Ada", 1)
        with CaptureQueriesContext(connection) as queries:
            root.get(f"{PAGE}?id=one")
        counts.append(len(queries))
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0015, "1.5 ms"),
        (0.24, "240 ms"),
        (2.34, "2.3 s"),
        (61, "1 min 1 s"),
        (3_700, "1 h 1 min"),
        (90_000, "1 d 1 h"),
        (-2, "−2 s"),
    ],
)
def test_durations_are_told_in_their_largest_units(seconds: float, text: str) -> None:
    assert duration(timedelta(seconds=seconds)) == text
