"""The pages of the schema in a real browser: Swagger UI from the own server only, under a strict policy.

Set ``SCREENSHOTS`` to a directory to keep pictures of the pages.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from demo_bank.models import Account

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page


@pytest.fixture
def server(django_db_setup: None, browser: Browser, transactional_db: None, settings: Any) -> Iterator[str]:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.browsing.StrictPolicy"]
    server = LiveServer("localhost")
    yield server.url
    server.stop()


@pytest.fixture
def faults() -> list[str]:
    """What the browser complained about, and what it asked of other servers."""
    return []


@pytest.fixture
def page(browser: Browser, server: str, faults: list[str]) -> Iterator[Page]:
    page = browser.new_page(base_url=server, viewport={"width": 1280, "height": 1000})
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith((server, "data:")) else faults.append(asked.url))
    yield page
    page.close()


def test_a_command_is_run_from_the_pages_of_the_schema(page: Page, faults: list[str]) -> None:
    User.objects.create_superuser("ada", password="open-sesame")
    page.goto("/admin/login/?next=/api/v1/docs/")
    page.fill("#id_username", "ada")
    page.fill("#id_password", "open-sesame")
    page.click("[type=submit]")
    opening = page.locator("#operations-accounts-account_open")
    expect(opening).to_contain_text("Open")
    if directory := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(directory) / "api_docs.png", full_page=True)
    opening.locator(".opblock-summary").click()
    opening.get_by_role("button", name="Try it out").click()
    opening.get_by_role("button", name="Execute").click()
    expect(opening.locator(".live-responses-table .response-col_status").nth(1)).to_contain_text("201")
    account = Account.objects.get()
    assert account.owner == "Ada Lovelace"

    # What may be left out is not filled in: nobody has asked for version 7 yet, or has seen version 3.
    for name in ("account_deposit", "account_retrieve", "account_diff"):
        operation = page.locator(f"#operations-accounts-{name}")
        operation.locator(".opblock-summary-control").click()
        operation.get_by_role("button", name="Try it out").click()
        operation.locator("tr[data-param-name=id] input").fill(str(account.pk))
        operation.get_by_role("button", name="Execute").click()
        expect(operation.locator(".live-responses-table .response-col_status").nth(1)).to_contain_text("200")
    assert Account.objects.get().version == 2
    assert faults == []
