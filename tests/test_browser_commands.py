"""A teller works with accounts in a real browser: forms, refusals, and what somebody else did meanwhile."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import Permission, User
from playwright.sync_api import expect

from demo_bank.models import Account
from eventsourcing_app import context
from eventsourcing_app.models import StoredEvent
from tests.browsing import PHONE, check_accessible, log_in, picture

if TYPE_CHECKING:
    from playwright.sync_api import Page

ACCOUNTS = "/admin/demo_bank/account/"


@pytest.fixture
def account(server: str) -> Account:
    teller = User.objects.create_user("teller", password="open-sesame", is_staff=True)
    may = ("view_account", "change_account", "add_account", "view_storedevent", "view_payload")
    teller.user_permissions.set(Permission.objects.filter(codename__in=may))
    receipt = Account.objects.perform_new(Account.open, owner="Ada Lovelace", number="DE01")
    Account.objects.perform(receipt.pk, Account.deposit, amount=Decimal("100.00"), reference="Wages")
    return Account.objects.get(pk=receipt.pk)


def check(page: Page, faults: list[str]) -> None:
    """Look for what is hard to use. What the looking itself runs into is no fault of the page."""
    told = len(faults)
    check_accessible(page)
    del faults[told:]


def unexpected(faults: list[str]) -> list[str]:
    """What the browser complained about, but for the answers that are to be refusals."""
    return [fault for fault in faults if not re.search(r"status of 4(09|22)|^4(09|22) ", fault)]


def test_a_teller_withdraws_too_much_and_reads_why(page: Page, account: Account, faults: list[str]) -> None:
    log_in(page, "teller")
    page.goto(f"{ACCOUNTS}{account.pk}/change/")
    picture(page, "buttons")
    check(page, faults)
    page.get_by_role("link", name="Withdraw", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Withdraw: DE01 (Ada Lovelace)")
    picture(page, "form")
    page.get_by_label("Amount").fill("100.01")
    page.get_by_label("Reference").fill("Rent")
    page.get_by_role("button", name="Withdraw").click()
    refusal = page.get_by_role("alert")
    expect(refusal).to_contain_text("Account DE01 has 100.00 EUR left, overdraft included.")
    expect(refusal).to_contain_text("insufficient_funds")
    expect(page.get_by_label("Reference")).to_have_value("Rent")
    picture(page, "refused")
    check(page, faults)
    page.get_by_label("Amount").fill("40")
    page.get_by_role("button", name="Withdraw").click()
    done = page.locator(".messagelist .success")
    expect(done).to_contain_text("Withdraw: done, as version 3")
    picture(page, "done")
    done.get_by_role("link").click()
    expect(page.locator("body")).to_contain_text("bank.money_withdrawn")
    event = StoredEvent.objects.order_by("position").last()
    assert event is not None
    assert (event.actor, event.data["amount"]) == (f"user:{User.objects.get().pk}", "40.00")

    page.go_back()
    page.get_by_role("link", name="Deposit", exact=True).click()
    with context(actor="user:77"):
        Account.objects.perform(account.pk, Account.withdraw, amount=Decimal("30.00"), reference="Rent")
    page.get_by_label("Amount").fill("5")
    page.get_by_role("button", name="Deposit").click()
    expect(page.get_by_role("heading", name="It has changed meanwhile")).to_be_visible()
    picture(page, "meanwhile")
    check(page, faults)
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]  # a TypedDict
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert unexpected(faults) == []


def test_what_somebody_else_did_meanwhile_is_shown_without_scripts(
    plain_page: Page, account: Account, faults: list[str]
) -> None:
    page = plain_page
    log_in(page, "teller")
    page.goto(ACCOUNTS)
    picture(page, "list")
    page.get_by_role("link", name="Open account").click()
    picture(page, "open")
    page.get_by_label("Owner").fill("Bob")
    page.get_by_role("button", name="Open account").click()
    expect(page.locator(".messagelist .success")).to_contain_text("Open account: done, as version 1")
    page.go_back()  # to the form, which is the same one
    page.get_by_label("Owner").fill("Bob")
    page.get_by_role("button", name="Open account").click()
    expect(page.locator(".messagelist .warning")).to_contain_text("nothing was done again")
    assert Account.objects.filter(owner="Bob").count() == 1

    page.goto(f"{ACCOUNTS}{account.pk}/change/")
    page.get_by_role("link", name="Deposit", exact=True).click()
    page.get_by_label("Amount").fill("5")
    with context(actor="user:77"):
        Account.objects.perform(account.pk, Account.withdraw, amount=Decimal("30.00"), reference="Rent")
    page.get_by_role("button", name="Deposit").click()
    expect(page.get_by_role("heading", name="It has changed meanwhile")).to_be_visible()
    row = page.locator(".es-trail tbody tr")
    expect(row).to_have_count(1)
    for text in ("bank.money_withdrawn", "user:77", "Rent", "70.00"):
        expect(row).to_contain_text(text)
    expect(page.get_by_label("Amount")).to_have_value("5")
    assert Account.objects.get(pk=account.pk).balance == Decimal("70.00")
    page.get_by_role("button", name="Deposit all the same, on version 3").click()
    expect(page.locator(".messagelist .success")).to_contain_text("Deposit: done, as version 4")
    assert Account.objects.get(pk=account.pk).balance == Decimal("75.00")
    assert unexpected(faults) == []
