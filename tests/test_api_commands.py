"""What a viewset decides about each command: who may run it, what reads it, how often, and whether it is there."""

from __future__ import annotations

from collections.abc import Callable, Collection
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.models import Count, Window
from django.db.models.functions import RowNumber
from django.test.utils import CaptureQueriesContext
from django.urls import include, path
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.routers import DefaultRouter
from rest_framework.test import APIClient, APIRequestFactory, force_authenticate
from rest_framework.throttling import ScopedRateThrottle

from eventsourcing_app.api import BatchViewSet, EventSourcedViewSet
from tests.api_client import client_of, problem_of, user_with
from tests.samples.factories import open_wallet
from tests.samples.models import Wallet


def owns(request: Request, wallet: Any) -> bool:
    return bool(wallet is not None and wallet.owner == request.user.get_username())


def is_staff(request: Request, wallet: Any) -> bool:
    assert wallet is None
    return bool(request.user.is_staff)


class WholePounds(serializers.Serializer[Any]):
    pounds = serializers.IntegerField(min_value=1)


class Slowly(ScopedRateThrottle):
    THROTTLE_RATES = {"money": "2/min"}


class GuardedWalletViewSet(EventSourcedViewSet):
    model = Wallet
    commands: ClassVar[Collection[str]] = ("open", "add", "take", "close")
    command_permissions = {"open": is_staff, "take": owns, "close": "samples.view_wallet"}
    command_serializers = {"add": WholePounds}
    command_throttle_scopes = {"add": "money"}
    throttle_classes = (Slowly,)

    def arguments_for(self, command: Any, given: dict[str, Any]) -> dict[str, Any]:
        return {"amount": Decimal(given["pounds"])} if command.name == "add" else given


class NarrowWalletViewSet(GuardedWalletViewSet):
    """Leaves out what its parent offers."""

    commands = ("add",)


class BothViewSet(BatchViewSet):
    viewsets = (GuardedWalletViewSet,)


SHOWN: dict[str, Callable[[Any], Any]] = {
    "distinct": lambda rows: rows.distinct(),
    "grouped": lambda rows: rows.annotate(count=Count("owner")),
    "numbered": lambda rows: rows.annotate(number=Window(RowNumber(), order_by="pk")),
    "partly loaded": lambda rows: rows.only("owner"),
    "deferred": lambda rows: rows.defer("balance"),
    "excluding": lambda rows: rows.exclude(owner__in=Wallet.objects.filter(owner="Cy").values("owner")),
}
"""What a viewset may show instead of all rows."""


class ShownWalletViewSet(EventSourcedViewSet):
    model = Wallet
    shown: ClassVar[Callable[[Any], Any]]

    def get_queryset(self) -> Any:
        return type(self).shown(super().get_queryset())


router = DefaultRouter()
router.include_format_suffixes = False
router.register("wallets", GuardedWalletViewSet)
router.register("narrow", NarrowWalletViewSet, basename="narrow")
router.register("batch", BothViewSet, basename="batch")
urlpatterns = [path("api/", include(router.urls))]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


@pytest.fixture(autouse=True)
def _no_requests_yet() -> None:
    cache.clear()


@pytest.fixture
def ada() -> APIClient:
    return client_of(user_with("samples.view_wallet", "samples.change_wallet", "samples.add_wallet", name="Ada"))


def in_a_batch(client: APIClient, wallet: Wallet | None, command: str, **arguments: Any) -> Any:
    key = {} if wallet is None else {"stream_key": str(wallet.pk)}
    call = {"stream_type": Wallet.stream_type, "command": command, "arguments": arguments, **key}
    return client.post("/api/batch/", {"commands": [call]})


def test_a_function_decides_about_request_and_object(ada: APIClient) -> None:
    own, other = open_wallet("Ada", 50), open_wallet("Bob", 50)
    assert ada.post(f"/api/wallets/{own.pk}/take/", {"amount": "1"}).status_code == 200
    problem_of(ada.post(f"/api/wallets/{other.pk}/take/", {"amount": "1"}), 403, "permission_denied")
    problem_of(in_a_batch(ada, other, "take", amount="1"), 403, "permission_denied")
    assert in_a_batch(ada, own, "take", amount="1").status_code == 200
    assert ada.get(f"/api/wallets/{other.pk}/").status_code == 200
    assert [Wallet.objects.get(pk=each.pk).balance for each in (own, other)] == [48, 50]


