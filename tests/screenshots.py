"""Pictures of the admin for the README and the pages: ``make screenshots``.

A bank like the demo's, on whose last hour something went wrong, in a real browser under a strict Content-Security-
Policy. Chance comes from the demo's own generator, so that only dates and keys differ from one day to the next. With
``SCREENSHOTS=<directory>``, every screen is kept there in light, dark and on a phone, to be looked at.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from smtplib import SMTPServerDisconnected
from typing import TYPE_CHECKING, Any, Final

import pytest
from django.core.mail import EmailMessage

from demo_bank import clock
from demo_bank.demo.logins import ensure_logins
from demo_bank.demo.seed import SEED, seed
from demo_bank.models import Account
from demo_bank.payments import pay
from demo_bank.reactions import AUDIT, NOTIFICATIONS, TOTALS
from demo_bank.transfers import transfer
from eventsourcing_app import context
from eventsourcing_app.models import ParkedEvent, StoredEvent
from eventsourcing_app.subscriptions import pause
from eventsourcing_app.subscriptions.drain import drain
from tests.browsing import log_in, too_wide

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

IMAGES: Final = Path(__file__).resolve().parent.parent / "docs" / "images"
LARGEST: Final = 150_000
"""Bytes of a picture; those of the README are under one megabyte together."""
DESKTOP, PHONE = (1280, 800), (390, 844)
LOWER: Final = (1280, 700)
"""For a page so full of text that a picture of it would be too large."""
WAYS: Final = (("light", DESKTOP), ("dark", DESKTOP), ("light", PHONE), ("dark", PHONE))
NUMBER: Final = "DEMO-0001"
"""The account that is looked at."""


@dataclass(frozen=True, slots=True)
class Screen:
    """A page, how one comes to what it shows, and which pictures of it are kept."""

    name: str
    path: str
    kept: tuple[tuple[str, tuple[int, int]], ...] = ()
    act: Callable[[Page], None] | None = None


@pytest.fixture
def bank(server: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The demo's year, an hour in which the mail server was away, and an operator who has paused something."""
    settings.DEBUG = True
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "CLOCK": "demo_bank.clock.now"}
    logins = ensure_logins()
    teller = f"user:{logins['teller'].user.pk}"
    seed(actor=teller)
    drain()
    _busy_hour(teller)
    monkeypatch.setattr(EmailMessage, "send", _no_mail)
    drain()
    with context(actor=f"user:{logins['operator'].user.pk}", channel="admin"):
        pause(AUDIT, reason="The auditors move house until Monday.")
    return server


def _busy_hour(actor: str) -> None:
    now, chance = datetime.now(UTC), random.Random(SEED)
    keys = {account.number: account.pk for account in Account.objects.all()}
    ada, luca = keys[NUMBER], keys["DEMO-0002"]
    for minute in range(58, 0, -1):
        with clock.at(now - timedelta(minutes=minute)), context(actor=actor, channel="branch"):
            for turn in range(chance.choice((0, 0, 1, 1, 2, 3, 5))):
                number = f"DEMO-{chance.randint(2, 12):04}"
                Account.objects.perform(
                    keys[number], Account.deposit, amount=Decimal(minute * 5 + turn), reference="Cash"
                )
    with clock.at(now - timedelta(seconds=40)), context(actor=actor, channel="branch", correlation_id="request-1494"):
        salary = Account.objects.perform(ada, Account.deposit, amount=Decimal("2400.00"), reference="Salary")
        cause = StoredEvent.objects.get(position=salary.position)
        with context(causation_id=cause.event_id):
            transfer(ada, luca, Decimal("350.00"), reference="Rent")
            pay(ada, "Corner Bakery", Decimal("12.40"), order_id="S-00001")


def _no_mail(_self: EmailMessage, *_args: object, **_kwargs: object) -> int:
    raise SMTPServerDisconnected("The mail server is away.")


def screens() -> list[Screen]:
    """Every screen of the admin; the first that are kept are those of the README."""
    account = Account.objects.get(number=NUMBER)
    ours, accounts = "/admin/eventsourcing_app", f"/admin/demo_bank/account/{account.pk}"
    salary = StoredEvent.objects.filter(stream_key=str(account.pk), type="bank.money_deposited").last()
    payment = StoredEvent.objects.filter(type="payments.payment_succeeded").last()
    parked = ParkedEvent.objects.first()
    assert salary is not None
    assert payment is not None
    assert parked is not None
    light, dark, phone = WAYS[:3]
    return [
        Screen("overview", f"{ours}/", (light, dark, phone)),
        Screen("events", f"{ours}/storedevent/"),
        Screen("events-live", f"{ours}/storedevent/?live=1"),
        Screen("event", f"{ours}/storedevent/{salary.position}/change/", (light,)),
        Screen("event-parked", f"{ours}/storedevent/{payment.position}/change/"),
        Screen("correlation", f"{ours}/storedevent/correlation/?id=request-1494", (light,)),
        Screen("accounts", "/admin/demo_bank/account/"),
        Screen("account", f"{accounts}/change/", (light,)),
        Screen("audit-trail", f"{accounts}/history/", (("light", LOWER), phone)),
        Screen("time-travel", f"{accounts}/past/?version={account.version - 3}", (light,)),
        Screen("command", f"{accounts}/command/withdraw/"),
        Screen("refused", f"{accounts}/command/withdraw/", (light,), _withdraw_too_much),
        Screen("subscriptions", f"{ours}/subscription/"),
        Screen("subscription", f"{ours}/subscription/{NOTIFICATIONS}/change/", (light,)),
        Screen("subscription-paused", f"{ours}/subscription/{AUDIT}/change/"),
        Screen("reset", f"{ours}/subscription/{TOTALS}/act/reset/"),
        Screen("parked", f"{ours}/parkedevent/", (light,)),
        Screen("parked-event", f"{ours}/parkedevent/{parked.pk}/change/"),
        Screen("retry", f"{ours}/parkedevent/act/retry/?id={parked.pk}"),
        Screen("operators", f"{ours}/storedevent/operators/"),
        Screen("index", "/admin/"),
    ]


def _withdraw_too_much(page: Page) -> None:
    page.get_by_label("Amount").fill("1000000")
    page.get_by_role("button", name="Withdraw").click()


def test_pictures_are_taken(page: Page, bank: str, faults: list[str]) -> None:
    log_in(page, "admin", "demo-admin")
    page.emulate_media(reduced_motion="reduce")
    directory = os.environ.get("SCREENSHOTS")
    target = Path(directory) if directory else IMAGES
    target.mkdir(parents=True, exist_ok=True)
    too_large: list[str] = []
    for screen in screens():
        if not (directory or screen.kept):
            continue
        page.goto(screen.path)
        if screen.act:
            screen.act(page)
        for scheme, (width, height) in WAYS if directory else screen.kept:
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate("() => Promise.allSettled(document.getAnimations().map(each => each.finished))")
            assert too_wide(page) == [], f"{screen.name} on {width}"
            name = screen.name + ("-phone" if width < DESKTOP[0] else "") + ("-dark" if scheme == "dark" else "")
            picture = page.screenshot(full_page=bool(directory))
            if not directory and len(picture) > LARGEST:
                too_large.append(f"{name}: {len(picture):,} bytes")
            (target / f"{name}.png").write_bytes(picture)
    assert not too_large
    assert [fault for fault in faults if "422" not in fault] == []
