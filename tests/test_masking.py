"""Who may not see payloads sees them nowhere: not in the API, not in an export, not in the admin, not by asking."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import include, path
from rest_framework.routers import DefaultRouter

from demo_bank.demo.logins import ensure_logins
from eventsourcing_app import context
from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.admin import EventSourcedAdmin, ParkedEventAdmin, StoredEventAdmin, SubscriptionAdmin
from eventsourcing_app.api import EventSourcedViewSet, StoredEventViewSet
from eventsourcing_app.api.serializers import StoredEventSerializer
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent, Subscription
from tests.api_client import client_of, problem_of, user_with
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from rest_framework.test import APIClient


class WalletViewSet(EventSourcedViewSet):
    model = Wallet


router = DefaultRouter()
router.include_format_suffixes = False
router.register("wallets", WalletViewSet)
router.register("events", StoredEventViewSet)
site = admin.AdminSite()
site.register(StoredEvent, StoredEventAdmin)
site.register(Subscription, SubscriptionAdmin)
site.register(ParkedEvent, ParkedEventAdmin)
site.register(Wallet, EventSourcedAdmin)
urlpatterns = [path("admin/", site.urls), path("api/", include(router.urls))]

SECRET = "for the blackmailer"
"""Stands in a payload, and in nothing else that is shown."""
SECRET_AMOUNT = "4321.98"  # with a point: no random id has it by chance
SEES = (
    *("samples.view_wallet", "samples.add_wallet", "samples.change_wallet", "eventsourcing_app.view_storedevent"),
    *("eventsourcing_app.view_subscription", "eventsourcing_app.view_parkedevent"),
    "eventsourcing_app.export_storedevent",
)
PAYLOAD = "eventsourcing_app.view_payload"

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


@pytest.fixture
def wallet() -> Wallet:
    with context(request_id=SECRET):
        wallet = Wallet()
        wallet.open(owner="Ada")
        wallet.add(Decimal(SECRET_AMOUNT), reference=SECRET)
        wallet.save()
    return wallet


@pytest.fixture
def blind() -> APIClient:
    return client_of(user_with(*SEES, name="blind"))


@pytest.fixture
def seeing() -> APIClient:
    return client_of(user_with(*SEES, PAYLOAD, name="seeing"))


def body_of(response: Any) -> str:
    content = b"".join(response.streaming_content) if response.streaming else response.content
    text: str = content.decode()
    return text


def assert_masked(event: dict[str, Any]) -> None:
    assert (event["masked"], event["data"], event["metadata"], event["hash"]) == (True, None, None, None)


ADDRESSES = (
    "/api/events/",
    "/api/events/?order=-position",
    "/api/events/{position}/",
    "/api/wallets/{pk}/events/",
    "/api/events/?format=csv",
    "/api/events/?format=ndjson",
    "/api/events/?format=api",
    "/api/events/{position}/?format=api",
    "/api/wallets/{pk}/events/?format=api",
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_payload_is_shown_with_the_permission_and_to_nobody_else(
    blind: APIClient, seeing: APIClient, wallet: Wallet, address: str
) -> None:
    event = wallet.history()[1]
    url = address.format(position=event.position, pk=wallet.pk)
    digest = bytes(event.hash).hex()
    masked, shown = blind.get(url), seeing.get(url)
    assert (masked.status_code, shown.status_code) == (200, 200)
    hidden, open_text = body_of(masked), body_of(shown)
    assert SECRET in open_text
    assert digest in open_text
    for secret in (SECRET, SECRET_AMOUNT, digest):
        assert secret not in hidden
    assert str(event.event_id) in hidden  # that it exists may be known


def test_masked_events_say_so_and_what_they_changed_is_masked_too(blind: APIClient, wallet: Wallet) -> None:
    for entry in blind.get(f"/api/wallets/{wallet.pk}/events/").json()["results"]:
        assert_masked(entry)
        assert entry["changes"] is None
    page = blind.get(f"/api/events/{wallet.history()[1].position}/").json()
    assert_masked(page)
    assert (page["upcast"], page["upcast_problem"]) == (None, None)


def test_shown_events_say_that_they_are_whole(seeing: APIClient, wallet: Wallet) -> None:
    assert [event["masked"] for event in seeing.get("/api/events/").json()["results"]] == [False, False]


@pytest.mark.parametrize("question", ["?version=1", "?when=2999-01-01T00:00:00Z", "diff/", "diff/?since=1"])
def test_past_states_and_differences_are_made_of_payloads(
    blind: APIClient, seeing: APIClient, wallet: Wallet, question: str
) -> None:
    problem_of(blind.get(f"/api/wallets/{wallet.pk}/{question}"), 403, "permission_denied")
    assert seeing.get(f"/api/wallets/{wallet.pk}/{question}").status_code == 200


def test_the_answer_of_a_command_is_masked(blind: APIClient, seeing: APIClient, wallet: Wallet) -> None:
    for client, shown in ((blind, False), (seeing, True)):
        answer = client.post(f"/api/wallets/{wallet.pk}/add/", {"amount": "1", "reference": SECRET}, format="json")
        assert answer.status_code == 200
        (event,) = answer.json()["events"]
        assert (event["data"] is not None) is shown
        assert (SECRET in body_of(answer)) is shown


@pytest.mark.parametrize(
    "question",
    [
        f"data__reference__startswith={SECRET[:3]}",
        f"data={SECRET}",
        f"data__reference={SECRET}",
        "metadata__has_key=request_id",
        "hash=00",
        "order=data",
        "order=-metadata",
        "order=hash",
        "order=data__amount",
        "ordering=data",
        f"search={SECRET}",
        f"q={SECRET}",
    ],
)
def test_nothing_can_be_asked_of_payloads(blind: APIClient, seeing: APIClient, wallet: Wallet, question: str) -> None:
    for client in (blind, seeing):
        for form in ("", "&format=csv", "&format=ndjson"):
            response = client.get(f"/api/events/?{question}{form}")
            assert response.status_code == 400
            assert SECRET not in response.content.decode().replace(f"={SECRET}", "")


def test_who_is_not_known_sees_no_payload(wallet: Wallet) -> None:
    event = wallet.history()[1]
    serializer: Any = StoredEventSerializer  # its field `data` hides the property from type checkers
    assert_masked(serializer(event).data)
    assert_masked(serializer([event], many=True).data[0])
    assert_masked(serializer(event, context={"request": object()}).data)
    assert not may_view_payload(None)
    assert not may_view_payload(AnonymousUser())
    assert not may_view_payload(User(username="left", is_active=False, is_superuser=True))


def test_what_is_masked_is_not_even_fetched(blind: APIClient, wallet: Wallet) -> None:
    with CaptureQueriesContext(connection) as queries:
        blind.get("/api/events/")
    (statement,) = [query["sql"] for query in queries.captured_queries if '"recorded_at"' in query["sql"]]
    for column in ("data", "metadata", "hash"):
        assert f'"{column}"' not in statement


def test_the_logins_of_the_demo_see_payloads_and_the_auditor_exports(settings: Any) -> None:
    settings.DEBUG = True
    logins = ensure_logins()
    for name, exports in (("admin", True), ("auditor", True), ("teller", False)):
        user = User.objects.get(pk=logins[name].user.pk)
        assert user.has_perm(PAYLOAD), name
        assert user.has_perm("eventsourcing_app.export_storedevent") is exports, name


# The admin

ERROR = f"Traceback (most recent call last):\nValueError: cannot handle {SECRET}"


def staff(*permissions: str, name: str) -> Client:
    user = user_with(*permissions, name=name)
    user.is_staff = True
    user.save()
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def parked(wallet: Wallet) -> ParkedEvent:
    subscription = Subscription.objects.create(name="samples.totals", kind=Subscription.Kind.PROJECTION)
    segment = Segment.objects.create(subscription=subscription, last_error=ERROR, parked=1)
    parked: ParkedEvent = ParkedEvent.objects.create(
        segment=segment,
        position=wallet.history()[1].position,
        event_id=uuid4(),
        type="samples.money_added",
        stream_type="samples.wallet",
        stream_key=str(wallet.pk),
        sequence="s",
        state="dead",
        reason=ERROR.splitlines()[-1],
        error=ERROR,
    )
    return parked


ADMIN = "/admin/eventsourcing_app"


@pytest.mark.parametrize(
    "address",
    [
        f"{ADMIN}/storedevent/{{position}}/change/",
        f"{ADMIN}/storedevent/{{position}}/history/",
        "/admin/samples/wallet/{pk}/history/",
        "/admin/samples/wallet/{pk}/past/?version=2",
        f"{ADMIN}/subscription/",
        f"{ADMIN}/subscription/samples.totals/change/",
        f"{ADMIN}/parkedevent/",
        f"{ADMIN}/parkedevent/{{parked}}/change/",
    ],
)
def test_the_admin_masks_payloads_and_errors_that_may_quote_them(
    wallet: Wallet, parked: ParkedEvent, address: str
) -> None:
    url = address.format(position=wallet.history()[1].position, pk=wallet.pk, parked=parked.pk)
    masked, shown = staff(*SEES, name="blind").get(url), staff(*SEES, PAYLOAD, name="seeing").get(url)
    assert (masked.status_code, shown.status_code) == (200, 200)
    assert SECRET in shown.content.decode()
    assert '<span class="es-masked">' in masked.content.decode()
    for secret in (SECRET, SECRET_AMOUNT, bytes(wallet.history()[1].hash).hex()):
        assert secret not in masked.content.decode()


@pytest.mark.parametrize(
    "question",
    [
        f"data__reference__startswith={SECRET[:3]}",
        f"data={SECRET}",
        "metadata__has_key=request_id",
        "causation_id=x",
        "o=data",
    ],
)
def test_the_admin_answers_no_question_about_payloads(wallet: Wallet, question: str) -> None:
    client = staff(*SEES, name="blind")
    response = client.get(f"{ADMIN}/storedevent/?{question}")
    if response.status_code == 200:  # an order that is not offered changes nothing
        usual = client.get(f"{ADMIN}/storedevent/")
        assert response.context["cl"].result_list == usual.context["cl"].result_list
    else:
        assert response.status_code == 400 or response.headers["Location"].endswith("?e=1")


def test_a_search_finds_nothing_by_what_a_payload_says(wallet: Wallet) -> None:
    for term in (SECRET, SECRET_AMOUNT + "00000", "blackmailer"):
        response = staff(*SEES, name=term).get(f"{ADMIN}/storedevent/", {"q": term})
        assert response.context["cl"].result_list == []


def test_parked_events_cannot_be_ordered_by_their_errors(parked: ParkedEvent) -> None:
    client = staff(*SEES, name="blind")
    response = client.get(f"{ADMIN}/parkedevent/")
    columns = response.context["cl"].list_display
    assert not any(getattr(column, "admin_order_field", None) in ("reason", "error") for column in columns)
    assert "reason" not in columns
    for door in ("reason__startswith=Val", "error__contains=a"):
        assert client.get(f"{ADMIN}/parkedevent/?{door}").status_code in (302, 400)


def test_the_filter_by_cause_finds_what_an_event_caused(wallet: Wallet) -> None:
    cause = wallet.history()[0].event_id
    with context(causation_id=cause):
        caused = Wallet.objects.perform_new(Wallet.open, owner="Bob").position
    response = staff(*SEES, name="blind").get(f"{ADMIN}/storedevent/?causation_id={cause}")
    assert [event.position for event in response.context["cl"].result_list] == [caused]


def test_the_json_is_null_and_not_missing(blind: APIClient, wallet: Wallet) -> None:
    (line, *_more) = body_of(blind.get("/api/events/?format=ndjson")).splitlines()
    assert {"data", "metadata", "hash"} <= set(json.loads(line))
    assert StoredEvent.objects.count() == 2
