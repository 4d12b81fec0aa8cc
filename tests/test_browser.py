"""The admin in a real browser, under a strict Content-Security-Policy: from the login to one event of an account.

Set ``SCREENSHOTS`` to a directory to keep pictures of the pages: light, dark, and as wide as a phone.
"""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from demo_bank.models import Account
from eventsourcing_app import context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.http import HttpRequest, HttpResponse
    from playwright.sync_api import Browser, Page

CSP = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; frame-ancestors 'none'"


@pytest.fixture
def faults() -> list[str]:
    """What the browser complained about."""
    return []


class StrictPolicy:
    """The policy that a careful project would set."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers["Content-Security-Policy"] = CSP
        return response


@pytest.fixture
def server(django_db_setup: None, browser: Browser, transactional_db: None, settings: Any) -> Iterator[str]:
    """The address of a server with the policy.

    The browser comes first and so ends last: its event loop has connections of its own, and the flush must run on them.
    """
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.StrictPolicy"]
    server = LiveServer("localhost")
    yield server.url
    server.stop()


@pytest.fixture
def page(browser: Browser, server: str, faults: list[str]) -> Iterator[Page]:
    page = browser.new_page(base_url=server, viewport={"width": 1280, "height": 900})
    # The admin has no icon, and the browser asks for one anyhow.
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("response", lambda answer: faults.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    yield page
    page.close()


@pytest.fixture
def account(server: str) -> Account:
    user = User.objects.create_superuser("auditor", password="open-sesame")
    with context(actor=f"user:{user.pk}", channel="branch"):
        receipt = Account.objects.perform_new(Account.open, owner="Ada Lovelace", number="DE01", currency="EUR")
        for number in range(1, 8):
            Account.objects.perform(receipt.pk, Account.deposit, amount=Decimal(100 * number), reference="Salary")
        Account.objects.perform(receipt.pk, Account.withdraw, amount=Decimal("12.34"), reference="<b>Café</b> 🍰")
    return Account.objects.get(pk=receipt.pk)


def test_an_auditor_finds_out_what_happened_to_an_account(page: Page, account: Account, faults: list[str]) -> None:
    page.goto("/admin/")
    page.get_by_label("Username").fill("auditor")
    page.get_by_label("Password").fill("open-sesame")
    page.get_by_role("button", name="Log in").click()
    _picture(page, "index")

    page.get_by_role("main").get_by_role("link", name="Accounts").click()
    _picture(page, "accounts")
    page.get_by_role("link", name="DE01", exact=True).click()
    expect(page.get_by_text("2787.66")).to_be_visible()
    expect(page.get_by_role("button", name="Save")).to_have_count(0)
    _picture(page, "account")

    page.get_by_role("link", name="Audit trail").click()
    rows = page.locator(".es-trail tbody tr")
    expect(rows).to_have_count(9)
    expect(rows.first).to_contain_text("<b>Café</b> 🍰")
    expect(rows.last).to_contain_text("bank.account_opened")
    _picture(page, "trail")

    rows.first.get_by_role("link", name="9", exact=True).click()
    data = page.locator(".field-data pre")
    expect(data).to_contain_text('"amount": "12.34"')
    expect(data).to_contain_text("<b>Café</b> 🍰")
    _picture(page, "event")
    page.get_by_role("link", name="Previous in stream").click()
    expect(data).to_contain_text('"amount": "700.00"')

    page.get_by_role("link", name="Whole stream").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(9)
    page.get_by_role("link", name="bank.money_withdrawn").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    _picture(page, "events")
    assert faults == []


def _picture(page: Page, name: str) -> None:
    """Keep the page as it looks in light, in dark and on a phone, if somebody wants to see it."""
    directory = os.environ.get("SCREENSHOTS")
    if not directory:
        return
    for scheme, width in (("light", 1280), ("dark", 1280), ("light", 390)):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.set_viewport_size({"width": width, "height": 900})
        page.screenshot(path=Path(directory) / f"{name}-{scheme}-{width}.png", full_page=True)
    page.set_viewport_size({"width": 1280, "height": 900})
