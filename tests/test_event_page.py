"""The page of an event tells what it says, what it changed and where it leads; and to each only what they may see."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path

from demo_bank.models import Account
from demo_bank.transfers import transfer
from eventsourcing_app import context, publish
from eventsourcing_app.admin import EventSourcedAdmin, ParkedEventAdmin, StoredEventAdmin, SubscriptionAdmin
from eventsourcing_app.admin.payload import Payload
from eventsourcing_app.aggregates.past.step import step
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent, Subscription
from eventsourcing_app.subscriptions import acts
from tests.admin_client import client_with
from tests.reactions_sample.scene import append_raw
from tests.samples.events import Colour, EverythingHappened, Line
from tests.samples.factories import counter_of, issue_passport, list_book, open_wallet, remove_row
from tests.samples.models import Book, Counter, Passport, Wallet

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest


class WalletAdmin(EventSourcedAdmin[Wallet]):
    """Shows the owner to nobody."""

    fields = ("balance", "labels", "note", "version")


class OwnAccountAdmin(EventSourcedAdmin[Account]):
    """Shows accounts of Ada only."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Account]:
        return super().get_queryset(request).filter(owner="Ada")


class SaidOtherwise(StoredEventAdmin):
    """As a project would say some things otherwise."""

    payload_labels = {"samples.money_added.amount": "Sum", "owner": "<Holder>"}

    def payload_value(self, event: StoredEvent, name: str, value: object) -> str | None:
        return f"~ {value:.0f} <b>" if name == "amount" and isinstance(value, Decimal) else None


site = admin.AdminSite()
for model, shown_by in (
    (StoredEvent, StoredEventAdmin),
    (Subscription, SubscriptionAdmin),
    (ParkedEvent, ParkedEventAdmin),
    (Wallet, WalletAdmin),
    (Book, EventSourcedAdmin),
    (Counter, EventSourcedAdmin),
    (Passport, EventSourcedAdmin),
    (Account, OwnAccountAdmin),
    (User, admin.ModelAdmin),
):
    site.register(model, shown_by)
otherwise = admin.AdminSite("otherwise")
otherwise.register(StoredEvent, SaidOtherwise)
urlpatterns = [path("admin/", site.urls), path("otherwise/", otherwise.urls)]
EVENTS = "/admin/eventsourcing_app/storedevent/"
VIEW, PAYLOAD = "view_storedevent", "view_payload"

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


def shown(client: Client, event: StoredEvent | int, site: str = "admin") -> Any:
    position = event if isinstance(event, int) else event.position
    response = client.get(f"/{site}/eventsourcing_app/storedevent/{position}/change/")
    assert response.status_code == 200, response.status_code
    return response


def text_of(client: Client, event: StoredEvent | int) -> str:
    found: str = shown(client, event).content.decode()
    return found


def payload(client: Client, event: StoredEvent, site: str = "admin") -> dict[str, tuple[str, str]]:
    """Labels and values by field."""
    return {field.name: (field.label, field.value) for field in shown(client, event, site).context["payload"]}


def changes(client: Client, event: StoredEvent) -> dict[str, tuple[str, str, bool]]:
    state = shown(client, event).context["state"]
    return {field.name: (field.before, field.after, field.changed) for field in state.fields}


def account(owner: str = "Ada", number: str = "DE01") -> Account:
    receipt = Account.objects.perform_new(Account.open, owner=owner, number=number, currency="EUR")
    return Account.objects.get(pk=receipt.pk)


# What it says


def everything(**values: Any) -> StoredEvent:
    kept: dict[str, Any] = {
        "text": "1 < 2",
        "flag": True,
        "number": 12345,
        "ratio": 0.5,
        "amount": Decimal("1234567.50"),
        "day": date(2026, 3, 1),
        "moment": datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
        "clock": time(9, 5),
        "span": timedelta(minutes=90),
        "ident": UUID(int=7),
        "colour": Colour.RED,
        "word": "yes",
        "perhaps": None,
        "many": [1.5, 2.0],
        "pair": (1, "a"),
        "several": (Decimal("1.50"),),
        "mapping": {"left_side": 1.0},
        "unique": {1},
        "frozen": frozenset({"b"}),
        "lines": [Line(article="pen", amount=Decimal(2000), weights=[0.1])],
    }
    return StoredEvent.objects.get(position=publish(EverythingHappened(**(kept | values))))


