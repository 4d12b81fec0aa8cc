"""A projection is updated exactly once for each event: its effects and its checkpoint are one transaction."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from django.contrib.auth.models import Permission
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from eventsourcing_app import Projection, RecordedEvent, handles, publish, subscriber
from eventsourcing_app.exceptions import ReactionRefused
from eventsourcing_app.models import StoredEvent
from eventsourcing_app.subscriptions.registry import registry
from eventsourcing_app.subscriptions.worker import Worker
from tests.reactions_sample.scene import (
    NOTHING,
    Children,
    claimed,
    count_it,
    deliver,
    failed,
    let_retry,
    parked,
    position_of,
    segment,
    take_turn,
    total,
    until,
    wallet,
)
from tests.samples.events import MoneyAdded, RateChanged, WalletOpened
from tests.samples.models import Counter, OwnerTotal, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_subscriptions")]
committing = pytest.mark.django_db(transaction=True)

NAME = "t.totals"


def totals(*, fail_at: set[int], error: Exception | None = None) -> None:
    """Declare a projection that fails, after its write, on the versions that ``fail_at`` has at the time."""

    class Totals(Projection):
        name = NAME

        @handles(MoneyAdded)
        def add(self, event: MoneyAdded, recorded: RecordedEvent) -> None:
            count_it(event.reference, event.amount)
            if recorded.version in fail_at:
                raise error or ValueError("not now")


@committing
def test_each_event_is_counted_once_however_often_the_loop_runs() -> None:
    totals(fail_at=set())
    wallet(adds=3)
    assert deliver().handled == 3
    assert deliver().handled == 0
    wallet(adds=2)
    assert deliver().handled == 2
    assert total() == (5, Decimal(5))
    assert segment(NAME).checkpoint == StoredEvent.objects.latest("position").position


@committing
def test_a_batch_that_fails_halfway_leaves_neither_effects_nor_progress() -> None:
    totals(fail_at={4})
    wallet(adds=5)
    worker = Worker()
    take_turn(claimed(NAME, worker), worker)
    assert total() == NOTHING
    assert segment(NAME).checkpoint == 0
    assert segment(NAME).token is None
    assert parked(NAME) == []


@committing
def test_after_a_failure_all_but_its_stream_is_counted_and_then_the_rest_of_that() -> None:
    fail_at = {4}
    totals(fail_at=fail_at)
    opened = wallet(adds=5)
    wallet(adds=2)
    deliver()
    assert total() == (4, Decimal(4))
    assert [row.position for row in parked(NAME)] == [position_of(opened, version) for version in (4, 5, 6)]
    fail_at.clear()
    let_retry(NAME)
    deliver()
    assert total() == (7, Decimal(7))
    assert parked(NAME) == []


@committing
def test_a_worker_that_is_killed_before_its_commit_has_done_nothing(children: Children) -> None:
    opened = wallet(adds=5)
    reference = f"0 {opened.pk}"
    first = children.program("drain", REACTIONS_KILL="projection 4", REACTIONS_SUBSCRIBERS=0)
    assert first.wait(30) == -9
    left = segment("reactions.tally_0")
    assert left.checkpoint == 0
    assert left.token is not None
    assert total(reference) == NOTHING
    until(lambda: _drained(children) and total(reference) == (5, Decimal(5)), what="the lease is taken over")
    assert children.lines() == []
    assert segment("reactions.tally_0").checkpoint == StoredEvent.objects.latest("position").position
    assert parked("reactions.tally_0") == []


def _drained(children: Children) -> bool:
    return children.program("drain", REACTIONS_SUBSCRIBERS=0).wait(30) == 0


def _save(_recorded: RecordedEvent) -> None:
    wallet(adds=1)


def _perform(recorded: RecordedEvent) -> None:
    Wallet.objects.perform(recorded.stream_key, Wallet.add, Decimal(1))


def _perform_new(_recorded: RecordedEvent) -> None:
    Counter.objects.perform_new(Counter.begin)


def _once(recorded: RecordedEvent) -> None:
    Wallet.objects.once("k").perform(recorded.stream_key, Wallet.add, Decimal(1))


def _publish(_recorded: RecordedEvent) -> None:
    publish(RateChanged(currency="EUR", rate=Decimal(1)))


@pytest.mark.parametrize("append", [_save, _perform, _perform_new, _once, _publish])
@pytest.mark.parametrize("kind", ["projection", "transactional subscriber"])
def test_a_reaction_that_shares_the_checkpoints_transaction_cannot_append(
    append: Callable[[RecordedEvent], None], kind: str
) -> None:
    if kind == "projection":

        class Appending(Projection):
            name = NAME

            @handles(WalletOpened)
            def opened(self, event: WalletOpened, recorded: RecordedEvent) -> None:
                append(recorded)

    else:

        @subscriber(NAME, WalletOpened, transactional=True)
        def appending(event: WalletOpened, recorded: RecordedEvent) -> None:
            append(recorded)

    wallet(adds=1)
    before = StoredEvent.objects.count(), Wallet.objects.count(), Counter.objects.count()
    drained = deliver()
    assert [type(error) for error in drained.errors] == [ReactionRefused]
    assert (StoredEvent.objects.count(), Wallet.objects.count(), Counter.objects.count()) == before
    assert failed(NAME).position == position_of(Wallet.objects.get(), 1)
    assert failed(NAME).reason.startswith("ReactionRefused: ")


@committing
def test_a_transactional_subscriber_acts_exactly_once() -> None:
    fail_at = {3}

    @subscriber(NAME, MoneyAdded, transactional=True)
    def add(event: MoneyAdded, recorded: RecordedEvent) -> None:
        assert connection.in_atomic_block
        count_it(event.reference, event.amount)
        if recorded.version in fail_at:
            raise ValueError

    wallet(adds=3)
    deliver()
    assert total() == (1, Decimal(1))
    fail_at.clear()
    let_retry(NAME)
    deliver()
    assert total() == (3, Decimal(3))


def _refused_at_commit() -> None:
    # A foreign key of Django is checked at the end of the transaction.
    Permission.objects.create(content_type_id=10**6, codename="none", name="None")


def _error_kept_to_itself() -> None:
    OwnerTotal.objects.create(reference="twice")
    try:
        with transaction.atomic(savepoint=False):
            OwnerTotal.objects.create(reference="twice")
    except IntegrityError:
        pass


@committing
@pytest.mark.parametrize("spoil", [_refused_at_commit, _error_kept_to_itself])
def test_what_cannot_be_committed_stops_only_the_projection_that_wrote_it(spoil: Callable[[], None]) -> None:
    class Spoiling(Projection):
        name = "t.a_spoiling"

        @handles(MoneyAdded)
        def add(self, event: MoneyAdded, recorded: RecordedEvent) -> None:
            count_it("spoiled", event.amount)
            if recorded.version == 4:
                spoil()

    totals(fail_at=set())
    opened = wallet(adds=4)
    drained = deliver()
    assert [isinstance(error, DatabaseError) for error in drained.errors] == [True]
    assert total() == (4, Decimal(4))
    assert total("spoiled") == (2, Decimal(2))
    culprit = failed("t.a_spoiling")
    assert (culprit.position, culprit.attempts) == (position_of(opened, 4), 1)
    assert culprit.retry_at is not None
    assert [row.position for row in parked("t.a_spoiling")] == [position_of(opened, version) for version in (4, 5)]
    assert not Permission.objects.filter(codename="none").exists()


@committing
def test_an_error_after_the_commit_repeats_nothing() -> None:
    def fail() -> None:
        raise LookupError

    class Hooked(Projection):
        name = NAME

        @handles(MoneyAdded)
        def add(self, event: MoneyAdded, recorded: RecordedEvent) -> None:
            count_it(event.reference, event.amount)
            transaction.on_commit(fail)

    wallet(adds=3)
    deliver()
    deliver()
    assert total() == (3, Decimal(3))
    assert segment(NAME).retry_at is None


def test_handlers_are_inherited_and_a_class_without_a_name_is_only_a_base() -> None:
    class Base(Projection):
        @handles(MoneyAdded)
        def add(self, event: MoneyAdded, recorded: RecordedEvent) -> None:
            count_it(f"{type(self).__name__}", event.amount)

    class One(Base):
        name = "t.one"

    class Other(Base):
        name = "t.other"

        @handles(WalletOpened)
        def opened(self, event: WalletOpened, recorded: RecordedEvent) -> None:
            count_it(event.owner, Decimal(0))

    assert [definition.name for definition in registry.all()] == ["t.one", "t.other"]
    wallet(adds=2)
    deliver()
    assert (total("One")[0], total("Other")[0], total("Ada")[0]) == (2, 2, 1)


def test_two_projections_cannot_share_a_checkpoint_and_none_can_do_without_events() -> None:
    totals(fail_at=set())
    with pytest.raises(ImproperlyConfigured, match="two would move one"):

        class Totals(Projection):
            name = NAME

            @handles(MoneyAdded)
            def add(self, event: MoneyAdded, recorded: RecordedEvent) -> None: ...

    with pytest.raises(ImproperlyConfigured, match="no event"):

        class Deaf(Projection):
            name = "t.deaf"


def test_a_drain_costs_the_database_a_few_queries_a_batch_and_none_an_event() -> None:
    seen = []

    class Seeing(Projection):
        name = NAME

        @handles(MoneyAdded)
        def add(self, event: MoneyAdded, recorded: RecordedEvent) -> None:
            seen.append(recorded.version)

    wallet(adds=200)
    # However slow the machine is, a batch is one batch.
    with (
        mock.patch("eventsourcing_app.subscriptions.worker.TURN_SECONDS", 60),
        CaptureQueriesContext(connection) as asked,
    ):
        deliver()
    assert len(seen) == 200
    assert len(asked) <= 36
