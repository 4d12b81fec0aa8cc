"""Receipts go when they are old enough, in batches, and never one that a subscriber may still need."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from eventsourcing_app import RecordedEvent, context, flow, subscriber
from eventsourcing_app.checks.settings import check_settings
from eventsourcing_app.exceptions import Permanent
from eventsourcing_app.models import StoredReceipt, Subscription
from eventsourcing_app.subscriptions.expiry import expire_receipts
from eventsourcing_app.subscriptions.operate import skip
from tests.reactions_sample.scene import deliver, failed, let_retry, parked, wallet
from tests.samples.events import WalletOpened
from tests.samples.factories import open_wallet
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from eventsourcing_app.subscriptions.registry import OnFailure

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_subscriptions")]

NAME = "t.bonus:es"  # a name may have what parts the parts of a key


def receipts(*days: float) -> list[str]:
    """Make one receipt of each age, and return their keys."""
    one = open_wallet("Eve")
    for age in days:
        Wallet.objects.once(f"{age}").perform(one.pk, Wallet.add, Decimal(1))
        StoredReceipt.objects.filter(key=f"{age}").update(recorded_at=timezone.now() - timedelta(days=age))
    return kept()


def kept() -> list[str]:
    return sorted(StoredReceipt.objects.values_list("key", flat=True))


def expire(*options: str) -> str:
    out = StringIO()
    call_command("expire_receipts", *options, stdout=out)
    return out.getvalue().strip()


def test_what_is_older_goes_and_what_is_younger_stays() -> None:
    receipts(29.9, 30.1, 31, 400)
    assert expire("--days", "30") == "3 receipts expired"
    assert kept() == ["29.9"]
    assert expire("--days", "30") == "0 receipts expired"


def test_the_setting_says_how_old() -> None:
    receipts(1, 3, 8)
    with override_settings(EVENTSOURCING={"RECEIPT_DAYS": 7}):
        assert expire() == "1 receipts expired"
        assert expire("--days", "2") == "1 receipts expired"
    assert kept() == ["1"]


def test_without_an_age_nothing_is_deleted() -> None:
    receipts(400)
    with pytest.raises(CommandError, match="kept for ever"):
        expire()
    for days in ("0", "-1"):
        with pytest.raises(CommandError, match="1 or more"):
            expire("--days", days)
    assert kept() == ["400"]


@pytest.mark.parametrize("days", [0, -1, "30", 1.5, True])
def test_a_setting_that_is_no_age_is_an_error(days: object) -> None:
    with override_settings(EVENTSOURCING={"RECEIPT_DAYS": days}):
        assert "eventsourcing_app.E023" in [found.id for found in check_settings()]
    with override_settings(EVENTSOURCING={"RECEIPT_DAYS": 30}):
        assert check_settings() == []


def test_they_go_in_batches_and_it_can_be_stopped_between_two() -> None:
    receipts(*range(40, 47))
    with CaptureQueriesContext(connection) as queries:
        assert expire_receipts(days=30, batch=3) == 7
    assert len([query for query in queries if query["sql"].startswith("DELETE")]) == 3
    receipts(*range(40, 47))
    stops = iter([False, False, True])
    assert expire_receipts(days=30, batch=2, stop=lambda: next(stops)) == 4
    assert kept() == ["40", "41", "42"]


def test_those_of_one_moment_are_not_passed_over() -> None:
    receipts(*range(40, 47))
    StoredReceipt.objects.update(recorded_at=datetime(2020, 1, 1, tzinfo=timezone.get_default_timezone()))
    assert expire_receipts(days=30, batch=3) == 7


def test_a_key_that_has_expired_acts_again() -> None:
    one = open_wallet()

    @flow("expiry.add")
    def add() -> None:
        Wallet.objects.perform(one.pk, Wallet.add, Decimal(1))

    add.once("k")()
    StoredReceipt.objects.update(recorded_at=timezone.now() - timedelta(days=31))
    expire("--days", "30")
    assert not add.once("k").receipt().replayed


@pytest.mark.parametrize("on_failure", ["park", "halt"])
def test_a_subscriber_keeps_the_receipts_of_an_event_that_it_has_parked_or_is_held_up_at(on_failure: OnFailure) -> None:
    gift = open_wallet("Eve")
    failing = [True]

    @subscriber(NAME, WalletOpened, on_failure=on_failure)
    def act(event: WalletOpened, recorded: RecordedEvent) -> None:
        if event.owner == "Ada":
            Wallet.objects.perform(gift.pk, Wallet.add, Decimal(1))
            if failing:
                raise ZeroDivisionError

    wallet(adds=0)
    assert len(deliver().errors) == 1
    receipts(50, 60)
    assert age_and_expire() == 2
    failing.clear()
    let_retry(NAME)
    assert deliver().errors == []
    assert Wallet.objects.get(pk=gift.pk).balance == 1
    assert age_and_expire() == 1
    assert kept() == []


def test_receipts_of_a_dead_event_stay_until_it_is_skipped() -> None:
    gift = open_wallet("Eve")

    @subscriber(NAME, WalletOpened)
    def act(event: WalletOpened, recorded: RecordedEvent) -> None:
        if event.owner == "Ada":
            Wallet.objects.perform(gift.pk, Wallet.add, Decimal(1))
            raise Permanent("no such shop")

    wallet(adds=0)
    deliver()
    assert failed(NAME).state == "dead"
    assert age_and_expire() == 0
    skip(NAME, failed(NAME).position, reason="it has moved")
    assert age_and_expire() == 1


def test_what_another_subscription_has_parked_keeps_no_receipt() -> None:
    gift = open_wallet("Eve")

    @subscriber(NAME, WalletOpened)
    def act(event: WalletOpened, recorded: RecordedEvent) -> None:
        if event.owner == "Ada":
            Wallet.objects.perform(gift.pk, Wallet.add, Decimal(1))

    @subscriber("t.other", WalletOpened)
    def fail(event: WalletOpened, recorded: RecordedEvent) -> None:
        raise ZeroDivisionError

    wallet(adds=0)
    deliver()
    assert len(parked("t.other")) == 2
    assert age_and_expire() == 1


def age_and_expire() -> int:
    StoredReceipt.objects.update(recorded_at=timezone.now() - timedelta(days=400))
    return expire_receipts(days=30, batch=1)


def test_what_only_looks_like_a_subscriber_expires_by_its_age() -> None:
    one = open_wallet()
    for actor, key in (
        (f"subscription:{NAME}", "bonus"),
        (f"subscription:{NAME}", f"{NAME}:no-event:1"),
        ("user:1", f"{NAME}:{one.history().get().event_id}:1"),
        (f"subscription:{NAME}", f"{NAME}:{one.history().get().event_id}:1"),
    ):
        with context(actor=actor):
            Wallet.objects.once(key).perform(one.pk, Wallet.add, Decimal(1))
    StoredReceipt.objects.update(recorded_at=timezone.now() - timedelta(days=400))
    assert not Subscription.objects.filter(name=NAME).exists()  # one that is no more needs nothing
    assert expire_receipts(days=30) == 4