def test_each_kind_of_value_is_shown_for_people(root: Client) -> None:
    said = payload(root, everything())
    plain = {name: re.sub(r"<[^>]+>", " ", value).split() for name, (_label, value) in said.items()}
    assert plain == {
        "text": ["1", "<", "2"],
        "flag": ["Yes"],
        "number": ["12345"],
        "ratio": ["0.5"],
        "amount": ["1,234,567.50"],
        "day": ["March", "1,", "2026"],
        "moment": ["2026-03-01", "12:30:00", "UTC"],
        "clock": ["09:05:00"],
        "span": ["1", "h", "30", "min"],
        "ident": [str(UUID(int=7))],
        "colour": ["Red"],
        "word": ["yes"],
        "perhaps": ["—"],
        "many": ["1.5", "2.0"],
        "pair": ["1", "a"],
        "several": ["1.50"],
        "mapping": ["Left", "side", "1.0"],
        "unique": ["1"],
        "frozen": ["b"],
        "lines": ["Article", "pen", "Amount", "2,000", "Weights", "0.1"],
    }
    assert "1 &lt; 2" in text_of(root, everything())


def test_labels_choices_and_currencies_come_from_the_model_and_beside_the_amount(root: Client) -> None:
    own = account()
    Account.objects.perform(own.pk, Account.deposit, amount=Decimal("12500.5"))
    said = payload(root, own.history()[1])
    assert said["amount"] == ("Amount", "12,500.50\u00a0EUR")
    assert said["currency"] == ("Currency", "euro")
    assert said["reference"] == ("Reference", "—")


def test_amounts_have_the_currency_of_the_state_where_the_event_says_none(root: Client) -> None:
    assert shown(root, account().history()[0]).context["state"].currency == "EUR"
    said = Payload({"amount": Decimal(5)}, model=None, urls={}, currency="EUR")
    ((_name, _label, value),) = said.fields(label=lambda _name: None, value=lambda _name, _value: None)
    assert value == "5\u00a0EUR"


def test_a_project_may_say_it_otherwise(root: Client) -> None:
    opened = open_wallet("Ada", 50)
    assert payload(root, opened.history()[1], "otherwise")["amount"] == ("Sum", "~ 50 <b>")
    assert payload(root, opened.history()[0], "otherwise")["owner"] == ("<Holder>", "Ada")
    page = shown(root, opened.history()[1], "otherwise").content.decode()
    assert "~ 50 &lt;b&gt;" in page
    assert "&lt;Holder&gt;" in shown(root, opened.history()[0], "otherwise").content.decode()


def test_what_a_project_leaves_empty_is_not_shown(root: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SaidOtherwise, "payload_labels", {"samples.money_added.amount": "", "amount": "Sum"})
    monkeypatch.setattr(SaidOtherwise, "payload_value", lambda *_asked: "")
    event = open_wallet("Ada", 50).history()[1]
    assert payload(root, event, "otherwise")["amount"] == ("", "")


def test_an_old_event_is_shown_as_stored_and_as_code_reads_it_today(root: Client) -> None:
    book = list_book()
    old = append_raw("samples.book_renamed", {"title": "Emma: A Novel"}, key="raw")
    event = StoredEvent.objects.get(position=old)
    assert payload(root, event)["subtitle"] == ("Subtitle", "A Novel")
    page = text_of(root, event)
    assert "As today’s code reads it" in page
    assert "As today’s code reads it" not in text_of(root, book.history()[0])


