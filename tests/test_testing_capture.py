"""Captured is what the block appends, all of it, in order, and nothing else: nobody else's, and nothing taken back."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import IntegrityError, transaction
from django.test import TestCase

from eventsourcing_app import publish
from eventsourcing_app.log.append import COPY_FROM
from eventsourcing_app.log.watch import watchers
from eventsourcing_app.testing import CapturedEvents, CapturedEventsMixin, OldEvent, capture_events, stored_history
from tests.conftest import ROOT
from tests.samples.events import MoneyAdded, RateChanged, WalletOpened
from tests.samples.factories import SEVERAL, add, begin_counter, elsewhere, failing, open_wallet, run_sql
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Callable

FACT = RateChanged(currency="EUR", rate=Decimal("1.10"))


class TakenBack(Exception):
    """Ends a transaction."""


def owners(captured: CapturedEvents[Any]) -> list[str]:
    return [event.owner for event in captured.events if isinstance(event, WalletOpened)]


@pytest.mark.django_db
def test_events_are_captured_in_order_without_a_commit() -> None:
    open_wallet("Before")
    with capture_events() as captured:
        wallet = open_wallet("Ada", 5)
        publish(FACT, key="EUR")
        Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(7))
    open_wallet("After")
    five, seven = MoneyAdded(amount=Decimal(5)), MoneyAdded(amount=Decimal(7))
    assert captured.events == [WalletOpened(owner="Ada"), five, FACT, seven]
    assert [recorded.version for recorded in captured] == [1, 2, None, 3]
    assert (len(captured), captured[0].stream_key, len(captured[1:])) == (4, str(wallet.pk), 3)
    assert repr(captured).startswith("<CapturedEvents: samples.wallet_opened, samples.money_added")


@pytest.mark.django_db(transaction=True)
def test_events_are_captured_with_commits() -> None:
    with capture_events() as captured:
        open_wallet("Ada")
        with transaction.atomic():
            open_wallet("Grace")
    assert owners(captured) == ["Ada", "Grace"]


@pytest.mark.django_db
@pytest.mark.parametrize("several", SEVERAL)
def test_every_event_of_a_save_is_captured(several: int) -> None:
    wallet = open_wallet()
    with capture_events() as captured:
        add(wallet, several).save()
    assert [recorded.version for recorded in captured] == list(range(2, several + 2))
    assert COPY_FROM in SEVERAL


@pytest.mark.django_db
def test_classes_choose_and_their_older_names_are_theirs() -> None:
    with capture_events(MoneyAdded, RateChanged) as captured, capture_events(MoneyAdded) as money:
        open_wallet("Ada", 5)
        publish(FACT)
    assert captured.events == [MoneyAdded(amount=Decimal(5)), FACT]
    with capture_events(MoneyAdded) as older:
        put_in = OldEvent(MoneyAdded, version=1, data={"amount": "5"}, name="samples.money_put_in")
        stored_history(Wallet, WalletOpened(owner="Ada"), put_in)
    assert [recorded.type for recorded in older] == ["samples.money_put_in"]
    amounts: list[Decimal] = [event.amount for event in money.events]
    assert amounts == [Decimal(5)]
    with pytest.raises(TypeError, match="not a declared event"):
        capture_events(Wallet)


@pytest.mark.django_db
def test_those_of_one_model_or_one_aggregate_can_be_asked_for() -> None:
    with capture_events() as captured:
        ada, _grace = open_wallet("Ada", 1), open_wallet("Grace")
        begin_counter()
    assert owners(captured.of(Wallet)) == ["Ada", "Grace"]
    assert owners(captured.of(ada)) == ["Ada"]
    assert (len(captured), len(captured.of(Wallet)), len(captured.of(ada))) == (4, 3, 2)


@pytest.mark.django_db
def test_what_a_savepoint_took_back_is_not_among_them() -> None:
    with capture_events() as captured:
        open_wallet("Ada")
        with failing(TakenBack), transaction.atomic():
            open_wallet("Eve")
            raise TakenBack
        open_wallet("Grace")  # on SQLite it gets the position that was given up
    assert owners(captured) == ["Ada", "Grace"]


@pytest.mark.django_db(transaction=True)
def test_what_a_transaction_took_back_is_not_among_them() -> None:
    with capture_events() as captured, failing(TakenBack), transaction.atomic():
        open_wallet("Eve")
        raise TakenBack
    elsewhere(lambda: open_wallet("Somebody else"))  # on SQLite it gets the position that was given up
    assert list(captured) == []


@pytest.mark.django_db(transaction=True)
def test_a_position_given_up_is_not_taken_for_ours() -> None:
    with capture_events() as captured:
        with failing(TakenBack), transaction.atomic():
            open_wallet("Eve")
            raise TakenBack
        elsewhere(lambda: open_wallet("Somebody else"))
        open_wallet("Ada")
    assert owners(captured) == ["Ada"]


@pytest.mark.django_db(transaction=True)
def test_what_others_append_is_not_among_them() -> None:
    with capture_events() as captured:
        open_wallet("Ada")
        elsewhere(lambda: open_wallet("Somebody else"))
        open_wallet("Grace")
    assert owners(captured) == ["Ada", "Grace"]


@pytest.mark.django_db
def test_what_async_code_appends_is_among_them() -> None:
    async def act() -> None:
        await sync_to_async(open_wallet)("Ada")

    with capture_events() as captured:
        async_to_sync(act)()
    assert owners(captured) == ["Ada"]


@pytest.mark.django_db
def test_blocks_may_be_nested() -> None:
    with capture_events() as outer:
        open_wallet("Ada")
        with capture_events() as inner:
            open_wallet("Grace")
        open_wallet("Linus")
    assert owners(outer) == ["Ada", "Grace", "Linus"]
    assert owners(inner) == ["Grace"]
    assert watchers.get() == ()


@pytest.mark.django_db
def test_inside_the_block_those_so_far_are_told_and_afterwards_they_stay() -> None:
    with transaction.atomic():
        with capture_events() as captured:
            assert list(captured) == []
            open_wallet("Ada")
            assert owners(captured) == ["Ada"]
            open_wallet("Grace")
        transaction.set_rollback(True)
    assert owners(captured) == ["Ada", "Grace"]


@pytest.mark.django_db
def test_a_block_that_fails_tells_what_still_stands() -> None:
    with failing(TakenBack), capture_events() as captured:
        open_wallet("Ada")
        raise TakenBack
    assert owners(captured) == ["Ada"]
    assert watchers.get() == ()


@pytest.mark.django_db
def test_a_block_that_breaks_its_transaction_keeps_its_error_and_captures_nothing() -> None:
    with failing(IntegrityError), transaction.atomic(), capture_events() as captured:
        open_wallet("Ada")
        open_wallet("Eve", 2_000_000)
    assert list(captured) == []


@pytest.mark.django_db
def test_histories_that_are_stored_are_captured_like_all_else() -> None:
    with capture_events() as captured:
        stored_history(Wallet, WalletOpened(owner="Ada"))
    assert owners(captured) == ["Ada"]


@pytest.mark.django_db
def test_nobody_looks_on_outside_a_block(django_assert_num_queries: Callable[[int], Any]) -> None:
    wallet = open_wallet()
    assert watchers.get() == ()
    with capture_events() as captured, django_assert_num_queries(0):
        list(captured)
    wallet.add(Decimal(1))
    wallet.save()
    assert list(captured) == []


# Without a block


def test_the_fixture_captures_the_whole_test(captured_events: CapturedEvents[object]) -> None:
    assert list(captured_events) == []
    open_wallet("Ada")
    assert owners(captured_events) == ["Ada"]


@pytest.mark.django_db(transaction=True)
def test_the_fixture_captures_with_commits(captured_events: CapturedEvents[object]) -> None:
    with transaction.atomic():
        open_wallet("Ada")
    assert owners(captured_events) == ["Ada"]


def test_the_fixture_is_no_trouble_to_a_test_that_breaks_its_transaction(
    captured_events: CapturedEvents[object],
) -> None:
    open_wallet("Ada")
    with pytest.raises(IntegrityError):
        run_sql("UPDATE samples_wallet SET balance = 2000000")
    transaction.set_rollback(True)


def test_nobody_looks_on_after_the_fixture() -> None:
    assert watchers.get() == ()


class WithTheMixin(CapturedEventsMixin, TestCase):
    """Each test has what it has appended itself."""

    def setUp(self) -> None:
        open_wallet("Grace")

    def test_one(self) -> None:
        open_wallet("Ada")
        assert owners(self.captured_events) == ["Grace", "Ada"]

    def test_another(self) -> None:
        assert owners(self.captured_events) == ["Grace"]
        assert len(watchers.get()) == 1


def test_the_words_of_the_kit_wait_until_they_are_used() -> None:
    """pytest imports the package for its plugin, before Django has settings."""
    code = (
        "import sys; from eventsourcing_app import testing; import eventsourcing_app.testing.plugin\n"
        "from django.apps import apps; assert not apps.ready\n"
        "assert 'eventsourcing_app.log.records' not in sys.modules\n"
        "import os, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings'; django.setup()\n"
        "assert all(callable(getattr(testing, word)) for word in testing.__all__)\n"
        "assert testing.__all__ == sorted(testing.__all__, key=lambda word: (word[0].islower(), word))\n"
        "print(*testing.__all__)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [
        "AppendOnlyTestMixin",
        "CapturedEvents",
        "CapturedEventsMixin",
        "OldEvent",
        "Scenario",
        "append_only_lifted",
        "assert_upcasts",
        "capture_events",
        "drain",
        "flush_allowed",
        "given",
        "stored_facts",
        "stored_history",
    ]
