"""Whatever is forged, no page of the admin breaks, tells what it should not, or changes anything: superusers too."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest
from django.contrib import admin
from django.test import RequestFactory
from django.urls import path

from eventsourcing_app.admin import EventSourcedAdmin
from eventsourcing_app.subscriptions.health import recent_health
from tests.admin_client import client_with
from tests.admin_roles import Office, addresses, client_of_role, everything, forged
from tests.samples.factories import open_wallet
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.http import HttpRequest

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_roles")]


@pytest.fixture(autouse=True)
def quiet(settings: Any) -> Iterator[None]:
    settings.EVENTSOURCING = {"DISPATCHER": "none"}
    recent_health.forget()
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)
    recent_health.forget()


@pytest.fixture
def office() -> Office:
    return Office()


LONG, HUGE = "x" * 300, "x" * 1_000_000
VALUES = (
    "\x00", "٣", "３", "-1", "1e5", str(2**63), "9" * 5000, LONG, "' OR 1=1 --", '"><script>', "../../etc/passwd",
    "%00",
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "0001-01-01T00:00", "9999-12-31T23:59:59.999999",
    "２０２６-01-01T00:00", "true", "[]", "a,b", "\u202e", "",
)  # fmt: skip
NAMES = (
    "q", "o", "p", "all", "e", "_facets", "_popup", "_to_field", "_changelist_filters", "before", "after", "type",
    "stream_key", "actor", "correlation_id", "causation_id", "period", "since", "until", "live", "format", "id", "act",
    "subscription", "state", "status", "kind", "error", "version", "when", "compare", "chart", "part", "_es_key",
    "data__startswith", "actor__regex", "pk__in", "id__gt", "segment__last_error__contains", "day__year", "_connector",
)  # fmt: skip
LISTS = ("storedevent", "subscription", "parkedevent", "account", "dailytotal")


def pages() -> Sequence[str]:
    """The names of all pages that read what the address asks for."""
    same = ("storedevent_history", "subscription_history", "parkedevent_history")  # as the page of the object
    kinds = ("changelist", "history", "past", "correlation", "operators", "export", "tail", "act", "command")
    return [
        each.name
        for each in addresses()
        if each.name.endswith(kinds) and "auditentry" not in each.name and each.name not in same
    ]


@pytest.mark.parametrize("page", pages())
def test_no_parameter_breaks_a_page(page: str, office: Office) -> None:
    client, before = client_of_role("superuser"), everything()
    address = next(each for each in addresses() if each.name == page)
    plain = office.path_of(address).partition("?")[0]
    wrong = []
    questions = [(name, VALUES[(index + len(page)) % len(VALUES)]) for index, name in enumerate(NAMES)]
    for query in (
        *(urlencode([each]) for each in questions),
        "q=1&q=2&type=a&type=b&id=1&id=2",
        f"{LONG}=1",
        "%ed%a0%80",
    ):
        response: Any = client.get(f"{plain}?{query}")
        if response.status_code not in (200, 302, 400, 403, 404, 405, 409):
            wrong.append((query[:80], response.status_code))
        if b"<script>'" in b"".join(response.streaming_content if response.streaming else [response.content]):
            wrong.append((query[:80], "script"))
    assert not wrong
    assert everything() == before


def test_a_parameter_of_a_megabyte_breaks_no_page(office: Office) -> None:
    client = client_of_role("superuser")
    asked = {"storedevent_changelist": "stream_key", "storedevent_correlation": "id", "account_past": "chart"}
    asked |= {"storedevent_operators": "subscription", "parkedevent_act": "id", "subscription_changelist": "q"}
    for address in addresses():
        if (name := asked.get(address.name)) is not None:
            plain = office.path_of(address).partition("?")[0]
            assert client.get(f"{plain}?{name}={HUGE}").status_code in (200, 400), address


KEYS = (
    "٣", "３", "-1", "1e5", str(2**63), "9" * 5000, LONG, "1'", '1"', "1;--", "../../../etc/passwd", "..%2F..%2Fetc",
    "_00", "_2F", "_", "%00", "%ed%a0%80", "1/change", "a/b/c", "null", " 1", "1 ", "true",
)  # fmt: skip


@pytest.mark.parametrize("model", [*LISTS, "auditentry"])
def test_no_key_of_an_object_breaks_a_page(model: str, office: Office) -> None:
    client, before = client_of_role("superuser"), everything()
    wrong = []
    for address in addresses():
        if "object_id" not in address.route or f"/{model}/" not in address.route:
            continue
        for key in KEYS:
            text = key if "%" in key else quote(key)
            url = office.path_of(address, key=text)
            answers = [client.get(url), client.post(url, office.body_of(address.name))]
            wrong += [(url[:120], each.status_code) for each in answers if each.status_code >= 500]
    assert not wrong
    assert everything() == before


def test_no_action_and_no_form_of_a_list_changes_anything(office: Office) -> None:
    client, before = client_of_role("superuser"), everything()
    many = {"_selected_action": [str(number) for number in range(5000)], "action": "delete_selected", "post": "yes"}
    for model in (*LISTS, "auditentry"):
        address = next(each for each in addresses() if each.name.endswith(f"{model}_changelist"))
        plain = office.path_of(address)
        key = str(office.keys[model])
        for data in (forged(key), {**forged(key), "_selected_action": ["1", "2"]}, {**many, "index": "99"}):
            for query in ("", "?_popup=1", "?_to_field=id", "?e=1&all=&p=99", "?_changelist_filters=actor%3Dx"):
                response = client.post(plain + query, data)
                assert response.status_code in (400, 403), (model, query, response.status_code)
        listed = {"_save": "Save", "form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "1", "form-0-ptr": key}
        assert client.post(plain, listed).status_code == 403, model
    assert everything() == before


@pytest.mark.parametrize(
    "sent",
    [
        {"action": "delete_selected"},
        {"action": ["retry_chosen", "delete_selected"]},
        {"action": "skip_chosen", "_selected_action": [str(number) for number in range(1001)]},
        {"action": "skip_chosen", "_selected_action": ["1' OR 1=1"]},
        {"action": "skip_chosen", "_selected_action": ["\x00"]},
        {"action": "retry_chosen", "_selected_action": ["9" * 400]},
        {"action": "skip_chosen", "select_across": "1"},
    ],
)
def test_no_flood_of_ticks_acts_on_parked_events(sent: dict[str, Any], office: Office) -> None:
    client, before = client_of_role("superuser"), everything()
    response = client.post("/admin/eventsourcing_app/parkedevent/", sent)
    assert response.status_code in (302, 400, 403)
    assert everything() == before


def test_fields_of_the_log_are_no_target_of_another_page(office: Office) -> None:
    client = client_of_role("superuser")
    for model in ("storedevent", "subscription", "parkedevent"):
        for field in ("data", "hash", "error", "status_reason", "segment", "nothing"):
            query = f"app_label=eventsourcing_app&model_name={model}&field_name={field}&term=a"
            assert client.get(f"/admin/autocomplete/?{query}").status_code in (403, 404)
            page = f"/admin/eventsourcing_app/{model}/"
            assert client.get(f"{page}?_to_field={field}").status_code == 400
            assert client.get(f"{page}?_popup=1&{field}__startswith=a").status_code == 400


# What a page hides of an aggregate


class Discreet(EventSourcedAdmin[Wallet]):
    """Shows nobody whose it is, though its fieldsets name it."""

    fieldsets = ((None, {"fields": ("owner", "balance", "labels")}),)
    list_display = ("pk", "version", "balance")

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("owner",)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fieldsets


class Careful(EventSourcedAdmin[Wallet]):
    """Shows nobody the balance of some."""

    list_filter = ("changed_at",)

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("balance",) if obj is not None and obj.owner == "VIP" else ()


class Own(EventSourcedAdmin[Wallet]):
    """Has a page of some only."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) and (obj is None or obj.owner != "VIP")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