@pytest.mark.parametrize(
    ("type_", "data", "problem"),
    [
        ("samples.gone", {"amount": "5"}, "No event is declared"),
        ("samples.money_added", {"amount": 5}, "is unreadable"),
        ("samples.money_added", {}, "is unreadable"),
    ],
)
def test_what_no_code_can_read_is_shown_as_it_is_stored(
    root: Client, type_: str, data: dict[str, object], problem: str
) -> None:
    opened = open_wallet("Ada")
    position = append_raw(type_, data, key=str(opened.pk), version=2)
    page = text_of(root, position)
    assert "No code here can read it." in page
    assert problem in page
    assert "The state cannot be told." in page


def test_what_an_apply_method_raises_is_shown_and_no_error_of_the_page(
    root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_wallet("Ada", 1)

    def broken(_self: Wallet, _event: object) -> None:
        raise ZeroDivisionError("never by nothing")

    monkeypatch.setattr(Wallet, "_added", broken)
    page = text_of(root, opened.history()[1])
    assert "ZeroDivisionError: never by nothing" in page
    assert "While folding samples.wallet" in page


# Where it leads


def test_values_lead_to_the_aggregates_events_and_correlations_that_they_name(root: Client) -> None:
    book = list_book("B-1")
    opened = open_wallet("Ada")
    with context(correlation_id=str(UUID(int=9))):
        other = open_wallet("Bob").history()[0]
    for ident, target in (
        (opened.pk, f"/admin/samples/wallet/{opened.pk}/change/"),
        (other.event_id, f"{EVENTS}{other.position}/change/"),
        (UUID(int=9), f"{EVENTS}correlation/?id={UUID(int=9)}"),
    ):
        assert f'href="{target}"' in payload(root, everything(ident=ident))["ident"][1]
    assert "href" not in payload(root, everything(ident=uuid4()))["ident"][1]
    assert "href" not in payload(root, everything(text="B-1"))["text"][1]  # in a field that is called after nothing
    named = append_raw("samples.contract_of_book", {"book_id": book.isbn, "isbn": book.isbn})
    said = payload(root, StoredEvent.objects.get(position=named))
    assert 'href="/admin/samples/book/B-1/change/"' in said["book_id"][1]
    assert "href" not in said["isbn"][1]


def test_the_id_of_a_transfer_leads_to_the_correlation_in_which_both_halves_are(root: Client) -> None:
    one, two = account(), account("Bob", "DE02")
    Account.objects.perform(one.pk, Account.deposit, amount=Decimal(10))
    with context(correlation_id="together"):
        transfer(one.pk, two.pk, Decimal(1))
    sent = one.history()[2]
    assert f'href="{EVENTS}correlation/?id=together"' in payload(root, sent)["transfer_id"][1]


def test_values_lead_nowhere_that_the_user_may_not_go() -> None:
    opened = open_wallet("Ada")
    event = everything(ident=opened.pk)
    client = client_with(VIEW, PAYLOAD)
    assert "/admin/samples/wallet/" not in text_of(client, event)
    assert f"stream_key={opened.pk}" in payload(client, event)["ident"][1]  # its events, which may be seen


def test_the_actor_has_a_name_for_those_who_may_see_users(root: Client) -> None:
    ada = User.objects.create_user("ada", first_name="Ada", last_name="Byron")
    for actor in (f"user:{ada.pk}", "user:x", "user:", f"user:{2**70}", "robot", ""):
        with context(actor=actor):
            event = open_wallet("Eve").history()[0]
        assert ("Ada Byron" in text_of(root, event)) is (actor == f"user:{ada.pk}"), actor
    with context(actor=f"user:{ada.pk}"):
        event = open_wallet("Eve").history()[0]
    assert f"/admin/auth/user/{ada.pk}/change/" in text_of(root, event)
    client = client_with(VIEW, PAYLOAD)
    assert "Byron" not in text_of(client, event)
    assert f"user:{ada.pk}" in text_of(client, event)


def test_what_it_caused_is_told_and_the_rest_is_found_by_a_filter(
    root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventsourcing_app.access.surroundings.MOST_CHILDREN", 2)
    event = open_wallet("Ada").history()[0]
    with context(causation_id=event.event_id):
        children = [open_wallet("Bob").history()[0] for _ in range(3)]
    page = text_of(root, event)
    assert [f"{EVENTS}{child.position}/change/" in page for child in children] == [True, True, False]
    assert f"causation_id={event.event_id}" in page
    assert f"#{event.position}" in text_of(root, children[0])


# What it changed


def test_the_state_before_and_after_is_told_with_what_changed(root: Client) -> None:
    opened = open_wallet("Ada", 50, 20)
    assert changes(root, opened.history()[2])["balance"] == ("50.00", "70.00", True)
    assert changes(root, opened.history()[2])["labels"][2] is False
    first = changes(root, opened.history()[0])
    assert first["balance"] == ("—", "0.00", True)
    assert "With this event it began." in text_of(root, opened.history()[0])


def test_of_fields_that_the_admin_of_the_model_does_not_show_nothing_is_told(root: Client) -> None:
    opened = open_wallet("Ada")
    assert set(changes(root, opened.history()[0])) == {"balance", "labels"}  # not the owner, nor a note without history


def test_choices_are_told_by_their_labels(root: Client) -> None:
    passport = issue_passport()
    passport.lose()
    passport.save()
    assert changes(root, passport.history()[1])["status"] == ("Valid", "Lost", True)


def test_an_aggregate_that_the_admin_keeps_from_the_user_is_kept_here_too(root: Client) -> None:
    assert shown(root, account("Bob").history()[0]).context["state"] is None
    assert shown(root, account("Ada", "DE02").history()[0]).context["state"] is not None


def test_an_aggregate_whose_row_has_gone_is_told_still(root: Client) -> None:
    opened = open_wallet("Ada", 50)
    event = opened.history()[1]
    remove_row(opened)
    assert changes(root, event)["balance"] == ("0.00", "50.00", True)


def test_the_state_needs_three_permissions(root: Client) -> None:
    event = open_wallet("Ada", 50).history()[1]
    for number, codenames in enumerate(((VIEW,), (VIEW, PAYLOAD), (VIEW, "view_wallet"))):
        assert not shown(client_with(*codenames, name=f"viewer {number}"), event).context.get("state")
    assert shown(client_with(VIEW, PAYLOAD, "view_wallet"), event).context["state"]


def not_the_first(events: QuerySet[StoredEvent], _user: object) -> QuerySet[StoredEvent]:
    return events.filter(version__gt=1)


def test_of_a_history_that_is_not_there_as_a_whole_no_state_is_told(root: Client, settings: Any) -> None:
    opened = open_wallet("Ada", 50)
    first, event = opened.history()
    settings.EVENTSOURCING = {"DISPATCHER": "none", "VISIBLE_EVENTS": not_the_first}
    response = shown(root, event)
    assert response.context["state"] is None
    assert f"{EVENTS}{first.position}/" not in response.content.decode()
    assert root.get(f"{EVENTS}{first.position}/change/").status_code in (302, 404)


def test_a_step_of_a_long_history_is_folded_from_the_nearest_snapshot(settings: Any) -> None:
    settings.EVENTSOURCING = {"DISPATCHER": "none", "SNAPSHOT_EVERY": 10}
    counter = counter_of(40)
    Counter.objects.at(counter.pk, version=30)
    made = step(Counter, str(counter.pk), 35)
    assert made is not None
    assert (made.before or {})["total"] + 1 == made.after["total"] == 34
    for version in (30, 31):  # of which there is a snapshot, and the next one
        made = step(Counter, str(counter.pk), version)
        assert made is not None
        assert (made.before or {})["total"] + 1 == made.after["total"] == version - 1
    assert step(Counter, str(counter.pk), 41) is None
    first = step(Counter, str(counter.pk), 1)
    assert first is not None
    assert first.before is None


# Who may see what


SECRETS = ("XOWNER", "XREQUEST", "1234.56", "ValueError")


@pytest.fixture
def secret() -> StoredEvent:
    """An event of which a subscription failed, and one was told to give it up."""
    with context(request_id="XREQUEST"):
        opened = open_wallet("XOWNER", "1234.56")
    event = opened.history()[1]
    for name, parked in (("t.failed", True), ("t.skipped", False)):
        row = Subscription.objects.create(name=name, kind="subscriber", types=["samples.money_added"])
        segment = Segment.objects.create(subscription=row, checkpoint=event.position)
        if parked:
            ParkedEvent.objects.create(
                segment=segment,
                position=event.position,
                event_id=event.event_id,
                type=event.type,
                stream_type=event.stream_type,
                stream_key=event.stream_key,
                sequence="s",
                state="dead",
                attempts=8,
                reason="ValueError: XOWNER has 1234.56",
            )
    acts.record_act(
        acts.EventSkipped(
            subscription="t.skipped",
            reason="XREASON",
            position=event.position,
            event_id=event.event_id,
            type=event.type,
        )
    )
    return event


def test_all_of_it_is_shown_to_who_may_see_all(root: Client, secret: StoredEvent) -> None:
    page = text_of(root, secret)
    for each in (*SECRETS[1:], "XREASON"):
        assert each in page, each
    assert bytes(secret.hash).hex() in page


def test_what_events_say_is_masked_everywhere_and_not_even_fetched(secret: StoredEvent) -> None:
    client = client_with(VIEW, "view_wallet", "view_subscription", "view_parkedevent")
    with CaptureQueriesContext(connection) as queries:
        page = text_of(client, secret)
    for each in (*SECRETS, bytes(secret.hash).hex()):
        assert each not in page, each
    assert "XREASON" in page  # an operator's words
    assert page.count("masked") >= 3
    about_it = [entry["sql"] for entry in queries.captured_queries if "storedevent" in entry["sql"]]
    assert not [sql for sql in about_it if '."metadata"' in sql or '."hash"' in sql]


def test_deliveries_are_told_to_who_may_see_subscriptions_and_failures_to_who_may_see_those(
    secret: StoredEvent,
) -> None:
    nothing = text_of(client_with(VIEW, PAYLOAD, name="events"), secret)
    assert "t.failed" not in nothing
    assert "Delivery" not in nothing
    some = text_of(client_with(VIEW, PAYLOAD, "view_subscription", name="subscriptions"), secret)
    assert "t.failed" in some
    assert "parked" in some
    assert "attempts: 8" not in some
    assert "ValueError" not in some
    more = text_of(client_with(VIEW, PAYLOAD, "view_subscription", "view_parkedevent", name="parked"), secret)
    assert "attempts: 8" in more
    assert "ValueError" in more
    assert f"/parkedevent/{ParkedEvent.objects.get().pk}/change/" in more


def without_acts(events: QuerySet[StoredEvent], _user: object) -> QuerySet[StoredEvent]:
    return events.filter(version__isnull=False)


def test_an_act_that_is_not_there_for_a_user_is_not_told(root: Client, secret: StoredEvent, settings: Any) -> None:
    settings.EVENTSOURCING = {"DISPATCHER": "none", "VISIBLE_EVENTS": without_acts}
    page = text_of(root, secret)
    assert "skipped" in page
    assert "XREASON" not in page


def test_more_of_everything_takes_no_more_queries(root: Client) -> None:
    counts = []
    for count in (3, 2, 30):  # at the first one, what a process keeps may still have to be read
        with context(correlation_id="one", actor="user:1"):
            opened = open_wallet("Ada", *range(1, count))
            event = opened.history()[count - 1]
            with context(causation_id=event.event_id):
                for _ in range(count):
                    open_wallet("Bob")
        for number in range(count):
            row = Subscription.objects.create(name=f"t.{count}.{number}", types=["samples.#"], segment_count=1)
            Segment.objects.create(subscription=row)
        with CaptureQueriesContext(connection) as queries:
            shown(root, event)
        counts.append(len(queries))
    assert counts[1] == counts[2]
    assert counts[1] < 25
