"""An operator finds what is stuck, in a real browser, and retries, skips, pauses and resets it with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from eventsourcing_app.models import ParkedEvent, Subscription
from eventsourcing_app.subscriptions.drain import drain
from tests.api_operators import NAME, SECRET, acts, failing
from tests.browsing import check_accessible, check_fits, log_in, picture
from tests.reactions_sample.scene import wallet

if TYPE_CHECKING:
    from playwright.sync_api import Page

LIST = "/admin/eventsourcing_app/parkedevent/"


@pytest.fixture
def fails_at(own_subscriptions: None, server: str) -> set[int]:
    """The versions that the subscription fails on; two wallets stand parked with what waits behind."""
    Subscription.objects.all().delete()  # the demo's
    User.objects.create_superuser("operator", password="open-sesame")
    fail_at = {2}
    failing(fail_at, max_attempts=1, rate="50/s")
    failing({3}, name="t.halting", on_failure="halt", max_attempts=1)
    for _ in range(2):
        wallet(adds=2)
    drain()
    return fail_at


def test_an_operator_finds_out_why_events_are_parked_and_retries_them(
    page: Page, fails_at: set[int], faults: list[str]
) -> None:
    log_in(page, "operator")
    page.get_by_role("main").get_by_role("link", name="Parked events").click()
    groups = page.locator(".es-groups tbody tr")
    expect(groups).to_have_count(2)
    expect(groups.filter(has_text="ValueError")).to_contain_text("2 dead")
    check_accessible(page)
    check_fits(page)
    picture(page, "parked")

    groups.filter(has_text="ValueError").get_by_role("link", name="2", exact=True).click()
    rows = page.locator("#result_list tbody tr")
    expect(rows).to_have_count(2)
    rows.first.get_by_role("link", name="samples.money_added").click()
    expect(page.locator("pre.es-error")).to_contain_text(SECRET)
    expect(page.locator("#es-behind + table tbody tr")).to_have_count(1)
    check_accessible(page)
    picture(page, "parked-event")

    page.go_back()
    page.get_by_label("Action:").select_option("retry_chosen")
    rows.first.get_by_role("checkbox").check()
    page.get_by_role("button", name="Run").or_(page.get_by_role("button", name="Go")).click()
    expect(page.get_by_role("heading", name="1 event is chosen")).to_be_visible()
    check_accessible(page)
    picture(page, "parked-retry")
    page.get_by_label("Reason").fill("The stamps are here.")
    page.get_by_role("button", name="Retry 1 event").click()
    expect(page.get_by_text("1 event is tried again.")).to_be_visible()
    fails_at.clear()
    drain()
    assert ParkedEvent.objects.count() == 2

    page.goto(LIST)
    page.get_by_role("link", name="Skip all").first.click()
    picture(page, "parked-skip")
    page.get_by_label("Reason").press_sequentially("Nobody waits for it.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 event was skipped.")).to_be_visible()
    assert [what for what, _who, _why in acts()] == ["parked_events_retried", "event_skipped"]
    assert faults == []


def test_an_operator_steers_a_subscription(page: Page, fails_at: set[int], faults: list[str]) -> None:
    log_in(page, "operator")
    page.get_by_role("main").get_by_role("link", name="Subscriptions").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(2)
    check_accessible(page)
    check_fits(page)
    picture(page, "subscriptions")
    page.get_by_role("link", name="t.halting").click()
    expect(page.locator(".es-card.es-wrong")).to_contain_text("halted")
    check_accessible(page)
    picture(page, "subscription-halted")
    page.get_by_role("link", name="Skip the event").click()
    check_accessible(page)
    picture(page, "subscription-skip")
    page.get_by_label("Reason").fill("It was sent by hand.")
    page.get_by_role("button", name="Skip the event").click()
    expect(page.get_by_text("Skipped for t.halting")).to_be_visible()

    page.goto(f"/admin/eventsourcing_app/subscription/{NAME}/change/")
    page.get_by_role("link", name="Reset").click()
    page.get_by_label("a position: what comes after it").check()
    page.get_by_label("Position:", exact=True).fill("0")
    picture(page, "subscription-reset")
    check_accessible(page)
    page.get_by_label("Reason").fill("All letters were lost.")
    page.get_by_role("button", name="Reset").click()
    expect(page.get_by_text(f"Moved: {NAME}.")).to_be_visible()
    expect(page.locator("#es-last-acts + div tbody tr").first).to_contain_text("All letters were lost.")
    picture(page, "subscription")
    page.get_by_role("link", name="Set rate").click()
    page.get_by_label("Rate:").fill("fast")
    page.get_by_label("Reason").fill("r")
    page.get_by_role("button", name="Set rate").click()
    expect(page.get_by_text("Write 50/s, 100/m or 1000/h, above 0.")).to_be_visible()
    picture(page, "subscription-rate-refused")
    assert [each for each in faults if "422" not in each] == []


def test_an_operator_without_scripts_pauses_and_retries(
    plain_page: Page, fails_at: set[int], faults: list[str]
) -> None:
    page: Any = plain_page
    log_in(page, "operator")
    page.goto(f"/admin/eventsourcing_app/subscription/{NAME}/change/")
    page.get_by_role("link", name="Pause").click()
    page.get_by_label("Reason").fill("maintenance")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".es-cards")).to_contain_text("maintenance")
    page.goto(LIST)
    for box in page.locator("#result_list tbody input[type=checkbox]").all():
        box.check()
    page.get_by_label("Action:").select_option("skip_chosen")
    page.get_by_role("button", name="Run").or_(page.get_by_role("button", name="Go")).click()
    expect(page.get_by_text(f"{NAME} is not active")).to_be_visible()
    page.get_by_label("Reason").fill("They are too old.")
    page.get_by_role("button", name="Skip 4 events").click()
    expect(page.get_by_text("4 events were skipped.")).to_be_visible()
    assert not ParkedEvent.objects.exists()
    assert faults == []
