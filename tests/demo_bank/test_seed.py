"""The seeded year: made by real commands, the same on every run, and there only once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from demo_bank import clock
from demo_bank.demo.seed import CLOSED, DAYS, LOST_CARD, UNDER_INQUIRY, Seeded, seed
from demo_bank.models import Account
from eventsourcing_app.log.clock import now
from eventsourcing_app.models import StoredEvent

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def past(settings: Settings) -> None:
    """Let the seeded year be recorded today."""
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "CLOCK": "demo_bank.clock.now"}


def test_the_year_is_full_of_life_lies_in_the_past_and_is_there_only_once() -> None:
    seeded = seed(actor="user:1")

    assert (seeded.fresh, seeded.accounts) == (True, 20)
    assert 1_800 < seeded.events < 2_200
    times = list(StoredEvent.objects.order_by("position").values_list("recorded_at", flat=True))
    assert times == sorted(times)
    today = datetime.now(UTC)
    assert timedelta(days=DAYS - 1) < today - times[0] < timedelta(days=DAYS + 2)
    assert timedelta(0) < today - times[-1] < timedelta(days=5)
    assert set(StoredEvent.objects.values_list("actor", flat=True)) == {"user:1"}
    assert Account.objects.get(number=CLOSED).status == "closed"
    assert Account.objects.get(number=UNDER_INQUIRY).status == "frozen"

    lost = datetime.now(UTC) - timedelta(days=DAYS - 121)
    account = Account.objects.get(number=LOST_CARD)
    assert Account.objects.at(account.pk, when=lost).status == "frozen"
    assert Account.objects.at(account.pk, when=lost + timedelta(days=5)).status == "open"

    again = seed(actor="user:1")
    assert (again.fresh, again.events) == (False, seeded.events)


def test_two_runs_on_one_day_give_the_same_bank() -> None:
    def bank() -> tuple[Seeded, list[object]]:
        with transaction.atomic():
            seeded = seed(actor="user:1")
            fields = ("number", "owner", "balance", "version", "changed_at")
            accounts: list[object] = list(Account.objects.values_list(*fields))
            transaction.set_rollback(True)
        return seeded, accounts

    (one, accounts), (other, same_accounts) = bank(), bank()

    assert accounts == same_accounts
    assert (one.events, one.refused) == (other.events, other.refused)


def test_without_the_demos_clock_nothing_is_seeded(settings: Settings) -> None:
    settings.EVENTSOURCING = {"DISPATCHER": "none"}

    with pytest.raises(ImproperlyConfigured, match="CLOCK"):
        seed(actor="user:1")


def test_the_clock_tells_the_real_time_outside_a_block() -> None:
    moment = datetime(2001, 2, 3, tzinfo=UTC)

    with clock.at(moment):
        assert now() == moment

    assert datetime.now(UTC) <= now() <= datetime.now(UTC)
