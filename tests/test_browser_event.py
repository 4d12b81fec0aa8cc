"""In a real browser: from an event to what it changed, what it caused, what became of it, and what operators did."""

from __future__ import annotations

from decimal import Decimal
from smtplib import SMTPServerDisconnected
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.core.mail import EmailMessage
from playwright.sync_api import expect

from demo_bank.models import Account
from demo_bank.payments import pay
from demo_bank.reactions import AUDIT, NOTIFICATIONS
from demo_bank.transfers import transfer
from eventsourcing_app import context
from eventsourcing_app.models import StoredEvent
from eventsourcing_app.subscriptions import pause, reset
from eventsourcing_app.subscriptions.drain import drain
from tests.browsing import check_accessible, log_in, picture

if TYPE_CHECKING:
    from playwright.sync_api import Page


def no_mail(_self: EmailMessage, *_args: object, **_kwargs: object) -> int:
    raise SMTPServerDisconnected("The mail server is away.")


@pytest.fixture
def paid(server: str, monkeypatch: pytest.MonkeyPatch) -> StoredEvent:
    """A payment, made in one request with a transfer; the merchant cannot be told of it, and operators were busy."""
    monkeypatch.setattr(EmailMessage, "send", no_mail)
    user = User.objects.create_superuser("auditor", password="open-sesame", first_name="Ada", last_name="Byron")
    with context(actor=f"user:{user.pk}", correlation_id="request-1815", channel="branch"):
        ada, bob = (
            Account.objects.perform_new(Account.open, owner=owner, number=number, currency="EUR").pk
            for owner, number in (("Ada", "DE01"), ("Bob", "DE02"))
        )
        deposit = Account.objects.perform(ada, Account.deposit, amount=Decimal("12500.50"), reference="Salary")
        cause = StoredEvent.objects.get(position=deposit.position)
        with context(causation_id=cause.event_id):
            transfer(ada, bob, Decimal(200), reference="Rent")
            pay(ada, "Books & Co", Decimal("33.40"), "order-7")
    drain()
    with context(actor=f"user:{user.pk}"):
        pause(AUDIT, reason="The auditors are away.")
        reset(AUDIT, 0, reason="They lost their book, and read all of it again.")
    return StoredEvent.objects.get(type="payments.payment_succeeded")


def test_an_auditor_follows_an_event_to_what_came_of_it(page: Page, paid: StoredEvent, faults: list[str]) -> None:
    log_in(page, "auditor")
    page.get_by_role("main").get_by_role("link", name="Stored events").click()
    page.locator("#result_list tr", has_text="bank.transfer_sent").get_by_role("link").first.click()
    expect(page.locator(".es-payload")).to_contain_text("200.00\u00a0EUR")
    expect(page.locator(".es-facts").first).to_contain_text("Ada Byron")
    changed = page.get_by_role("row", name="Balance changed")
    expect(changed.locator("del")).to_contain_text("12,500.50\u00a0EUR")
    expect(changed.locator("ins")).to_contain_text("12,300.50\u00a0EUR")
    page.get_by_text("Data", exact=True).click()
    expect(page.locator("#es-data-json pre")).to_contain_text('"amount": "200.00"')
    expect(page.get_by_role("button", name="Copy").first).to_be_visible()
    picture(page, "event")
    check_accessible(page)

    page.get_by_role("link", name="Same correlation").click()
    tree = page.locator(".es-tree")
    expect(tree.locator("> li")).to_have_count(3)
    expect(tree.locator("> li > ol > li")).to_have_count(4)
    expect(tree).to_contain_text("after its cause")
    picture(page, "correlation")
    check_accessible(page)

    tree.get_by_role("link", name="payments.payment_succeeded").first.click()
    parked = page.get_by_role("row", name=NOTIFICATIONS)
    expect(parked).to_contain_text("parked")
    expect(parked).to_contain_text("The mail server is away.")
    expect(page.get_by_role("row", name=AUDIT)).to_contain_text("not reached yet")
    picture(page, "event-parked")
    check_accessible(page)
    assert faults == []


def test_without_scripts_the_operator_log_tells_who_did_what_and_why(
    plain_page: Page, paid: StoredEvent, faults: list[str]
) -> None:
    page = plain_page
    log_in(page, "auditor")
    page.goto("/admin/eventsourcing_app/storedevent/operators/")
    rows = page.locator(".es-log tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("They lost their book")
    picture(page, "operators")
    page.get_by_label("What was done").select_option("paused")
    page.get_by_role("button", name="Filter").click()
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("The auditors are away.")
    expect(rows.first).to_contain_text("Ada Byron")
    rows.first.get_by_role("rowheader").get_by_role("link").click()
    expect(page.locator(".es-payload")).to_contain_text("The auditors are away.")
    page.goto(f"/admin/eventsourcing_app/storedevent/{paid.position}/change/")
    page.get_by_text("Data", exact=True).click()
    expect(page.locator("#es-data-json pre")).to_be_visible()
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    assert faults == []


def test_the_operator_log_is_accessible(page: Page, paid: StoredEvent, faults: list[str]) -> None:
    log_in(page, "auditor")
    page.goto(f"/admin/eventsourcing_app/storedevent/operators/?subscription={AUDIT}")
    check_accessible(page)
    assert faults == []
