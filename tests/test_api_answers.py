"""What a command is answered with is what has become of it: whatever receivers, hooks and other writers do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.signals import post_save
from django.urls import include, path
from rest_framework import serializers
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.routers import DefaultRouter
from rest_framework.test import APIClient

from eventsourcing_app import CommandRejected
from eventsourcing_app.api import BatchViewSet, EventSourcedViewSet
from eventsourcing_app.exceptions import ConcurrencyError, SpentInstance
from eventsourcing_app.models import StoredEvent
from tests.api_client import client_of, problem_of, user_with
from tests.samples.factories import open_wallet
from tests.samples.models import Counter, Wallet


def has_fifty(_request: Request, wallet: Any) -> bool:
    return bool(wallet.balance >= 50)


class WalletViewSet(EventSourcedViewSet):
    model = Wallet


class RichWalletViewSet(EventSourcedViewSet):
    """Takes from those who have fifty."""

    model = Wallet
    commands = ("add", "take")
    command_permissions = {"take": has_fifty}


class RichBatchViewSet(BatchViewSet):
    viewsets = (RichWalletViewSet,)


class DoubledSerializer(serializers.ModelSerializer[Wallet]):
    doubled = serializers.DecimalField(max_digits=14, decimal_places=2)

    class Meta:
        model = Wallet
        fields = ("id", "balance", "doubled")


class DoubledWalletViewSet(EventSourcedViewSet):
    model = Wallet
    serializer_class = DoubledSerializer

    def get_queryset(self) -> Any:
        return super().get_queryset().annotate(doubled=F("balance") * 2)


class CounterViewSet(EventSourcedViewSet):
    model = Counter
    commands = ("begin_if", "count")


class ParentViewSet(EventSourcedViewSet):
    model = Wallet
    queryset = Wallet.objects.exclude(owner="hidden")
    commands: ClassVar[tuple[str, ...]] = ("open", "add", "take")

    def command_take(self, request: Request, pk: str) -> Any:
        return self.run(request, self.offered_command("take")[1])  # type: ignore[index]


class ChildViewSet(ParentViewSet):
    commands = ("add",)


class OpenViewSet(EventSourcedViewSet):
    """Asks for nothing but a login."""

    model = Wallet
    permission_classes: Any = (IsAuthenticated,)


router = DefaultRouter()
router.include_format_suffixes = False
for name, viewset in (
    ("wallets", WalletViewSet),
    ("rich", RichWalletViewSet),
    ("rich-batch", RichBatchViewSet),
    ("doubled", DoubledWalletViewSet),
    ("counters", CounterViewSet),
    ("parents", ParentViewSet),
    ("children", ChildViewSet),
    ("open", OpenViewSet),
):
    router.register(name, viewset, basename=name)
urlpatterns = [path("api/", include(router.urls))]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


@pytest.fixture
def root() -> APIClient:
    return client_of(User.objects.create_superuser("root"))


@contextmanager
def receiving(receiver: Any) -> Iterator[None]:
    post_save.connect(receiver, sender=Wallet, weak=False)
    try:
        yield
    finally:
        post_save.disconnect(receiver, sender=Wallet)


# What the commit sets off


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "error",
    [IntegrityError("no"), CommandRejected("no", code="no"), ConcurrencyError("a", "b", expected=1), KeyError("no")],
    ids=lambda error: type(error).__name__,
)
def test_what_is_stored_is_told_though_what_the_commit_has_set_off_fails(root: APIClient, error: Exception) -> None:
    wallet = open_wallet("Ada", 50)

    def fail() -> None:
        raise error

    def receiver(**_signal: Any) -> None:
        transaction.on_commit(fail)

    call = {"stream_type": Wallet.stream_type, "stream_key": str(wallet.pk), "command": "add"}
    with receiving(receiver):
        alone = root.post(f"/api/wallets/{wallet.pk}/add/", {"amount": "10"})
        batch = root.post("/api/rich-batch/", {"commands": [{**call, "arguments": {"amount": "10"}}]})
    assert (alone.status_code, alone.json()["state"]["balance"]) == (200, "60.00")
    assert (batch.status_code, batch.json()["results"][0]["state"]["balance"]) == (200, "70.00")
    assert Wallet.objects.get(pk=wallet.pk).balance == 70


def test_an_instance_that_is_ahead_of_its_row_is_told_by_nobody(root: APIClient) -> None:
    wallet, busy = open_wallet("Ada", 50), list[Wallet]()

    def receiver(instance: Wallet, **_signal: Any) -> None:
        if busy:
            return
        busy.append(instance)
        with suppress(KeyError), transaction.atomic():
            instance.add(Decimal(7))
            instance.save()
            raise KeyError

    root.raise_request_exception = False
    with receiving(receiver):
        answer = root.post(f"/api/wallets/{wallet.pk}/add/", {"amount": "10"})
        busy.clear()
        with pytest.raises(SpentInstance):
            Wallet.objects.perform(wallet.pk, Wallet.add, amount=Decimal(10))
    problem_of(answer, 500, "internal_error")
    assert Wallet.objects.get(pk=wallet.pk).balance == 50
    assert StoredEvent.objects.count() == 2


def test_what_receivers_save_and_keep_is_told_too(root: APIClient) -> None:
    wallet, busy = open_wallet("Ada", 50), list[Wallet]()

    def receiver(instance: Wallet, **_signal: Any) -> None:
        if not busy:
            busy.append(instance)
            instance.add(Decimal(7))
            instance.save()

    with receiving(receiver):
        answer = root.post(f"/api/wallets/{wallet.pk}/add/", {"amount": "10"}).json()
    assert [event["version"] for event in answer["events"]] == [3, 4]
    assert (answer["version"], answer["state"]["balance"]) == (4, "67.00")
    assert root.get(f"/api/wallets/{wallet.pk}/").json() == answer["state"]


# What is computed


def test_what_the_view_computes_is_that_of_the_new_state(root: APIClient) -> None:
    wallet = open_wallet("Ada", 50)
    answer = root.post(f"/api/doubled/{wallet.pk}/add/", {"amount": "10"}, headers={"Idempotency-Key": "k"})
    again = root.post(f"/api/doubled/{wallet.pk}/add/", {"amount": "10"}, headers={"Idempotency-Key": "k"})
    assert answer.json()["state"]["doubled"] == again.json()["state"]["doubled"] == "120.00"
    created = root.post("/api/doubled/", {"owner": "Bob"})
    assert (created.status_code, created.json()["state"]["doubled"]) == (201, "0.00")


def test_a_column_without_history_that_a_receiver_writes_is_that_of_the_row(root: APIClient) -> None:
    wallet = open_wallet("Ada", 50)

    def receiver(instance: Wallet, **_signal: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {Wallet._meta.db_table} SET note = 'seen' WHERE version = %s", [instance.version])

    with receiving(receiver):
        answer = root.post(f"/api/wallets/{wallet.pk}/add/", {"amount": "10"})
    assert answer.json()["state"]["note"] == "seen"


def test_a_creating_command_that_finds_nothing_to_do_creates_nothing(root: APIClient) -> None:
    for _turn in range(2):
        answer = root.post("/api/counters/", {"wanted": False}, headers={"Idempotency-Key": "k"})
        assert (answer.status_code, answer.json()) == (
            200,
            {"events": [], "state": None, "version": 0, "position": None},
        )
        assert not {"Location", "ETag"} & set(answer.headers)
    assert root.post("/api/counters/", {"wanted": True}).status_code == 201
    assert Counter.objects.count() == 1


# Who decides


def test_a_batch_asks_before_each_command_about_the_state_as_it_is_then(root: APIClient) -> None:
    wallet = open_wallet("Ada", 50)
    take = {"stream_type": Wallet.stream_type, "stream_key": str(wallet.pk), "command": "take"}
    calls = [{**take, "arguments": {"amount": "10"}}] * 2
    problem = problem_of(root.post("/api/rich-batch/", {"commands": calls}), 403, "permission_denied")
    assert problem["item"] == 1
    assert Wallet.objects.get(pk=wallet.pk).balance == 50


def test_a_subclass_shows_what_its_parent_shows(root: APIClient) -> None:
    hidden = open_wallet("hidden", 50)
    for address in ("parents", "children"):
        assert root.get(f"/api/{address}/").json()["results"] == []
        problem_of(root.get(f"/api/{address}/{hidden.pk}/"), 404, "not_found")
        problem_of(root.post(f"/api/{address}/{hidden.pk}/add/", {"amount": "1"}), 404, "not_found")


def test_a_command_that_a_parent_wrote_itself_is_routed_and_can_be_left_out(root: APIClient) -> None:
    wallet = open_wallet("Ada", 50)
    assert root.post(f"/api/parents/{wallet.pk}/take/", {"amount": "1"}).status_code == 200
    assert root.post(f"/api/children/{wallet.pk}/take/", {"amount": "1"}).status_code == 404
    assert Wallet.objects.get(pk=wallet.pk).balance == 49


def test_commands_and_the_past_need_their_permissions_whatever_the_view_asks_for() -> None:
    wallet = open_wallet("Ada", 50)
    stranger = client_of(user_with(name="stranger"))
    assert stranger.get(f"/api/open/{wallet.pk}/").status_code == 200
    problem_of(stranger.post(f"/api/open/{wallet.pk}/add/", {"amount": "1"}), 403, "permission_denied")
    for address in ("?version=1", "diff/?since=1", "events/"):
        problem_of(stranger.get(f"/api/open/{wallet.pk}/{address}"), 403, "permission_denied")
    assert Wallet.objects.get(pk=wallet.pk).balance == 50
