"""Whatever goes wrong around an append, what is told and what is stored agree: all of it, or nothing."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, SupportsIndex

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, connections, transaction
from django.test.utils import override_settings

from eventsourcing_app import publish
from eventsourcing_app.exceptions import ConcurrencyError, LogUnsafe, SpentInstance
from eventsourcing_app.models import StoredEvent
from eventsourcing_app.signals import events_appended
from eventsourcing_app.testing import flush_allowed
from tests.samples.events import RateChanged
from tests.samples.factories import (
    LOG,
    SEVERAL,
    WAIT,
    add,
    beside,
    drifts,
    list_book,
    open_wallet,
    run_sql,
    types,
)
from tests.samples.models import Counter, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)

# An error of the database that a caller keeps to itself


def _breaks_a_constraint(times: int = 1) -> None:
    too_rich = add(Wallet.objects.get(owner="Eve"), times)
    too_rich.add(Decimal(1_000_000))
    too_rich.save()


def _breaks_a_constraint_in_a_batch() -> None:
    _breaks_a_constraint(max(SEVERAL))


def _takes_a_key() -> None:
    list_book("1")


def _takes_a_drawn_key() -> None:
    again = Counter(number=1)
    again.begin()
    again.save()


@pytest.mark.parametrize(
    "fail", [_breaks_a_constraint, _breaks_a_constraint_in_a_batch, _takes_a_key, _takes_a_drawn_key]
)
@committing
def test_after_a_swallowed_error_of_the_database_nothing_of_its_transaction_is_told_or_stored(
    fail: Callable[[], None],
) -> None:
    opened, _ = open_wallet("Ada"), open_wallet("Eve")
    list_book("1")
    first = Counter(number=1)
    first.begin()
    first.save()
    before, told = types(), []

    def hear(position: int, **_signal: Any) -> None:
        told.append(position)

    events_appended.connect(hear)
    try:
        with transaction.atomic():
            add(opened).save()
            transaction.on_commit(lambda: told.append(0))
            with suppress(DatabaseError):
                fail()
    finally:
        events_appended.disconnect(hear)
    assert told == []
    assert types() == before
    with pytest.raises(SpentInstance):
        add(opened)
    Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1))
    assert drifts() == []


# A log that does not take what it is given


@contextmanager
def discarding(*, only: str = "") -> Iterator[None]:
    """A trigger of somebody else that drops new rows of the log, or only those of one type."""
    if connection.vendor == "postgresql":
        when = f"WHEN (NEW.type = '{only}')" if only else ""
        run_sql("CREATE FUNCTION discard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
        run_sql(f"CREATE TRIGGER discard BEFORE INSERT ON {LOG} FOR EACH ROW {when} EXECUTE FUNCTION discard()")
    else:
        when = f"WHEN NEW.type = '{only}'" if only else ""
        run_sql(f"CREATE TRIGGER discard BEFORE INSERT ON {LOG} {when} BEGIN SELECT RAISE(IGNORE); END")
    try:
        yield
    finally:
        run_sql(f"DROP TRIGGER discard {f'ON {LOG}' if connection.vendor == 'postgresql' else ''}")
        if connection.vendor == "postgresql":
            run_sql("DROP FUNCTION discard()")


def _save_one() -> None:
    add(Wallet.objects.get(owner="Ada")).save()


def _save_a_batch() -> None:
    add(Wallet.objects.get(owner="Ada"), max(SEVERAL)).save()


def _save_two() -> None:
    Wallet.objects.save_all([add(wallet) for wallet in Wallet.objects.all()])


def _create() -> None:
    open_wallet("Bob", 1)


def _create_with_a_drawn_key() -> None:
    Counter.objects.perform_new(Counter.begin)


def _publish() -> None:
    publish(RateChanged(currency="EUR", rate=Decimal(1)))


WRITES = [_save_one, _save_a_batch, _save_two, _create, _create_with_a_drawn_key, _publish]


@committing
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("swallowed", [None, False, True], ids=["autocommit", "atomic", "swallowed"])
def test_where_the_log_discards_events_the_state_stays_as_well(
    write: Callable[[], None], swallowed: bool | None
) -> None:
    open_wallet("Ada")
    open_wallet("Eve")
    with discarding():
        if swallowed:
            with transaction.atomic(), suppress(LogUnsafe):
                write()
        else:
            with (
                pytest.raises(LogUnsafe, match="did not take every event"),
                nullcontext() if swallowed is None else transaction.atomic(),
            ):
                write()
    assert types() == ["wallet_opened"] * 2
    assert [wallet.version for wallet in Wallet.objects.all()] == [1, 1]
    assert not Counter.objects.exists()


@committing
def test_where_the_log_discards_some_of_the_events_none_is_stored() -> None:
    with discarding(only="samples.money_added"), pytest.raises(LogUnsafe, match="did not take every event"):
        open_wallet("Ada", 1)
    assert types() == []
    assert not Wallet.objects.exists()


# Races


def _by_save(first: Wallet, second: Wallet, meet: Callable[[], object]) -> None:
    add(Wallet.objects.get(pk=first.pk)).save()
    meet()
    add(Wallet.objects.get(pk=second.pk)).save()


def _by_perform(first: Wallet, second: Wallet, meet: Callable[[], object]) -> None:
    Wallet.objects.perform(first.pk, Wallet.add, Decimal(1))
    meet()
    Wallet.objects.perform(second.pk, Wallet.add, Decimal(1))


@pytest.mark.needs_postgres
@committing
@pytest.mark.parametrize("write", [_by_save, _by_perform])
def test_a_deadlock_is_a_lost_race_of_one_of_the_two(write: Callable[..., None]) -> None:
    ada, eve = open_wallet("Ada"), open_wallet("Eve")
    together = threading.Barrier(2)

    def run(first: Wallet, second: Wallet) -> bool:
        try:
            with transaction.atomic():
                run_sql("SET LOCAL deadlock_timeout = '50ms'")
                write(first, second, lambda: together.wait(WAIT))
        except ConcurrencyError:
            return False
        return True

    with beside(lambda: run(ada, eve), lambda: run(eve, ada)) as futures:
        won = [future.result(WAIT) for future in futures]
    assert sorted(won) == [False, True]
    assert [wallet.version for wallet in Wallet.objects.all()] == [2, 2]
    assert drifts() == []


# Cost


class Counting(list[Any]):
    """A list that counts how many of its entries are looked at."""

    looks = 0

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        found = super().__getitem__(key)
        self.looks += len(found) if isinstance(key, slice) else 1
        return found

    def __iter__(self) -> Iterator[Any]:
        for entry in super().__iter__():
            self.looks += 1
            yield entry


def test_many_saves_in_one_transaction_look_at_each_callback_a_few_times_and_not_at_all_for_each() -> None:
    with transaction.atomic():
        connection.run_on_commit = callbacks = Counting(connection.run_on_commit)
        opened = [open_wallet(str(number)) for number in range(40)]
        for wallet in opened * 2:
            add(wallet).save()
        assert connection.run_on_commit is callbacks
    assert len(callbacks) >= 120
    assert callbacks.looks < 5 * 120


# The surroundings


@pytest.mark.parametrize(("behind", "warned"), [(4, False), (6, True)])
def test_a_clock_that_is_far_behind_is_warned_of(behind: int, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    with override_settings(EVENTSOURCING={"DISPATCHER": "none", "CLOCK": lambda: moment}):
        opened = open_wallet()
        moment -= timedelta(seconds=behind)
        with caplog.at_level(logging.WARNING):
            add(opened).save()
    assert ("behind the last event" in caplog.text) is warned
    assert opened.changed_at is not None
    assert opened.changed_at > datetime(2026, 1, 1, tzinfo=UTC)


@committing
def test_a_flush_over_a_connection_that_was_made_meanwhile_is_allowed_and_then_no_more() -> None:
    open_wallet()
    before = connections["default"]
    with flush_allowed():
        del connections["default"]
        after = connections["default"]
        try:
            call_command("flush", interactive=False, verbosity=0)
        finally:
            wrappers = list(after.execute_wrappers)
            connections["default"].close()
            connections["default"] = before
    assert wrappers
    assert after.execute_wrappers == []
    assert not StoredEvent.objects.exists()
