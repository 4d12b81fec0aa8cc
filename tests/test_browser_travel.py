"""A person in a real browser finds out what an account was, and how it became what it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from demo_bank.models import Account
from eventsourcing_app import context
from tests.browsing import check_accessible, log_in, picture

if TYPE_CHECKING:
    from playwright.sync_api import Page

BEGAN = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.fixture
def account(server: str, settings: Any) -> Account:
    """It was opened, and something happened to it every week."""
    weeks = [0]
    clock = {"CLOCK": lambda: BEGAN + timedelta(weeks=weeks[0])}
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, **clock}
    user = User.objects.create_superuser("auditor", password="open-sesame")
    with context(actor=f"user:{user.pk}"):
        pk = Account.objects.perform_new(Account.open, owner="Ada Lovelace", number="DE01").pk
        for amount in (1200, 250, -400, 1200, -75, 1200, -900, 30):
            weeks[0] += 1
            command, what = (Account.deposit, "Salary") if amount > 0 else (Account.withdraw, "Rent")
            Account.objects.perform(pk, command, amount=Decimal(abs(amount)), reference=what)
    weeks[0] += 1
    return Account.objects.get(pk=pk)


def test_an_auditor_travels_to_before_a_deposit(page: Page, account: Account, faults: list[str]) -> None:
    log_in(page, "auditor")
    page.goto(f"/admin/demo_bank/account/{account.pk}/change/")
    expect(page.get_by_role("heading", name="Balance over time")).to_be_visible()
    check_accessible(page)
    picture(page, "account")

    page.get_by_role("link", name="Audit trail", exact=True).click()
    rows = page.locator(".es-timeline tbody tr")
    expect(rows.nth(2)).to_contain_text("Balance was 2,175.00 → is now 3,375.00")
    check_accessible(page)
    picture(page, "audit-trail")

    page.get_by_role("link", name="Time travel").click()
    slider = page.get_by_role("slider", name="Slide through the versions")
    expect(page.get_by_role("heading", name="Version 9, as it is now")).to_be_visible()
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("heading", name="Version 5 of 9")).to_be_visible()
    expect(page.get_by_label("Version, 1 to 9")).to_have_value("5")
    expect(page).to_have_url(f"{page.url.partition('?')[0]}?version=5")
    expect(page.locator(".es-state")).to_contain_text("2,250.00\u00a0EUR")
    expect(page.locator(".es-changes")).to_contain_text("was 2,250.00\u00a0EUR → is now 2,505.00\u00a0EUR")
    expect(slider).to_be_focused()
    marked = float(page.locator("#es-mark").get_attribute("x1") or 0)
    assert 4 < marked < 636
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="Version 6 of 9")).to_be_visible()
    assert float(page.locator("#es-mark").get_attribute("x1") or 0) > marked

    page.get_by_label("Version, 1 to 9").fill("2")
    expect(page.get_by_role("heading", name="Version 2 of 9")).to_be_visible()
    expect(slider).to_have_value("2")
    page.locator("#es-compare").fill("4")
    expect(page.get_by_role("heading", name="From then to version 4")).to_be_visible()
    page.get_by_text("The same as a table").click()
    check_accessible(page)
    picture(page, "time-travel")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert faults == []


def test_it_works_without_scripts(plain_page: Page, account: Account, faults: list[str]) -> None:
    page = plain_page
    log_in(page, "auditor")
    page.goto(f"/admin/demo_bank/account/{account.pk}/change/")
    page.get_by_label("As of (date and time, UTC)").fill("2026-03-10T00:00")
    page.get_by_role("button", name="Show the state at that time").click()
    expect(page.get_by_role("heading", name="Version 2 of 9")).to_be_visible()
    expect(page.get_by_text("This is final.")).to_be_visible()
    expect(page.get_by_role("slider")).to_have_count(0)
    page.get_by_label("Version, 1 to 9").fill("5")
    page.locator("#es-compare").fill("2")
    page.get_by_role("button", name="Show the state then").click()
    expect(page.get_by_role("heading", name="Since version 2")).to_be_visible()
    page.get_by_role("link", name="Earlier").click()
    expect(page.get_by_role("heading", name="Version 4 of 9")).to_be_visible()
    page.get_by_label("Field").select_option("Overdraft limit")
    page.get_by_role("button", name="Draw").click()
    expect(page.get_by_role("heading", name="Overdraft limit over time")).to_be_visible()
    assert faults == []
