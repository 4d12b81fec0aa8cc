"""The overview shows how log and subscriptions are to those who may know it, and each number leads to its list."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from eventsourcing_app.access.timeouts import ReadTimedOut
from eventsourcing_app.admin import overview
from eventsourcing_app.exceptions import LogUnsafe
from eventsourcing_app.log.locks import OpenAppend
from eventsourcing_app.log.settled import LogStatus
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent, Subscription
from eventsourcing_app.subscriptions import health
from tests.admin_client import EVENTS, OVERVIEW, READS, SEES, client_with, text_of
from tests.samples.factories import open_wallet

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db

SUBSCRIPTIONS, PARKED = "view_subscription", "view_parkedevent"
SECTIONS = {"es-activity", "es-log", "es-subscriptions", "es-parked"}


@pytest.fixture(autouse=True)
def rows(db: None) -> None:
    """Two events; subscriptions of which one is halted; and of three parked events one that is dead."""
    open_wallet("Ada", 50)
    Subscription.objects.all().delete()  # the demo's
    for name, status in (("t.good", "active"), ("t.bad", "halted"), ("t.other", "paused")):
        add_subscription(name, status)
    segment = Segment.objects.get(subscription="t.good")
    for number, state in enumerate(("failed", "behind", "dead"), start=1):
        park(segment, number, state)


def add_subscription(name: str, status: str = "active", checkpoint: int = 10**6) -> Segment:
    reason = "ValueError: a secret" if status == "halted" else ""
    row = Subscription.objects.create(name=name, kind="subscriber", status=status, status_reason=reason)
    return Segment.objects.create(subscription=row, checkpoint=checkpoint, last_error=reason)


def park(segment: Segment, position: int, state: str) -> None:
    ParkedEvent.objects.create(
        segment=segment, position=position, event_id=uuid4(), type="t", stream_type="t", stream_key="", sequence="s",
        state=state, reason="ValueError: a secret",
    )  # fmt: skip
    Segment.objects.filter(pk=segment.pk).update(parked=F("parked") + 1)


@pytest.fixture
def operator() -> Client:
    return client_with(SEES, SUBSCRIPTIONS, PARKED)


def cards(page: str) -> dict[str, str]:
    """What each number is, by its label."""
    pattern = r'<li class="es-card[^"]*">\s*<span[^>]*>(.*?)</span>\s*<strong>(.*?)</strong>'
    return {label: re.sub(r"<[^>]+>", "", value) for label, value in re.findall(pattern, page, re.DOTALL)}


def address_of(page: str, label: str) -> str | None:
    """Where a number leads."""
    found = re.search(rf">{label}</span>\s*<strong>(?:<a href=\"([^\"]*)\")?", page)
    assert found is not None
    return found[1]


def sections(page: str) -> set[str]:
    return set(re.findall(r'aria-labelledby="(es-\w+)"', page)) - {"es-problems"}


def test_each_number_is_what_there_is(operator: Client) -> None:
    found = cards(text_of(operator.get(OVERVIEW)))
    assert (found["In the last hour"], found["Last minute"], found["Highest minute"]) == ("2", "2", "2")
    assert found["Last position"] == found["Settled position"]
    assert (found["Not settled yet"], found["Oldest open append"]) == ("0", "none")
    assert (found["Active"], found["Halted"], found["Paused"]) == ("1", "1", "1")
    assert (found["Parked events"], found["Dead events"]) == ("3", "1")


def test_each_number_leads_to_a_list_that_can_be_opened(operator: Client) -> None:
    page = text_of(operator.get(OVERVIEW))
    addresses = re.findall(r'<strong><a href="([^"]*)"', page)
    assert len(addresses) >= 10
    for address in addresses:
        assert operator.get(address.replace("&amp;", "&")).status_code == 200, address
    assert "period=hour" in page


def test_the_drawing_has_a_text_in_its_place(operator: Client) -> None:
    page = text_of(operator.get(OVERVIEW))
    assert re.search(r'<svg [^>]*role="img" aria-label="Last hour: 2\. Highest minute: 2\. Last minute: 2\."', page)
    assert re.search(r'<path d="M[\d.]+ [\d.]+L', page)


@pytest.mark.parametrize(
    ("codenames", "expected"),
    [
        ((SEES,), {"es-activity", "es-log"}),
        ((SUBSCRIPTIONS,), {"es-log", "es-subscriptions"}),
        ((PARKED,), {"es-parked"}),
        ((SEES, SUBSCRIPTIONS, PARKED), SECTIONS),
    ],
)
def test_each_part_is_for_those_who_may_see_it(codenames: tuple[str, ...], expected: set[str]) -> None:
    client = client_with(*codenames)
    page = text_of(client.get(OVERVIEW))
    assert sections(page) == expected
    for address in re.findall(r'href="(/admin/eventsourcing_app/[^"]*)"', page):
        assert client.get(address.replace("&amp;", "&")).status_code == 200, address
    assert ("t.bad" in page) is (SUBSCRIPTIONS in codenames)


def test_nothing_is_shown_to_those_who_may_see_nothing() -> None:
    assert client_with().get(OVERVIEW).status_code == 404
    assert client_with(READS).get(OVERVIEW).status_code in (403, 404)


def test_no_error_of_a_handler_is_quoted(operator: Client) -> None:
    assert "secret" not in text_of(operator.get(OVERVIEW))


def test_what_is_wrong_is_said_first_and_marked(operator: Client, settings: Any) -> None:
    add_subscription("t.late", checkpoint=0)
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "HEALTH_LAG_SECONDS": -1.0}
    page = text_of(operator.get(OVERVIEW))
    assert page.index("What is wrong") < page.index("Events a minute")
    for sentence in ("Halted: t.bad.", "1 event will not be tried again by itself."):
        assert sentence in page
    assert re.search(r"t\.late is \d seconds? behind\.", page)
    wrong = re.findall(r'<li class="es-card es-wrong">\s*<span[^>]*>(.*?)</span>', page)
    assert wrong == ["Halted", "Furthest behind", "Dead events"]
    assert "Too long: t.<wbr>late" in page  # not by colour alone


def test_nothing_is_marked_where_all_is_well(operator: Client) -> None:
    Subscription.objects.exclude(name="t.good").delete()
    ParkedEvent.objects.all().delete()
    page = text_of(operator.get(OVERVIEW))
    assert "es-wrong" not in page
    assert "Log and subscriptions are well." in page
    assert "are well" not in text_of(client_with(SEES).get(OVERVIEW))  # who cannot know it is not told it


@pytest.mark.parametrize(("seconds", "is_wrong"), [(30, False), (90, True)])
def test_an_append_that_is_open_for_too_long_is_wrong(
    operator: Client, monkeypatch: pytest.MonkeyPatch, seconds: int, is_wrong: bool
) -> None:
    oldest = OpenAppend(age=timedelta(seconds=seconds), pid=4711, prepared=None)
    status = LogStatus(last=12, settled=9, candidate=12, holders=1, oldest_open_append=oldest)
    monkeypatch.setattr(health, "status", lambda: status)
    page = text_of(operator.get(OVERVIEW))
    assert cards(page)["Not settled yet"] == "3"
    assert ("An append has been open for" in page) is is_wrong
    assert ("Too long: it holds every subscription back." in page) is is_wrong
    assert "4711" not in page


def test_a_log_whose_order_is_not_safe_is_said_to_be_wrong(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsafe() -> None:
        raise LogUnsafe("It was restored.")

    monkeypatch.setattr(health, "status", unsafe)
    page = text_of(operator.get(OVERVIEW))
    assert "It was restored." in page
    assert sections(page) == SECTIONS - {"es-log"}


def test_what_cannot_be_read_is_left_out_and_said(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_args: object) -> None:
        raise ReadTimedOut(10.0)

    for name, missing in (("activity", "es-activity"), ("lags", "es-subscriptions"), ("visible_parked", "es-parked")):
        with monkeypatch.context() as patched:
            patched.setattr(overview, name, slow)
            page = text_of(operator.get(OVERVIEW))
        assert "did not answer within 10 seconds" in page, name
        assert sections(page) == SECTIONS - {missing}


def test_a_clock_that_cannot_be_used_is_no_error_of_the_page(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsafe() -> None:
        raise LogUnsafe("The clock is naive.")

    monkeypatch.setattr("eventsourcing_app.log.clock.now", unsafe)
    assert "The clock is naive." in text_of(operator.get(OVERVIEW))


def test_more_of_everything_takes_no_more_queries(operator: Client) -> None:
    counts = []
    for number in range(2):
        with CaptureQueriesContext(connection) as queries:
            text_of(operator.get(OVERVIEW))
        counts.append(len(queries))
        for each in range(5):
            segment = add_subscription(f"t.more{number}{each}", checkpoint=0)
            park(segment, 1, "dead")
            open_wallet("Bob", 1, 2)
    assert counts[0] == counts[1]


def test_more_parked_events_than_are_counted_are_said_to_be_more(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "MOST_PARKED", 2)
    assert cards(text_of(operator.get(OVERVIEW)))["Parked events"] == "2+"


@pytest.mark.parametrize("name", ["storedevent", "subscription", "parkedevent"])
def test_each_list_leads_to_the_overview(operator: Client, name: str) -> None:
    tools = text_of(operator.get(f"{OVERVIEW}{name}/")).partition('class="object-tools"')[2]
    assert f'<li><a href="{OVERVIEW}">Overview</a></li>' in tools


def test_the_list_of_models_is_kept(operator: Client) -> None:
    assert 'class="app-eventsourcing_app module' in text_of(operator.get(OVERVIEW))


def test_positions_lead_to_where_they_are_in_the_log(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    last = StoredEvent.objects.latest("position").position
    page = text_of(operator.get(OVERVIEW))
    assert address_of(page, "Settled position") == f"{EVENTS}?before={last + 1}"
    first = text_of(operator.get(f"{EVENTS}?before={last + 1}"))
    assert re.search(r'<th class="field-position[^"]*"><a [^>]*>(\d+)</a>', first)[1] == str(last)  # type: ignore[index]
    assert address_of(page, "Not settled yet") is None
    unsettled = LogStatus(last=last, settled=last - 1, candidate=None, holders=0, oldest_open_append=None)
    monkeypatch.setattr(overview, "log_status", lambda: (unsettled, ""))
    assert address_of(text_of(operator.get(OVERVIEW)), "Not settled yet") == f"{EVENTS}?after={last - 1}"


def test_the_drawing_says_what_it_spans(operator: Client) -> None:
    figure = re.search(r'<figure class="es-activity">(.*?)</figure>', text_of(operator.get(OVERVIEW)), re.DOTALL)
    assert figure is not None
    assert re.sub(r"<[^>]+>", " ", figure[1]).split() == ["2", "60", "minutes", "ago", "now"]
