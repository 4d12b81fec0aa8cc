"""The overview and the list of events in a real browser: found by period, exported, and followed while one reads."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import expect

from demo_bank.models import Account
from eventsourcing_app import context
from eventsourcing_app.admin import StoredEventAdmin
from eventsourcing_app.models import ParkedEvent, Segment, Subscription
from tests.browsing import check_accessible, log_in, picture

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

TAIL = re.compile(r"/tail/\?")
EVENTS = "/admin/eventsourcing_app/storedevent/"


@pytest.fixture
def account(server: str) -> Account:
    user = User.objects.create_superuser("auditor", password="open-sesame")
    with context(actor=f"user:{user.pk}", channel="branch"):
        receipt = Account.objects.perform_new(Account.open, owner="Ada Lovelace", number="DE01", currency="EUR")
        for number in range(1, 7):
            Account.objects.perform(receipt.pk, Account.deposit, amount=Decimal(100 * number), reference="Salary")
    return Account.objects.get(pk=receipt.pk)


def deposit(account: Account, reference: str) -> None:
    Account.objects.perform(account.pk, Account.deposit, amount=Decimal(1), reference=reference)


def test_an_operator_sees_what_is_wrong_and_an_auditor_finds_and_exports(
    page: Page, account: Account, faults: list[str]
) -> None:
    row = Subscription.objects.create(name="bank.stuck", kind="subscriber", status="halted")
    segment = Segment.objects.create(subscription=row, checkpoint=1, parked=1)
    ParkedEvent.objects.create(
        segment=segment, position=2, event_id=account.pk, type="bank.money_deposited", stream_type="bank.account",
        stream_key=str(account.pk), sequence="s", state="dead", first_failed_at=timezone.now(),
    )  # fmt: skip
    log_in(page, "auditor")
    page.goto("/admin/eventsourcing_app/")
    expect(page.get_by_text("Halted: bank.stuck.")).to_be_visible()
    check_accessible(page)
    picture(page, "overview")
    page.get_by_role("listitem").filter(has_text="In the last hour").get_by_role("link", name="7").click()

    rows = page.locator("#result_list tbody tr")
    expect(rows).to_have_count(7)
    page.get_by_role("link", name="bank.money_deposited").first.click()
    expect(rows).to_have_count(6)
    expect(rows.first).to_contain_text("amount: 600.00 · currency: EUR · reference: Salary")
    check_accessible(page)
    picture(page, "events-filtered")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as NDJSON").click()
    lines = Path(download.value.path()).read_text("utf-8").splitlines()
    assert [json.loads(line)["data"]["amount"] for line in lines] == [f"{100 * n}.00" for n in range(1, 7)]

    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("heading", name="What is wrong")).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 844})
    for address in ("/admin/eventsourcing_app/", EVENTS, f"{EVENTS}?live=1"):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
    assert faults == []


def test_new_events_come_by_themselves_and_wait_while_one_reads(
    page: Page, account: Account, faults: list[str]
) -> None:
    log_in(page, "auditor")
    page.goto(EVENTS)
    # As if nothing had been settled when the list was read: it has shown all that is told first.
    page.route(TAIL, lambda route: route.continue_(url=re.sub(r"after=\d+", "after=0", route.request.url)), times=1)
    with page.expect_response(TAIL):
        page.get_by_role("link", name="Live", exact=True).click()
    rows, show = page.locator("#result_list tbody tr"), page.locator("#es-live-show")
    expect(rows).to_have_count(7)

    page.mouse.move(0, 0)
    deposit(account, "at once")
    expect(rows.first).to_contain_text("at once", timeout=10_000)

    rows.nth(1).hover()
    deposit(account, "waits")
    expect(show).to_have_text("Show new events: 1", timeout=10_000)
    expect(rows).to_have_count(8)
    check_accessible(page)
    rows.nth(1).hover()
    picture(page, "events-live")
    page.mouse.move(0, 0)
    expect(rows.first).to_contain_text("waits")

    page.get_by_role("button", name="Pause").click()
    deposit(account, "while paused")
    expect(show).to_have_text("Show new events: 1", timeout=10_000)
    show.focus()
    page.keyboard.press("Enter")
    expect(rows.first).to_contain_text("while paused")
    expect(rows).to_have_count(10)
    positions = [int(text) for text in rows.locator(".field-position").all_inner_texts()]
    assert positions == sorted(set(positions), reverse=True)

    page.context.clear_cookies()
    expect(page.get_by_text("Your session has ended")).to_be_visible(timeout=10_000)
    assert faults == []


def test_they_wait_for_focus_and_selection_a_hidden_page_asks_nothing_and_failures_are_asked_again_ever_later(
    page: Page, account: Account, faults: list[str]
) -> None:
    log_in(page, "auditor")
    page.clock.install(time=datetime(2026, 1, 1, tzinfo=UTC))
    page.goto(f"{EVENTS}?live=1")
    page.clock.pause_at(datetime(2026, 1, 1, 0, 1, tzinfo=UTC))  # from here on it is this test that lets time go by
    page.mouse.move(0, 0)
    rows, status = page.locator("#result_list tbody tr"), page.locator("#es-live-status")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if TAIL.search(request.url) else None)

    def answered(milliseconds: int) -> str:
        """What the page says once the question is answered that it asks within this time."""
        status.evaluate("status => { status.textContent = '' }")
        page.clock.run_for(milliseconds)
        expect(status).not_to_have_text("")
        return status.inner_text()

    def wait_for(reference: str) -> None:
        deposit(account, reference)
        assert "New events wait while you read." in (answered(2_000), answered(2_000))  # one may have been on its way
        expect(rows.first).not_to_contain_text(reference)

    rows.nth(1).get_by_role("link").first.focus()
    wait_for("while in focus")
    page.get_by_role("button", name="Pause").focus()
    page.clock.run_for(1)
    expect(rows.first).to_contain_text("while in focus")

    page.evaluate("getSelection().selectAllChildren(document.querySelector('#result_list tbody tr'))")
    wait_for("while selected")
    page.evaluate("getSelection().removeAllRanges()")
    assert answered(2_000) == "New events shown: 1"
    expect(rows.first).to_contain_text("while selected")

    hide = "(is) => {Object.defineProperty(document, 'hidden', {value: is, configurable: true});"
    hide += "document.dispatchEvent(new Event('visibilitychange'))}"
    page.evaluate(hide, True)
    before = len(asked)
    page.clock.run_for(60_000)
    assert len(asked) == before
    page.evaluate(hide, False)
    answered(1)
    assert len(asked) == before + 1

    page.route(TAIL, lambda route: route.fulfill(status=503, body="{}"))
    for wait in (2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000):
        before = len(asked)
        page.clock.run_for(wait - 10)
        assert len(asked) == before, wait
        assert answered(20) == "The server does not answer. Trying again."
    page.unroute(TAIL)
    assert answered(60_000) == "Live: new events appear on top."
    assert [fault for fault in faults if "503" not in fault] == []


def test_what_the_tail_leaves_out_is_said_across_the_columns_that_there_are(
    page: Page, account: Account, faults: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoredEventAdmin, "list_display", ("position", "recorded", "wire_name"))
    log_in(page, "auditor")

    def leave_out(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"skipped": True})

    page.route(TAIL, leave_out)
    page.goto(f"{EVENTS}?live=1")
    page.mouse.move(0, 0)
    deposit(account, "after many")
    expect(page.locator("tr.es-left-out td")).to_have_attribute("colspan", "3", timeout=10_000)
    expect(page.locator("#result_list thead th")).to_have_count(3)
    assert faults == []


def test_without_scripts_the_list_is_filtered_by_a_form_and_loads_itself_again(
    plain_page: Page, account: Account, faults: list[str]
) -> None:
    page = plain_page
    log_in(page, "auditor")
    page.goto(EVENTS)
    page.get_by_label("Until, not included (UTC)").fill("2020-01-01T00:00")
    page.get_by_role("button", name="Apply").first.click()
    expect(page.get_by_text("No events here.")).to_be_visible()
    page.get_by_role("link", name="Last hour").click()
    page.get_by_text("By stream key").click()
    page.get_by_label("Exactly this stream key").fill(str(account.pk))
    page.get_by_label("Exactly this stream key").press("Enter")
    rows = page.locator("#result_list tbody tr")
    expect(rows).to_have_count(7)
    page.get_by_role("link", name="Live", exact=True).click()
    deposit(account, "later")
    page.get_by_role("link", name="Refresh").click()
    expect(rows).to_have_count(8)
    assert page.locator('meta[http-equiv="refresh"]').count() == 1
    page.goto("/admin/eventsourcing_app/")
    expect(page.get_by_role("img", name="Last hour: 8.")).to_be_visible()
    assert faults == []