site, careful, own = (admin.AdminSite(name) for name in ("admin", "careful", "own"))
site.register(Wallet, Discreet)
careful.register(Wallet, Careful)
own.register(Wallet, Own)
urlpatterns = [path(f"{each.name}/", each.urls) for each in (site, careful, own)]
SEES = ("view_wallet", "change_wallet", "view_storedevent", "view_payload")


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("lookup", ["owner", "owner__startswith", "owner__regex", "owner__in", "owner__isnull"])
def test_no_list_can_be_asked_for_what_its_pages_hide(lookup: str) -> None:
    open_wallet("Secretia", 1)
    client = client_with(*SEES)
    answers = [client.get(f"/admin/samples/wallet/?{lookup}={text}") for text in ("Secretia", "S", "nobody", "1")]
    assert {each.status_code for each in answers} == {400}
    assert client.get("/admin/samples/wallet/?balance__gt=0").status_code == 200  # what is shown may be asked for


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("name", ["careful", "own"])
def test_no_list_can_be_asked_for_what_the_page_of_that_object_hides(name: str) -> None:
    wallet, client = open_wallet("VIP", 777), client_with("view_wallet")
    assert "777" not in client.get(f"/{name}/samples/wallet/{wallet.pk}/change/").content.decode()
    for lookup in ("balance__gte=777", "balance__gte=778", "owner=VIP"):
        assert client.get(f"/{name}/samples/wallet/?{lookup}").status_code == 400
    # What the list shows, and what it offers to filter by, may be asked for.
    assert client.get(f"/{name}/samples/wallet/?version__gt=0").status_code == 200
    assert client.get("/careful/samples/wallet/?changed_at__year=2026").status_code == 200


@pytest.mark.urls(__name__)
def test_no_conflict_tells_of_what_the_page_hides() -> None:
    wallet = open_wallet("Secretia", 1)
    client = client_with(*SEES)
    address = f"/admin/samples/wallet/{wallet.pk}/command/add/"
    key = "01a21a1b-58d7-7174-841b-b9e257e3cd18"
    answer = client.post(address, {"_es_key": key, "_es_version": "1", "amount": "1"})
    assert answer.status_code == 409
    shown = client.get(f"{address}?_es_key={key}")
    for each in (answer, shown):
        assert "Balance" in each.content.decode()
        assert "Owner" not in each.content.decode()


def test_requests_are_made_as_browsers_make_them() -> None:
    # A half character in an address reaches no view: Django replaces it. So the tests above send what there can be.
    request = RequestFactory().get("/?q=%ed%a0%80")
    assert request.GET["q"] == "\ufffd" * 3
