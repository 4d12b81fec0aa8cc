"""A history that no code here can fold to its end breaks no page of the admin: it is told as far as code can tell."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import path

from eventsourcing_app.admin import EventSourcedAdmin, StoredEventAdmin
from eventsourcing_app.models import StoredEvent
from tests.admin_client import text_of
from tests.reactions_sample.scene import append_raw
from tests.samples.factories import open_wallet, run_sql
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Callable

site = admin.AdminSite()
site.register(StoredEvent, StoredEventAdmin)
site.register(Wallet, EventSourcedAdmin)
urlpatterns = [path("admin/", site.urls)]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

WALLETS = "/admin/samples/wallet/"


def broken(_wallet: Wallet, _event: object) -> None:
    raise ZeroDivisionError("never by nothing")


def raised(wallet: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the method fail that applies the third event."""
    wallet.add(Decimal(1))
    wallet.save()
    monkeypatch.setattr(Wallet, "_added", broken)


def applied_by_nothing(wallet: Wallet, _monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be a third event that no method applies."""
    append_raw("samples.counted", {"by": 1}, key=wallet.stream_key, version=3)
    run_sql("UPDATE samples_wallet SET version = 3")


WAYS = [raised, applied_by_nothing]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "page", ["change/", "history/", "past/", "past/?version=3&compare=1", "past/?version=3&part=1"]
)
def test_what_an_apply_method_raises_is_no_error_of_a_page(
    page: str, way: Callable[..., None], root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet = open_wallet("Ada", 1)
    way(wallet, monkeypatch)
    text = text_of(root.get(f"{WALLETS}{wallet.pk}/{page}"))
    assert "No code here can tell" in text or "no code here can read one of them" in text
    assert "never by nothing" in text or "@applies(Counted)" in text


def test_what_came_before_it_is_told(root: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    wallet = open_wallet("Ada", 1)
    raised(wallet, monkeypatch)
    page = root.get(f"{WALLETS}{wallet.pk}/history/")
    assert [entry.changes is None for entry in page.context["timeline"].entries] == [True, True, False]
    then = root.get(f"{WALLETS}{wallet.pk}/past/?version=1")
    assert (then.context["view"].version, bool(then.context["view"].values)) == (1, True)
    assert "never by nothing" in then.context["view"].problem  # as to the state of now


@pytest.mark.parametrize("way", WAYS)
def test_a_conflict_over_an_event_that_cannot_be_folded_is_a_conflict(
    way: Callable[..., None], root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet = open_wallet("Ada", 1)
    way(wallet, monkeypatch)
    sent: dict[str, Any] = {"_es_key": str(uuid4()), "_es_version": "2"}
    answer = root.post(f"{WALLETS}{wallet.pk}/command/tidy/", sent)
    assert answer.status_code == 409
    assert [line.changes for line in answer.context["meanwhile"].lines] == [None]
    assert answer.context["meanwhile"].changes is None
