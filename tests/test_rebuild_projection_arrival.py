"""What a rebuild puts in place has arrived: it has all events behind it, and has failed on none, or nothing changes."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.db import transaction
from django.db.models.functions import Now
from django.test.utils import override_settings

from eventsourcing_app import RecordedEvent, unsubscribe
from eventsourcing_app.exceptions import OperationRefused, RebuildFailed
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent, Subscription
from eventsourcing_app.projections import rebuilding
from eventsourcing_app.projections.rebuilding import Wishes, cancel, rebuild, rebuild_in_place
from eventsourcing_app.projections.swapping import Swapped, swap_in
from eventsourcing_app.subscriptions import catch_up, operate, pause
from tests.reactions_sample.scene import (
    append_raw,
    count_it,
    deliver,
    in_own_connection,
    no_subscriptions,
    segment,
    total,
    wallet,
)
from tests.reactions_sample.totals import NAME, after_one, counting, totals
from tests.samples.models import OwnerTotal, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.samples.events import MoneyAdded

pytestmark = pytest.mark.django_db(transaction=True)

SHADOW = f"{NAME}~rebuild"


@pytest.fixture(autouse=True)
def own_subscriptions() -> Iterator[None]:
    with no_subscriptions(), override_settings(EVENTSOURCING={"DISPATCHER": "none"}):
        yield


def served(*, adds: int = 3, **attributes: Any) -> Wallet:
    """A wallet whose total the projection has counted, and which is wrong since."""
    counting(**attributes)
    opened = wallet(adds=adds)
    deliver()
    OwnerTotal.objects.update(events=99)
    return opened


def stop_it(status: str) -> None:
    Subscription.objects.filter(name=NAME).update(status=status, status_reason="x")


def before_the_swap(monkeypatch: pytest.MonkeyPatch, happen: Callable[[], object]) -> None:
    """Let something happen between the last batch and the swap."""

    def swap(target: rebuilding.Target, wishes: Wishes) -> Swapped:
        happen()
        return swap_in(target, wishes)

    monkeypatch.setattr(rebuilding, "swap_in", swap)


def failing(event: MoneyAdded, recorded: RecordedEvent) -> None:
    if recorded.version == 3:
        raise ValueError("no stamps left")
    count_it(recorded.stream_key, event.amount)


@pytest.mark.parametrize("status", ["paused", "halted", "unsubscribed"])
def test_in_place_it_is_filled_whatever_its_status_which_stays(status: str) -> None:
    opened = served()
    stop_it(status)
    rebuild_in_place(NAME, Wishes())
    assert total(str(opened.pk)) == (3, Decimal(3))
    row = Subscription.objects.get(name=NAME)
    # What halted it is gone.
    assert (row.status, row.status_reason) == (("active", "") if status == "halted" else (status, "x"))


def test_in_place_it_is_filled_whatever_its_pace_which_stays() -> None:
    opened = served(adds=5, rate="1/h")
    Subscription.objects.update(tokens=0)
    rebuild_in_place(NAME, Wishes())
    assert total(str(opened.pk)) == (5, Decimal(5))
    assert Subscription.objects.get(name=NAME).rate == "1/h"


def test_in_place_an_event_that_halts_it_leaves_all_as_it_was() -> None:
    opened = served(on_failure="halt")
    before = segment(NAME).checkpoint
    counting(add=failing, on_failure="halt")
    with pytest.raises(RebuildFailed, match="no stamps left"):
        rebuild_in_place(NAME, Wishes())
    assert total(str(opened.pk))[0] == 99
    assert segment(NAME).checkpoint == before
    assert Subscription.objects.get(name=NAME).status == "active"


def test_in_place_an_event_that_this_code_is_too_old_for_leaves_all_as_it_was() -> None:
    opened = served()
    append_raw("samples.money_added", {"amount": "1"}, schema_version=99)
    with pytest.raises(RebuildFailed, match="newer"):
        rebuild_in_place(NAME, Wishes())
    assert total(str(opened.pk))[0] == 99


def test_a_new_one_that_stands_still_is_not_put_in_place() -> None:
    opened = served()
    before = segment(NAME).checkpoint

    def stand_still(_progress: object) -> None:
        Subscription.objects.filter(name=SHADOW).update(status="paused")

    with pytest.raises(RebuildFailed, match="paused"):
        rebuild(NAME, Wishes(progress=stand_still))
    assert total(str(opened.pk))[0] == 99
    assert segment(NAME).checkpoint == before
    assert rebuild(NAME, Wishes()).swapped  # nobody else acts on it: it goes on
    assert total(str(opened.pk)) == (3, Decimal(3))


def test_a_new_one_that_stands_still_before_the_swap_is_not_put_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = served()

    def come_and_stand_still() -> None:
        Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1))
        Subscription.objects.filter(name=SHADOW).update(status="paused")

    before_the_swap(monkeypatch, come_and_stand_still)
    with pytest.raises(RebuildFailed, match="paused"):
        rebuild(NAME, Wishes())
    assert total(str(opened.pk))[0] == 99


def test_an_event_that_this_code_is_too_old_for_keeps_the_new_one_out() -> None:
    opened = served()
    append_raw("samples.money_added", {"amount": "1"}, schema_version=99)
    with pytest.raises(RebuildFailed, match="newer"):
        rebuild(NAME, Wishes(with_parked=True))
    assert total(str(opened.pk))[0] == 99


def test_one_that_fails_on_too_much_ends_and_says_so() -> None:
    served()
    for _ in range(3):
        wallet()
    counting(add=failing)
    with (
        override_settings(EVENTSOURCING={"DISPATCHER": "none", "MAX_PARKED_STREAMS": 2}),
        pytest.raises(RebuildFailed, match="MAX_PARKED_STREAMS"),
    ):
        rebuild(NAME, Wishes(with_parked=True))
    assert {events for events, _ in totals().values()} == {99}
    assert rebuild(NAME, Wishes(with_parked=True)).swapped


@pytest.mark.parametrize(
    "act",
    [
        lambda: pause(SHADOW, reason="x"),
        lambda: operate.resume(SHADOW, reason="x"),
        lambda: operate.retry(SHADOW, reason="x"),
        lambda: operate.skip(SHADOW, 1, reason="x"),
        lambda: operate.reset(SHADOW, "now", reason="x"),
        lambda: catch_up(SHADOW, reason="x"),
        lambda: operate.set_rate(SHADOW, "1/s", reason="x"),
    ],
)
def test_operators_leave_a_rebuild_alone(act: Callable[[], object]) -> None:
    served()
    assert not rebuild(NAME, Wishes(stop=after_one())).finished
    with pytest.raises(OperationRefused, match="is a rebuild that is under way"):
        act()


def test_an_event_that_fails_in_the_swap_keeps_the_new_one_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = served(adds=1)
    counting(add=failing)
    before_the_swap(monkeypatch, lambda: Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1)))
    with pytest.raises(RebuildFailed, match="no stamps left"):
        rebuild(NAME, Wishes())
    assert total(str(opened.pk))[0] == 99
    assert not ParkedEvent.objects.filter(segment__subscription=NAME).exists()


def test_an_event_that_fails_in_the_swap_is_told_if_it_is_wanted_so(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = served(adds=1)
    counting(add=failing)
    before_the_swap(monkeypatch, lambda: Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1)))
    result = rebuild(NAME, Wishes(with_parked=True))
    assert result.swapped
    assert len(result.parked) == 1
    assert ParkedEvent.objects.filter(segment__subscription=NAME).count() == 1


def test_code_that_the_live_one_is_not_given_to_does_not_rebuild_it() -> None:
    opened = served()
    row = Subscription.objects.get(name=NAME)
    Subscription.objects.update(types=[*row.types, "samples.of_newer_code"])
    with pytest.raises(RebuildFailed, match="run migrate, or use the newer code"):
        rebuild(NAME, Wishes())
    with pytest.raises(RebuildFailed, match="run migrate, or use the newer code"):
        rebuild_in_place(NAME, Wishes())
    assert total(str(opened.pk))[0] == 99


def test_one_that_has_no_checkpoint_any_more_is_neither_rebuilt_nor_reset() -> None:
    opened = served()
    unsubscribe(NAME, keep_checkpoint=False, reason="x")
    with pytest.raises(RebuildFailed, match="subscribe it again"):
        rebuild(NAME, Wishes())
    with pytest.raises(RebuildFailed, match="subscribe it again"):
        rebuild_in_place(NAME, Wishes())
    with pytest.raises(OperationRefused, match="subscribe it again"):
        operate.reset(NAME, "now", reason="x")
    assert total(str(opened.pk))[0] == 99
    assert not StoredEvent.objects.filter(type="eventsourcing.subscription_reset").exists()


def test_one_that_loses_its_checkpoint_meanwhile_is_not_put_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = served()
    before_the_swap(monkeypatch, lambda: unsubscribe(NAME, keep_checkpoint=False, reason="x"))
    with pytest.raises(RebuildFailed, match="subscribe it again"):
        rebuild(NAME, Wishes())
    assert total(str(opened.pk))[0] == 99
    assert cancel(NAME)  # which asks for no checkpoint


@pytest.mark.parametrize("status", ["paused", "halted"])
def test_one_that_stands_still_is_compared_as_of_the_same_event_and_goes_on_standing_still(status: str) -> None:
    counting()
    opened = wallet()
    deliver()
    stop_it(status)
    Segment.objects.update(retry_at=Now() + timedelta(hours=1))
    before = segment(NAME).checkpoint
    Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1))
    assert rebuild(NAME, Wishes(only_compare=True)).differing == 0
    assert total(str(opened.pk)) == (3, Decimal(3))
    assert segment(NAME).checkpoint == before
    assert Subscription.objects.get(name=NAME).status == status


def test_what_fails_only_while_it_is_compared_is_not_parked(monkeypatch: pytest.MonkeyPatch) -> None:
    counting()
    opened = wallet()
    deliver()
    Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1))

    def failing_where_it_serves(event: MoneyAdded, recorded: RecordedEvent) -> None:
        if OwnerTotal.objects.filter(events=99).exists():
            raise ValueError("no stamps left")
        count_it(recorded.stream_key, event.amount)

    OwnerTotal.objects.update(events=99)
    counting(add=failing_where_it_serves)
    assert rebuild(NAME, Wishes(only_compare=True)).differing == 2
    assert not ParkedEvent.objects.exists()


@pytest.mark.needs_postgres
def test_an_append_that_stays_open_does_not_keep_it_from_being_put_in_place() -> None:
    """However many positions it has drawn: they are not settled, and the live one has not got them either."""
    opened = served()
    appended, done = threading.Event(), threading.Event()

    def append_and_wait() -> None:
        with transaction.atomic():
            wallet(adds=300)
            appended.set()
            done.wait(30)

    writer = threading.Thread(target=in_own_connection(append_and_wait))
    writer.start()
    try:
        assert appended.wait(30)
        end = time.monotonic() + 10
        assert rebuild(NAME, Wishes(stop=lambda: time.monotonic() > end)).swapped
    finally:
        done.set()
        writer.join()
    assert total(str(opened.pk)) == (3, Decimal(3))
    deliver()
    assert sum(events for events, _ in totals().values()) == 303
