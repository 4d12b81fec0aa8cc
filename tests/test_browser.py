"""The whole story in a real browser, from a deposit to what it changed and caused, and to what is stuck because of it.

Under a strict Content-Security-Policy. What each screen does in detail is told by the ``test_browser_*`` beside this.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from smtplib import SMTPServerDisconnected
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.core.mail import EmailMessage
from playwright.sync_api import expect

from demo_bank.models import Account
from demo_bank.payments import pay
from demo_bank.reactions import NOTIFICATIONS
from eventsourcing_app import context
from eventsourcing_app.models import ParkedEvent, StoredEvent
from eventsourcing_app.subscriptions.drain import drain
from tests.browsing import log_in, picture

if TYPE_CHECKING:
    from playwright.sync_api import Page


def no_mail(_self: EmailMessage, *_args: object, **_kwargs: object) -> int:
    raise SMTPServerDisconnected("The mail server is away.")


@pytest.fixture
def account(server: str, monkeypatch: pytest.MonkeyPatch) -> Account:
    """Some deposits, and a payment of which the merchant could not be told."""
    user = User.objects.create_superuser("auditor", password="open-sesame")
    with context(actor=f"user:{user.pk}", channel="branch"):
        receipt = Account.objects.perform_new(Account.open, owner="Ada Lovelace", number="DE01", currency="EUR")
        for number in (1, 2):
            Account.objects.perform(receipt.pk, Account.deposit, amount=Decimal(100 * number), reference="Salary")
        Account.objects.perform(receipt.pk, Account.withdraw, amount=Decimal("12.34"), reference="<b>Café</b> 🍰")
        pay(receipt.pk, "Books & Co", Decimal("33.40"), "order-7")
    with monkeypatch.context() as patched:
        patched.setattr(EmailMessage, "send", no_mail)
        drain()
    return Account.objects.get(pk=receipt.pk)


def story(page: Page) -> None:
    """Find a deposit, travel to before it, withdraw too much, retry what is parked, and export what happened."""
    log_in(page, "auditor")
    picture(page, "index")
    page.get_by_role("main").get_by_role("link", name="Stored events").click()
    page.get_by_role("link", name="bank.money_deposited").first.click()
    rows = page.locator("#result_list tbody tr")
    expect(rows).to_have_count(2)
    rows.first.get_by_role("link").first.click()
    expect(page.locator(".es-payload")).to_contain_text("200.00\u00a0EUR")
    expect(page.locator(".es-changes ins")).to_have_text("300.00\u00a0EUR")

    page.get_by_role("link", name="Audit trail", exact=True).click()
    trail = page.locator(".es-timeline tbody tr")
    expect(trail).to_have_count(5)
    expect(trail.nth(1)).to_contain_text("<b>Café</b> 🍰")
    page.get_by_role("link", name="Time travel").click()
    page.get_by_label("Version, 1 to 5").fill("2")
    page.get_by_role("button", name="Show the state then").click()
    expect(page.locator(".es-state")).to_contain_text("100.00")
    expect(page.locator(".es-changes")).to_contain_text("254.26")

    page.get_by_role("navigation", name="Breadcrumbs").or_(page.locator(".breadcrumbs")).first.get_by_role(
        "link", name="DE01"
    ).click()
    expect(page.get_by_role("button", name="Save")).to_have_count(0)
    page.get_by_role("link", name="Withdraw", exact=True).click()
    page.get_by_label("Amount").fill("1000")
    page.get_by_role("button", name="Withdraw").click()
    expect(page.get_by_role("alert")).to_contain_text("Account DE01 has 254.26 EUR left, overdraft included.")

    page.goto("/admin/eventsourcing_app/")
    page.get_by_role("listitem").filter(has_text="Parked events").get_by_role("link", name="1").click()
    page.get_by_role("link", name="Retry all").click()
    page.get_by_label("Reason").fill("The mail server is back.")
    page.get_by_role("button", name="Retry 1 event").click()
    expect(page.get_by_text("1 event is tried again.")).to_be_visible()
    drain()
    assert not ParkedEvent.objects.exists()
    page.goto("/admin/eventsourcing_app/storedevent/operators/")
    line = page.locator(".es-log tbody tr").first
    expect(line).to_contain_text("The mail server is back.")
    expect(line).to_contain_text(NOTIFICATIONS)

    page.goto("/admin/eventsourcing_app/storedevent/?type=bank.money_deposited")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as NDJSON").click()
    lines = Path(download.value.path()).read_text("utf-8").splitlines()
    assert [json.loads(each)["data"]["amount"] for each in lines] == ["100.00", "200.00"]


def unexpected(faults: list[str]) -> list[str]:
    """What the browser complained about, but for the refusal that the story asks for."""
    return [fault for fault in faults if not re.search(r"status of 422|^422 ", fault)]


def test_an_auditor_follows_a_deposit_to_what_is_stuck(page: Page, account: Account, faults: list[str]) -> None:
    story(page)
    page.goto("/admin/eventsourcing_app/storedevent/?live=1")
    expect(page.locator("#es-live")).to_be_visible()
    page.mouse.move(0, 0)
    Account.objects.perform(account.pk, Account.deposit, amount=Decimal(1), reference="while one looks")
    expect(page.locator("#result_list tbody tr").first).to_contain_text("while one looks", timeout=10_000)
    assert unexpected(faults) == []


def test_the_same_works_without_scripts(plain_page: Page, account: Account, faults: list[str]) -> None:
    story(plain_page)
    assert StoredEvent.objects.filter(type="eventsourcing.parked_events_retried").count() == 1
    assert unexpected(faults) == []
