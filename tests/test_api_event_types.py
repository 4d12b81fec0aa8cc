"""What events there can be is told over HTTP, in a fixed order, with schemas, to whoever may see the log."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import include, path
from jsonschema_rs import Draft202012Validator
from rest_framework.routers import DefaultRouter
from rest_framework.test import APIClient

from eventsourcing_app import event
from eventsourcing_app.api import EventTypeViewSet
from eventsourcing_app.events.registry import registry
from eventsourcing_app.models import StoredEvent
from tests.api_client import client_of, problem_of, user_with
from tests.reactions_sample.scene import wallet

router = DefaultRouter()
router.include_format_suffixes = False
router.register("event-types", EventTypeViewSet, basename="event-type")
urlpatterns = [path("api/", include(router.urls))]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

TYPES = "/api/event-types/"


@pytest.fixture
def auditor() -> APIClient:
    return client_of(user_with("eventsourcing_app.view_storedevent"))


def test_a_type_is_shown_with_its_names_its_meaning_its_streams_and_its_schema(auditor: APIClient) -> None:
    shown = auditor.get(f"{TYPES}samples.money_added/").json()
    schema = shown.pop("schema")
    assert shown == {
        "name": "samples.money_added",
        "aliases": ["samples.money_put_in"],
        "schema_version": 1,
        "title": "MoneyAdded",
        "description": "",
        "ends": False,
        "stream_types": ["samples.wallet"],
    }
    assert (schema["required"], schema["properties"]["reference"]) == (["amount"], {"type": "string", "default": ""})
    assert auditor.get(f"{TYPES}samples.money_put_in/").json()["name"] == "samples.money_added"
    assert auditor.get(f"{TYPES}samples.wallet_closed/").json()["ends"] is True
    assert auditor.get(f"{TYPES}samples.book_renamed/").json()["schema_version"] == 2
    everything = auditor.get(f"{TYPES}samples.everything_happened/").json()
    assert everything["description"] == "One field of each type that an event may have."
    assert auditor.get(f"{TYPES}eventsourcing.subscription_paused/").json()["stream_types"] == []


def test_what_is_stored_passes_the_schema_of_its_type(auditor: APIClient) -> None:
    wallet(adds=2)
    types: Any = {each["name"]: each for each in auditor.get(TYPES).json()["results"]}
    stored = list(StoredEvent.objects.all())
    assert len(stored) == 3
    for each in stored:
        Draft202012Validator(types[each.type]["schema"], validate_formats=True).validate(each.data)


def test_the_list_has_every_declared_type_in_the_order_of_names(auditor: APIClient) -> None:
    names = [each["name"] for each in auditor.get(TYPES).json()["results"]]
    assert names == [declaration.name for declaration in registry.all()] == sorted(names)
    assert {"bank.money_deposited", "samples.money_added", "eventsourcing.subscription_paused"} <= set(names)


def test_one_that_cannot_be_stored_is_shown_without_a_schema(auditor: APIClient) -> None:
    @event("api_event_types.wrong")
    class Wrong:
        what: object

    assert auditor.get(f"{TYPES}api_event_types.wrong/").json()["schema"] is None
    assert auditor.get(TYPES).status_code == 200


@pytest.mark.parametrize("address", [TYPES, f"{TYPES}samples.money_added/"])
def test_the_etag_stays_until_something_else_is_declared(auditor: APIClient, address: str) -> None:
    first = auditor.get(address)
    etag = first.headers["ETag"]
    again = auditor.get(address, HTTP_IF_NONE_MATCH=f'"other", {etag}')
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    assert auditor.get(address, HTTP_IF_NONE_MATCH='"other"').content == first.content
    assert auditor.head(address).headers["ETag"] == etag


def test_the_etag_changes_with_what_is_declared(auditor: APIClient) -> None:
    def declare(annotation: object) -> str:
        event("api_event_types.changing")(type("Changing", (), {"__annotations__": {"a": annotation}}))
        answer = auditor.get(f"{TYPES}api_event_types.changing/", HTTP_IF_NONE_MATCH=etag)
        assert answer.status_code == 200
        return str(answer.headers["ETag"])

    etag = ""
    etag = declare(int)
    listed = auditor.get(TYPES).headers["ETag"]
    assert declare(str) != etag
    assert auditor.get(TYPES, HTTP_IF_NONE_MATCH=listed).status_code == 200


def test_only_who_may_see_the_log_sees_types() -> None:
    for address in (TYPES, f"{TYPES}samples.money_added/", f"{TYPES}no.such/"):
        problem_of(APIClient().get(address), 401, "not_authenticated")
        problem_of(client_of(user_with(name=f"nobody{len(address)}")).get(address), 403, "permission_denied")


def test_what_does_not_exist_and_what_is_not_understood_is_refused(auditor: APIClient) -> None:
    for name in ("no.such", "a\x00b", "x" * 500):
        problem_of(auditor.get(f"{TYPES}{name}/"), 404, "not_found")
    problem_of(auditor.get(TYPES, {"limit": 1}), 400, "unknown")
    problem_of(auditor.post(TYPES, {}), 405, "method_not_allowed")


def test_the_list_asks_the_database_for_nothing_but_the_user(auditor: APIClient) -> None:
    with CaptureQueriesContext(connection) as all_of_them:
        auditor.get(TYPES)
    with CaptureQueriesContext(connection) as one:
        auditor.get(f"{TYPES}samples.money_added/")
    assert len(all_of_them) == len(one)
    assert all("auth" in each["sql"] or "session" in each["sql"] for each in all_of_them)
