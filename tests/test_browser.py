"""The admin in a real browser, under a strict Content-Security-Policy: from the login to one event of an account."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from demo_bank.models import Account
from eventsourcing_app import context
from tests.browsing import log_in, picture

if TYPE_CHECKING:
    from playwright.sync_api import Page


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
    log_in(page, "auditor")
    picture(page, "index")

    page.get_by_role("main").get_by_role("link", name="Accounts").click()
    picture(page, "accounts")
    page.get_by_role("link", name="DE01", exact=True).click()
    expect(page.locator(".field-balance")).to_contain_text("2787.66")
    expect(page.get_by_role("button", name="Save")).to_have_count(0)
    picture(page, "account")

    page.get_by_role("link", name="Audit trail", exact=True).click()
    rows = page.locator(".es-trail tbody tr")
    expect(rows).to_have_count(9)
    expect(rows.first).to_contain_text("<b>Café</b> 🍰")
    expect(rows.last).to_contain_text("bank.account_opened")
    picture(page, "trail")

    rows.first.get_by_role("link", name="9", exact=True).click()
    data = page.locator(".es-payload")
    expect(data).to_contain_text("12.34\u00a0EUR")
    expect(data).to_contain_text("<b>Café</b> 🍰")
    picture(page, "event")
    page.get_by_role("link", name="Previous in stream").click()
    expect(data).to_contain_text("700.00\u00a0EUR")

    page.get_by_role("link", name="Whole stream").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(9)
    page.get_by_role("link", name="bank.money_withdrawn").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    picture(page, "events")
    assert faults == []
