"""The screens in German, in a browser that asks for it: every word fits, on a phone too."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from demo_bank.models import Account
from eventsourcing_app import context
from tests.browsing import DESKTOP, _listen, check_accessible, check_fits, picture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page


@pytest.fixture
def german(browser: Browser, server: str, faults: list[str]) -> Iterator[Page]:
    """A page of a browser of somebody who reads German."""
    page = browser.new_page(base_url=server, viewport=DESKTOP, locale="de-DE")  # type: ignore[arg-type]  # a TypedDict
    _listen(page, faults)
    yield page
    page.close()


def look_at(page: Page, name: str) -> None:
    """Nothing is wider than a desk or a phone; what is meant to scroll does so by itself."""
    picture(page, f"german-{name}")
    check_fits(page)


def test_a_german_auditor_reads_german_on_a_phone_too(german: Page, faults: list[str]) -> None:
    user = User.objects.create_superuser("prüfer", password="open-sesame")
    with context(actor=f"user:{user.pk}", correlation_id="vorgang-1"):
        account = Account.objects.perform_new(Account.open, owner="Ada Lovelace", number="DE01").pk
        Account.objects.perform(account, Account.deposit, amount=Decimal("12500.50"), reference="Gehalt")
    page = german
    page.goto("/admin/")
    page.get_by_label("Benutzername").fill("prüfer")
    page.get_by_label("Passwort").fill("open-sesame")
    page.get_by_role("button", name="Anmelden").click()

    page.goto("/admin/eventsourcing_app/")
    expect(page.get_by_role("heading", name="Ereignisse je Minute")).to_be_visible()
    check_accessible(page)
    look_at(page, "overview")

    page.get_by_role("main").get_by_role("link", name="Gespeicherte Ereignisse").last.click()
    expect(page.get_by_role("columnheader", name="Aufgezeichnet am")).to_be_visible()
    look_at(page, "events")
    page.locator("#result_list tr", has_text="bank.money_deposited").get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="Was es geändert hat")).to_be_visible()
    expect(page.locator("ins").first).to_contain_text("12.500,50\u00a0EUR")
    look_at(page, "event")

    page.goto(f"/admin/demo_bank/account/{account}/change/")
    expect(page.get_by_role("heading", name="Was zuletzt geschah")).to_be_visible()
    check_accessible(page)
    look_at(page, "account")

    page.get_by_role("link", name="Withdraw", exact=True).click()  # the demo's own commands have English names
    page.get_by_role("button", name="Withdraw").click()
    expect(page.get_by_text("Dieses Feld ist zwingend erforderlich.")).to_be_visible()
    expect(page.get_by_text("Bitte den unten aufgeführten Fehler korrigieren.")).to_be_visible()
    look_at(page, "command")
    page.goto("/admin/eventsourcing_app/subscription/")
    look_at(page, "subscriptions")
    page.get_by_role("link", name="bank.audit").first.click()
    look_at(page, "subscription")
    unexpected = [fault for fault in faults if "422" not in fault]
    assert unexpected == []
