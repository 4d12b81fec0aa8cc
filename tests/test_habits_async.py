"""Async code runs commands through asgiref, with its context; the async twins of Django's methods hold as they do."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient
from django.urls import path

from eventsourcing_app import context
from eventsourcing_app.exceptions import DirectWriteRefused, NothingRecorded, UnrecordedChange
from tests.samples.factories import add, drifts, open_wallet, versions
from tests.samples.models import Contract, Customer, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]


async def pay(request: HttpRequest) -> HttpResponse:
    """An async view: a command, and a save of an instance."""
    wallet = await Wallet.objects.aget(owner="Ada")
    receipt = await sync_to_async(Wallet.objects.perform)(wallet.pk, Wallet.add, amount=Decimal(1))
    await wallet.arefresh_from_db()
    await sync_to_async(wallet.add)(amount=Decimal(1))
    await wallet.asave()
    return HttpResponse(f"{receipt.version} {wallet.version}")


urlpatterns = [path("pay/", pay)]


@pytest.fixture(autouse=True)
def no_row_drifts(db: None) -> Iterator[None]:
    """Whatever a test tried, rows and histories agree at its end."""
    yield
    if not connection.needs_rollback:
        assert drifts() == []


def test_an_async_view_runs_commands_in_the_context_of_its_request() -> None:
    opened, user = open_wallet(), User.objects.create_user("ada")
    client = AsyncClient()
    client.force_login(user)
    response = async_to_sync(client.get)("/pay/", headers={"X-Correlation-ID": "case-1"})
    assert response.content == b"2 3"
    (_opened, *paid) = opened.history()
    assert {event.actor for event in paid} == {f"user:{user.pk}"}
    assert len({event.correlation_id for event in paid}) == 1


def test_commands_at_once_keep_their_contexts_apart() -> None:
    opened = [open_wallet(name) for name in ("Ada", "Eve")]

    async def pay(wallet: Wallet) -> None:
        with context(actor=f"of:{wallet.owner}"):
            await sync_to_async(Wallet.objects.perform)(wallet.pk, Wallet.add, Decimal(1))

    async def both() -> None:
        await asyncio.gather(*map(pay, opened))

    async_to_sync(both)()
    assert [wallet.history().get(version=2).actor for wallet in opened] == ["of:Ada", "of:Eve"]


async def _save(wallet: Wallet) -> None:
    await add(wallet).asave()


async def _update(wallet: Wallet) -> None:
    assert await Wallet.objects.aupdate(note="x") == 1
    wallet.note = "y"
    assert await Wallet.objects.abulk_update([wallet], ["note"]) == 1
    await wallet.asave(update_fields=["note"])


async def _read(wallet: Wallet) -> None:
    rows = Wallet.objects.filter(owner="Ada")
    assert await rows.afirst() == await rows.alast() == await rows.aget() == wallet
    assert await rows.acount() == 1
    assert await rows.aexists()
    assert await rows.acontains(wallet)
    assert await rows.aaggregate(one=Sum("balance")) == {"one": Decimal(0)}
    assert [row async for row in rows] == [row async for row in rows.aiterator()] == [wallet]
    assert await rows.ain_bulk() == {wallet.pk: wallet}
    assert await rows.aearliest("version") == await rows.alatest("version") == wallet
    await wallet.arefresh_from_db(fields=["owner"])
    await wallet.arefresh_from_db(from_queryset=rows)


@pytest.mark.parametrize("use", [_save, _update, _read])
def test_what_works_works_async_too(use: Callable[[Wallet], Any]) -> None:
    wallet = open_wallet()
    async_to_sync(use)(wallet)
    assert versions(wallet) == ([1, 2] if use is _save else [1])


REFUSED: dict[str, Callable[[Wallet], Any]] = {
    "acreate": lambda _: Wallet.objects.acreate(owner="Eve"),
    "abulk_create": lambda _: Wallet.objects.abulk_create([Wallet()]),
    "aget_or_create": lambda _: Wallet.objects.aget_or_create(owner="Ada"),
    "aupdate_or_create": lambda _: Wallet.objects.aupdate_or_create(owner="Ada", defaults={"balance": 5}),
    "aupdate": lambda _: Wallet.objects.aupdate(balance=5),
    "abulk_update": lambda wallet: Wallet.objects.abulk_update([wallet], ["balance"]),
    "adelete of rows": lambda _: Wallet.objects.all().adelete(),
    "adelete": lambda wallet: wallet.adelete(),
    "asave": lambda wallet: wallet.asave(),
    "asave of columns": lambda wallet: wallet.asave(update_fields=["balance"]),
}


@pytest.mark.parametrize("door", REFUSED)
def test_what_leaves_no_event_is_refused_async_too(door: str) -> None:
    wallet = open_wallet()

    async def knock() -> None:
        await REFUSED[door](wallet)

    with pytest.raises((DirectWriteRefused, NothingRecorded)):
        async_to_sync(knock)()
    assert versions(wallet) == [1]


RELATED: dict[str, Callable[[Customer, Contract], Any]] = {
    "aadd": lambda customer, contract: customer.contracts.aadd(contract),
    "acreate": lambda customer, _: customer.contracts.acreate(),
    "aremove": lambda customer, contract: customer.contracts.aremove(contract),
    "aset": lambda customer, _: customer.contracts.aset([]),
    "aclear": lambda customer, _: customer.contracts.aclear(),
    "aget_or_create": lambda customer, _: customer.contracts.aget_or_create(),
    "aupdate_or_create": lambda customer, _: customer.contracts.aupdate_or_create(),
}


@pytest.mark.parametrize("door", RELATED)
def test_an_async_related_manager_does_not_write(door: str) -> None:
    customer = Customer.objects.create(name="Ada")
    contract = Contract()
    contract.sign(customer_id=customer.pk)
    contract.save()
    other = Customer.objects.create(name="Eve")

    async def knock() -> None:
        await RELATED[door](other if door == "aadd" else customer, contract)

    with pytest.raises((DirectWriteRefused, UnrecordedChange)):
        async_to_sync(knock)()
    assert Contract.objects.get().customer == customer
