"""Each screen of the admin costs as many queries with little stored as with much, and no more than is written here."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from demo_bank.models import Account
from eventsourcing_app import context
from eventsourcing_app.log.recorded import FROM_ROW
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent, Subscription
from eventsourcing_app.subscriptions import pause, resume
from tests.admin_client import text_of

APP = "/admin/eventsourcing_app/"
LOG, ACCOUNT = f"{APP}storedevent/", "/admin/demo_bank/account/"

SCREENS = {
    "overview": (f"{APP}", 24),
    "events": (LOG, 9),
    "events, older": (f"{LOG}?before={{middle}}", 9),
    "events by type": (f"{LOG}?type=bank.money_deposited", 9),
    "events of an aggregate": (f"{LOG}?stream_type=bank.account&stream_key={{pk}}", 9),
    "events by key": (f"{LOG}?stream_key={{pk}}", 10),
    "events by actor": (f"{LOG}?actor=user:7", 9),
    "events of a correlation": (f"{LOG}?correlation_id={{correlation}}", 9),
    "events of a period": (f"{LOG}?since={{since}}", 11),
    "events that were searched": (f"{LOG}?q={{pk}}", 10),
    "live events": (f"{LOG}?live=1", 11),
    "tail": (f"{LOG}tail/?after=0", 11),
    "event": (f"{LOG}{{position}}/change/", 10),
    "correlation": (f"{LOG}correlation/?id={{correlation}}", 5),
    "operator log": (f"{LOG}operators/", 5),
    "accounts": (ACCOUNT, 4),
    "account": (f"{ACCOUNT}{{pk}}/change/", 7),
    "trail": (f"{ACCOUNT}{{pk}}/history/", 6),
    "time travel": (f"{ACCOUNT}{{pk}}/past/?version=2&compare=3", 9),
    "slider": (f"{ACCOUNT}{{pk}}/past/?version=2&part=1", 8),
    "command": (f"{ACCOUNT}{{pk}}/command/deposit/", 6),
    "subscriptions": (f"{APP}subscription/", 6),
    "subscription": (f"{APP}subscription/counts.0/change/", 8),
    "act on a subscription": (f"{APP}subscription/counts.0/act/pause/", 9),
    "parked events": (f"{APP}parkedevent/", 4),
    "parked event": (f"{APP}parkedevent/{{parked}}/change/", 4),
    "act on parked events": (f"{APP}parkedevent/act/retry/?subscription=counts.0", 3),
}
"""By what it is: its address, and the most queries that it takes, session and user included, on either database."""


def stored(number: int) -> dict[str, str]:
    """So many of everything; what the addresses need."""
    rows = [Subscription(name=f"counts.{each}", kind="subscriber") for each in range(number)]
    Subscription.objects.bulk_create(rows, ignore_conflicts=True)
    Segment.objects.all().delete()
    Segment.objects.bulk_create(Segment(subscription=row, number=each) for row in rows for each in range(2))
    pks = []
    with context(actor="user:7", correlation_id=str(uuid4())) as entered:
        for each in range(number):
            account = Account()
            account.open(owner=f"Ada {each}")
            for _ in range(2 + number):
                account.deposit(amount=Decimal("5.00"))
            account.save()
            pks.append(account.pk)
            pause("counts.0", reason="counting")
            resume("counts.0", reason="counted")
    event = Account.objects.get(pk=pks[0]).history().earliest("version")
    moment = timezone.now()
    parked = ParkedEvent.objects.bulk_create(
        ParkedEvent(
            segment=segment,
            position=event.position + place,
            event_id=uuid4(),
            type=event.type,
            stream_type=event.stream_type,
            stream_key=event.stream_key,
            state="failed",
            reason=f"Error{place}: no",
            attempts=1,
            last_failed_at=moment,
        )
        for segment in Segment.objects.all()
        for place in range(number)
    )
    Segment.objects.update(parked=number, last_error="ValueError: no", failed_at=moment, failed_position=event.position)
    facts = {
        "pk": pks[0],
        "position": event.position,
        "middle": event.position + 3,
        "correlation": entered.correlation_id,
        "since": f"{event.recorded_at:%Y-%m-%dT%H:%M:%S.%fZ}",
        "parked": parked[0].pk,
    }
    return {name: str(value) for name, value in facts.items()}


def asked(client: Client, address: str) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        text_of(client.get(address, follow=True))
    return [query["sql"] for query in queries.captured_queries]


@pytest.mark.django_db
@pytest.mark.parametrize("what", SCREENS)
def test_it_costs_as_many_queries_with_much_stored(what: str, root: Client) -> None:
    address, most = SCREENS[what]
    counts = []
    for number in (2, 7):
        facts = stored(number)
        asked(root, address.format(**facts))  # types of contents are known now, and snapshots made
        said = asked(root, address.format(**facts))
        log = [sql for sql in said if sql.startswith("SELECT ") and 'FROM "eventsourcing_app_storedevent"' in sql]
        assert not any(re.search(r"COUNT\(|OFFSET |DISTINCT", sql) for sql in log), log
        counts.append(len(said))
        ParkedEvent.objects.all().delete()
    assert counts[0] == counts[1], what
    assert counts[1] <= most, what


LONG, EVERY = 200, 8
READ = {
    "change/": 3 * EVERY,
    "history/": 8 * EVERY,
    "history/?before=100": 8 * EVERY,
    "past/?version=100": 2 * EVERY,
    "past/?version=100&compare=50": 2 * EVERY,
    "past/?version=100&part=1": 1 * EVERY,
}
"""Of a page of an aggregate, how many events are folded for it at most, whatever the length of its history."""


@pytest.fixture
def events_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events were read to be folded."""
    read, make = [0], FROM_ROW[connection.vendor]

    def counted(row: Any) -> Any:
        read[0] += 1
        return make(row)

    monkeypatch.setitem(FROM_ROW, connection.vendor, counted)
    return read


@pytest.mark.django_db(transaction=True)
def test_no_page_of_a_long_history_folds_more_than_it_shows(
    root: Client, events_read: list[int], settings: Any
) -> None:
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "SNAPSHOT_EVERY": EVERY}
    account = Account()
    account.open(owner="Ada")
    for _ in range(LONG - 1):
        account.deposit(amount=Decimal("5.00"))
    account.save()
    assert StoredEvent.objects.count() == LONG
    Account.objects.at(account.pk, version=LONG)  # makes the snapshots
    folded = {}
    for page in READ:
        address = f"{ACCOUNT}{account.pk}/{page}"
        text_of(root.get(address))
        events_read[0] = 0
        text_of(root.get(address))
        folded[page] = events_read[0]
    assert all(number <= READ[page] for page, number in folded.items()), folded