def test_a_function_decides_about_a_creation_without_an_object(ada: APIClient) -> None:
    problem_of(ada.post("/api/wallets/", {"owner": "Ada"}), 403, "permission_denied")
    problem_of(in_a_batch(ada, None, "open", owner="Ada"), 403, "permission_denied")
    staff = user_with("samples.view_wallet", name="staff")
    User.objects.filter(pk=staff.pk).update(is_staff=True)
    assert client_of(staff).post("/api/wallets/", {"owner": "Ada"}).status_code == 201


def test_another_permission_may_be_named(ada: APIClient) -> None:
    own = open_wallet("Ada", 50)
    ada.post(f"/api/wallets/{own.pk}/take/", {"amount": "50"})
    viewer = client_of(user_with("samples.view_wallet", name="viewer"))
    assert viewer.post(f"/api/wallets/{own.pk}/close/", {}).status_code == 200


def test_another_serializer_may_read_the_arguments(ada: APIClient) -> None:
    own = open_wallet("Ada", 50)
    answer = ada.post(f"/api/wallets/{own.pk}/add/", {"pounds": 3})
    assert answer.json()["state"]["balance"] == "53.00"
    assert problem_of(ada.post(f"/api/wallets/{own.pk}/add/", {"pounds": 0}), 400, "invalid")


def test_a_command_is_throttled_in_its_scope_in_batches_too(ada: APIClient) -> None:
    own = open_wallet("Ada", 50)
    assert ada.post(f"/api/wallets/{own.pk}/add/", {"pounds": 1}).status_code == 200
    assert in_a_batch(ada, own, "add", pounds=1).status_code == 200
    refused = ada.post(f"/api/wallets/{own.pk}/add/", {"pounds": 1})
    problem_of(refused, 429, "throttled")
    assert int(refused.headers["Retry-After"]) > 0
    problem_of(in_a_batch(ada, own, "add", pounds=1), 429, "throttled")
    assert ada.post(f"/api/wallets/{own.pk}/take/", {"amount": "1"}).status_code == 200
    assert Wallet.objects.get(pk=own.pk).balance == 51


def test_what_a_subclass_leaves_out_is_not_there(ada: APIClient) -> None:
    own = open_wallet("Ada", 50)
    for command in ("take", "close"):
        assert ada.post(f"/api/narrow/{own.pk}/{command}/", {"amount": "1"}).status_code == 404
    problem_of(ada.post("/api/narrow/", {"owner": "Ada"}), 405, "method_not_allowed")
    assert ada.post(f"/api/narrow/{own.pk}/add/", {"pounds": 1}).status_code == 200
    assert ada.post(f"/api/wallets/{own.pk}/take/", {"amount": "1"}).status_code == 200
    assert Wallet.objects.get(pk=own.pk).balance == 50


@pytest.mark.parametrize("shown", SHOWN)
def test_a_command_finds_and_locks_its_object_in_whatever_the_view_shows(shown: str, ada: APIClient) -> None:
    viewset: Any = type("Shown", (ShownWalletViewSet,), {"shown": staticmethod(SHOWN[shown])})
    own = open_wallet("Ada", 50)
    view = viewset.as_view({"post": "command_take"})
    for turn in range(1, 3):
        request = APIRequestFactory().post("/", {"amount": "1"}, format="json")
        force_authenticate(request, User.objects.get(username="Ada"))
        with CaptureQueriesContext(connection) as queries:
            answer = view(request, pk=str(own.pk))
        assert (answer.status_code, answer.data["state"]["balance"]) == (200, f"{50 - turn}.00")
        assert connection.vendor == "sqlite" or [1 for query in queries if "FOR NO KEY UPDATE" in query["sql"]] == [1]


def test_a_command_that_there_is_not_is_named_at_once() -> None:
    for attribute in ("command_permissions", "command_serializers", "command_throttle_scopes"):
        with pytest.raises(ImproperlyConfigured, match=f"{attribute}: Wallet has no vanish"):
            type("Wrong", (EventSourcedViewSet,), {"model": Wallet, attribute: {"vanish": "x"}})
