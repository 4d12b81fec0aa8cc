"""Which events there are for a user, one function decides for every door of API and admin: ``VISIBLE_EVENTS``."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import include, path
from rest_framework.authtoken.models import Token
from rest_framework.routers import DefaultRouter

from eventsourcing_app import context, flow
from eventsourcing_app.access.visibility import visible_events
from eventsourcing_app.admin import EventSourcedAdmin, ParkedEventAdmin, StoredEventAdmin
from eventsourcing_app.api import (
    BatchViewSet,
    EventSourcedViewSet,
    FlowViewSet,
    ParkedEventViewSet,
    StoredEventStream,
    StoredEventViewSet,
)
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent, Subscription
from tests.api_client import client_of, problem_of, user_with
from tests.event_source import EventSource, Server, aside, pay_in, until
from tests.samples.factories import open_wallet
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from django.db.models import QuerySet


def own_events(events: QuerySet[StoredEvent], user: Any) -> QuerySet[StoredEvent]:
    """Of wallets that have the user's name; to the one called root, all."""
    if user.username == "root":
        return events
    own = [str(pk) for pk in Wallet.objects.filter(owner=user.username).values_list("pk", flat=True)]
    return events.filter(stream_type="samples.wallet", stream_key__in=own)


def not_the_first(events: QuerySet[StoredEvent], user: Any) -> QuerySet[StoredEvent]:
    return events.filter(version__gt=1)


@flow("t.visibility.add_to_both")
def add_to_both(one: UUID, other: UUID) -> None:
    """Put a unit into each."""
    with Wallet.objects.locked([one, other]) as wallets:
        for wallet in wallets:
            wallet.add(Decimal(1))


class WalletViewSet(EventSourcedViewSet):
    """Shows everybody every wallet, so that it is not the objects that hide the events."""

    model = Wallet


class WalletBatchViewSet(BatchViewSet):
    viewsets = (WalletViewSet,)


class BothViewSet(FlowViewSet, flow=add_to_both):
    permission = "samples.change_wallet"


router = DefaultRouter()
router.include_format_suffixes = False
router.register("wallets", WalletViewSet)
router.register("events", StoredEventViewSet)
router.register("parked", ParkedEventViewSet)
router.register("both", BothViewSet, basename="both")
router.register("batch", WalletBatchViewSet, basename="batch")
site = admin.AdminSite()
for model, shown_by in ((StoredEvent, StoredEventAdmin), (ParkedEvent, ParkedEventAdmin), (Wallet, EventSourcedAdmin)):
    site.register(model, shown_by)
urlpatterns = [
    path("admin/", site.urls),
    path("api/events/stream/", StoredEventStream.as_view()),
    path("api/", include(router.urls)),
]

SEES = (
    *("samples.view_wallet", "samples.add_wallet", "samples.change_wallet", "eventsourcing_app.view_storedevent"),
    *("eventsourcing_app.export_storedevent", "eventsourcing_app.view_payload", "eventsourcing_app.view_parkedevent"),
)
LOG = "/admin/eventsourcing_app/storedevent/"
NARROW = {"DISPATCHER": "none", "STREAM_WAIT_SECONDS": 0, "VISIBLE_EVENTS": f"{__name__}.own_events"}
WIDE = {**NARROW, "VISIBLE_EVENTS": None}

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


@pytest.fixture(autouse=True)
def narrow(settings: Any) -> None:
    settings.EVENTSOURCING = NARROW


@pytest.fixture
def ada() -> Client:
    user = user_with(*SEES, name="ada")
    user.is_staff = True
    user.save()
    return client_of(user)


class Scene:
    """Events of ada and of bob that caused each other."""

    def __init__(self) -> None:
        with context(correlation_id="together", actor="user:4711"):
            self.own = open_wallet("ada", 1)
            with context(causation_id=self.own.history()[1].event_id):
                self.other = open_wallet("bob", 1, 1)
            with context(causation_id=self.other.history()[0].event_id):
                self.own.add(Decimal(2))
                self.own.save()
        self.mine, self.hidden = list(self.own.history()), list(self.other.history())
        subscription = Subscription.objects.create(name="t.visibility", kind=Subscription.Kind.SUBSCRIBER)
        segment = Segment.objects.create(subscription=subscription)
        self.parked = [self._park(segment, event) for event in (self.mine[0], self.hidden[0])]

    def _park(self, segment: Segment, event: StoredEvent) -> ParkedEvent:
        named = {name: getattr(event, name) for name in ("position", "event_id", "type", "stream_type", "stream_key")}
        return ParkedEvent.objects.create(segment=segment, sequence=event.stream_key, state="failed", **named)

    def filled(self, address: str) -> str:
        return address.format(
            own=self.own.pk, other=self.other.pk, cause=self.mine[1].event_id, own_position=self.mine[1].position
        )


@pytest.fixture
def scene() -> Scene:
    return Scene()


def body_of(response: Any) -> str:
    content = b"".join(response.streaming_content) if response.streaming else response.content
    text: str = content.decode()
    return text


LISTS = (
    "/api/events/",
    "/api/events/?order=-position",
    "/api/events/?stream_type=samples.wallet",
    "/api/events/?stream_key={other}",
    "/api/events/?type=samples.money_added",
    "/api/events/?actor=user:4711",
    "/api/events/?correlation_id=together",
    "/api/events/?causation_id={cause}",
    "/api/events/?since=2000-01-01T00:00:00Z",
    "/api/events/?format=csv",
    "/api/events/?format=ndjson",
    "/api/events/?format=api",
    "/api/events/{own_position}/",
    "/api/events/stream/?after_position=0",
    "/api/wallets/{other}/events/",
    "/api/parked/",
    LOG,
    f"{LOG}?q={{other}}",
    f"{LOG}?q=user:4711",
    f"{LOG}?stream_key={{other}}",
    "/admin/samples/wallet/{other}/history/",
    "/admin/samples/wallet/{other}/past/",
    "/admin/samples/wallet/{other}/change/",
    "/admin/eventsourcing_app/parkedevent/",
)


@pytest.mark.parametrize("address", LISTS)
def test_events_that_there_are_not_for_a_user_are_at_no_door(
    address: str, ada: Client, scene: Scene, settings: Any
) -> None:
    # The first of them, as what caused an event of one's own, is named by that one.
    ids = [str(event.event_id) for event in scene.hidden[1:]] + [f'"event_id":"{scene.hidden[0].event_id}"']
    ids += [f"/parkedevent/{scene.parked[1].pk}/"]
    ids += [f"/storedevent/{event.position}/change/" for event in scene.hidden]
    url = scene.filled(address)
    for setting, shown in ((WIDE, True), (NARROW, False)):
        settings.EVENTSOURCING = setting
        response = ada.get(url)
        assert response.status_code == 200
        text = body_of(response)
        assert any(each in text for each in ids) is shown


SINGLE = (
    "/api/events/{hidden}/",
    "/api/parked/{parked}/",
    "/api/wallets/{other}/?version=1",
    "/api/wallets/{other}/?when=2999-01-01T00:00:00Z",
    "/api/wallets/{other}/diff/",
)


@pytest.mark.parametrize("address", SINGLE)
def test_what_is_hidden_answers_as_what_does_not_exist(address: str, ada: Client, scene: Scene, settings: Any) -> None:
    def told(hidden: int, parked: int, other: object) -> dict[str, Any]:
        problem = problem_of(ada.get(address.format(hidden=hidden, parked=parked, other=other)), 404, "not_found")
        return {name: value for name, value in problem.items() if name not in ("instance", "correlation_id")}

    hidden = (scene.hidden[0].position, scene.parked[1].pk, scene.other.pk)
    assert told(*hidden) == told(987654, 987654, uuid4())
    settings.EVENTSOURCING = WIDE
    assert ada.get(address.format(hidden=hidden[0], parked=hidden[1], other=hidden[2])).status_code == 200


@pytest.mark.parametrize("address", [f"{LOG}{{0}}/change/", f"{LOG}{{0}}/history/"])
def test_the_admin_has_no_page_of_a_hidden_event(address: str, ada: Client, scene: Scene, settings: Any) -> None:
    url = address.format(scene.hidden[0].position)
    assert ada.get(url)["Location"] == ada.get(address.format(987654))["Location"]
    settings.EVENTSOURCING = WIDE
    assert ada.get(url).status_code == 200


def test_the_surroundings_of_an_event_are_those_that_there_are_for_the_user(
    ada: Client, scene: Scene, settings: Any
) -> None:
    caused, causing = scene.mine[2].position, scene.mine[1].position
    assert ada.get(f"/api/events/{caused}/").json()["parent"] is None
    assert ada.get(f"/api/events/{causing}/").json()["children"] == []
    assert f"{LOG}{scene.hidden[0].position}/" not in body_of(ada.get(f"{LOG}{caused}/change/"))
    settings.EVENTSOURCING = {**NARROW, "VISIBLE_EVENTS": not_the_first}
    page = ada.get(f"/api/events/{causing}/").json()
    assert (page["previous"], page["next"]) == (None, caused)
    assert f"{LOG}{scene.mine[0].position}/" not in body_of(ada.get(f"{LOG}{causing}/change/"))


def test_of_a_history_with_a_hidden_part_nothing_is_told_that_is_folded_from_it(
    ada: Client, scene: Scene, settings: Any
) -> None:
    settings.EVENTSOURCING = {**NARROW, "VISIBLE_EVENTS": not_the_first}
    trail = ada.get(f"/api/wallets/{scene.own.pk}/events/").json()["results"]
    assert [(entry["version"], entry["changes"]) for entry in trail] == [(2, None), (3, None)]
    for question in ("?version=2", "diff/?since=1"):
        problem_of(ada.get(f"/api/wallets/{scene.own.pk}/{question}"), 404, "not_found")
    settings.EVENTSOURCING = NARROW
    trail = ada.get(f"/api/wallets/{scene.own.pk}/events/").json()["results"]
    assert all(entry["changes"] for entry in trail)
    assert ada.get(f"/api/wallets/{scene.own.pk}/?version=2").status_code == 200


# Answers


def posted(client: Any, address: str, body: dict[str, Any], key: str) -> Any:
    return client.post(address, body, content_type="application/json", headers={"Idempotency-Key": key})


def streams_of(answer: dict[str, Any]) -> list[str]:
    parts = [answer, *answer.get("results", ())]
    return [event["stream_key"] for part in parts for event in part.get("events", ())]


def test_answers_and_their_repetitions_show_the_events_that_there_are_for_the_user_by_then(
    ada: Client, scene: Scene, settings: Any
) -> None:
    own, other = str(scene.own.pk), str(scene.other.pk)
    client = Client()
    client.force_login(User.objects.get(username="ada"))
    added = {"stream_type": "samples.wallet", "command": "add", "arguments": {"amount": "1"}}
    both = {"commands": [{**added, "stream_key": own}, {**added, "stream_key": other}]}
    asked: tuple[tuple[str, dict[str, Any], list[str]], ...] = (
        (f"/api/wallets/{other}/add/", {"amount": "1"}, [other]),
        ("/api/both/", {"one": own, "other": other}, [own, other]),
        ("/api/batch/", both, [own, other]),
    )
    for number, (address, body, streams) in enumerate(asked):
        settings.EVENTSOURCING = WIDE
        assert streams_of(posted(client, address, body, f"wide {number}").json()) == streams
        settings.EVENTSOURCING = NARROW
        before = StoredEvent.objects.count()
        repeated = posted(client, address, body, f"wide {number}")
        assert repeated.headers["Idempotency-Replayed"] == "true"
        assert StoredEvent.objects.count() == before
        assert streams_of(repeated.json()) == [key for key in streams if key == own]
        first = posted(client, address, body, f"narrow {number}").json()
        assert streams_of(first) == [key for key in streams if key == own]


# Who decides


def test_the_function_decides_for_superusers_too_and_the_permission_is_needed_all_the_same(scene: Scene) -> None:
    root = client_of(User.objects.create_superuser("root"))
    other = client_of(User.objects.create_superuser("bob"))
    assert len(root.get("/api/events/").json()["results"]) == len(scene.mine) + len(scene.hidden)
    assert len(other.get("/api/events/").json()["results"]) == len(scene.hidden)
    problem_of(client_of(user_with(name="ada")).get("/api/events/"), 403, "permission_denied")


@pytest.mark.parametrize("result", [None, [], Wallet.objects.all()])
def test_a_function_that_returns_something_else_shows_nothing(
    result: object, ada: Client, scene: Scene, settings: Any
) -> None:
    settings.EVENTSOURCING = {**NARROW, "VISIBLE_EVENTS": lambda _events, _user: result}
    with pytest.raises(ImproperlyConfigured, match="VISIBLE_EVENTS"):
        visible_events(User.objects.get(username="ada"))
    ada.raise_request_exception = False
    problem_of(ada.get("/api/events/"), 500, "internal_error")


@pytest.mark.django_db(transaction=True)
def test_a_stream_asks_again_with_each_heartbeat(child_env: dict[str, str]) -> None:
    user = user_with("eventsourcing_app.view_storedevent", name="ada")
    token = Token.objects.create(user=user)
    own, other = open_wallet("ada"), open_wallet("bob")
    server = Server("uvicorn", child_env, STREAM_HEARTBEAT_SECONDS=0.2, VISIBLE_EVENTS=f"{__name__}.own_events")

    async def run() -> EventSource:
        client = EventSource(server, token)
        following = asyncio.create_task(client.forever())
        await until(lambda: client.is_open)
        await aside(lambda: [pay_in(other), pay_in(own)])  # type: ignore[func-returns-value]
        await until(lambda: len(client.events) == 1)
        await aside(lambda: User.objects.filter(pk=user.pk).update(username="bob"))
        beats = client.lines.count("")
        await until(lambda: client.lines.count("") > beats + 3)
        await aside(lambda: [pay_in(own), pay_in(other)])  # type: ignore[func-returns-value]
        await until(lambda: len(client.events) == 2)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        return client

    try:
        client = asyncio.run(run())
    finally:
        server.kill()
    assert [event["stream_key"] for event in client.events] == [str(own.pk), str(other.pk)]
    assert len(client.statuses) == 1, "all on one connection"
