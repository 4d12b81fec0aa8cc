"""A flow is whole: all that it does is stored or nothing, at one moment, and it says where it ended."""

from __future__ import annotations

import copy
import pickle
from contextlib import suppress
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, IntegrityError
from django.test import override_settings

from eventsourcing_app import CommandRejected, flow, publish
from eventsourcing_app.exceptions import ConcurrencyError
from eventsourcing_app.models import FlowReceipt, StoredEvent
from tests.reactions_sample.scene import rolled_back
from tests.samples.events import RateChanged
from tests.samples.factories import (
    begin_counter,
    elsewhere,
    list_book,
    open_wallet,
    types,
)
from tests.samples.models import Book, Counter, Wallet

if TYPE_CHECKING:
    from contextvars import Context

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)

ONE = Decimal(1)
SERIALIZABLE = "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"


@flow("tests.move")
def move(source: UUID, to: UUID, amount: Decimal = ONE) -> UUID:
    """Move money."""
    Wallet.objects.perform(source, Wallet.take, amount=amount)
    Wallet.objects.perform(to, Wallet.add, amount=amount)
    return to


def balance(wallet: Wallet) -> Decimal:
    return Wallet.objects.get(pk=wallet.pk).balance


# Whole


def test_a_flow_is_called_as_the_function_that_it_is() -> None:
    source, to = open_wallet("a", 5), open_wallet("b")
    assert move(source.pk, to=to.pk) == to.pk
    assert move(source=source.pk, to=to.pk, amount=Decimal(2)) == to.pk
    assert [balance(source), balance(to)] == [2, 3]
    assert (move.name, move.__qualname__, move.__doc__) == ("tests.move", "move", "Move money.")
    assert "tests.move" in repr(move)
    with pytest.raises(TypeError, match="missing a required argument: 'to'"):
        move(source.pk)  # type: ignore[call-arg]


def test_all_of_it_is_stored_or_nothing() -> None:
    source, to = open_wallet("a", 1), open_wallet("b")
    with pytest.raises(CommandRejected):
        move(to.pk, source.pk)

    @flow("tests.fails")
    def fails() -> None:
        move(source.pk, to.pk)
        Counter.objects.perform_new(Counter.begin)
        publish(RateChanged(currency="EUR", rate=ONE))
        with Wallet.objects.locked([source.pk]) as (locked,):
            locked.add(ONE)
        book = Book(isbn="1")
        book.list_it(title="Emma")
        Book.objects.save_all([book])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert types() == ["wallet_opened", "money_added", "wallet_opened"]
    assert [balance(source), balance(to), Book.objects.count()] == [1, 0, 0]


def test_its_receipt_tells_the_value_and_the_position_of_its_last_event() -> None:
    source, to = open_wallet("a", 5), open_wallet("b")
    receipt = move.receipt(source.pk, to.pk)
    last = StoredEvent.objects.latest("position")
    assert receipt == FlowReceipt(value=to.pk, position=last.position, replayed=False)

    @flow("tests.idle")
    def idle() -> None:
        move(source.pk, to.pk)
        with rolled_back():
            move(source.pk, to.pk)

    assert idle.receipt().position == StoredEvent.objects.latest("position").position

    @flow("tests.still")
    def still() -> None:
        with rolled_back():
            move(source.pk, to.pk)

    assert still.receipt() == FlowReceipt(value=None, position=None)


def test_an_error_of_the_database_that_it_keeps_to_itself_is_no_success() -> None:
    wallet = open_wallet()

    @flow("tests.swallows")
    def swallows() -> int:
        loaded = Wallet.objects.get(pk=wallet.pk)
        loaded.add(Decimal(1_000_001))
        with suppress(IntegrityError):
            loaded.save()
        return 1

    with pytest.raises(DatabaseError, match=r"tests\.swallows.* must be rolled back"):
        swallows()
    with pytest.raises(DatabaseError, match="must be rolled back"):
        swallows.once("k")()
    assert types() == ["wallet_opened"]


# One moment


def recorded_at() -> list[datetime]:
    return list(StoredEvent.objects.order_by("position").values_list("recorded_at", flat=True))


def test_all_events_of_a_flow_have_one_recorded_time() -> None:
    source, to = open_wallet("a", 5), open_wallet("b")
    before = len(recorded_at())

    @flow("tests.everything")
    def everything() -> None:
        move(source.pk, to.pk)
        publish(RateChanged(currency="EUR", rate=ONE))
        begin_counter()
        move(to.pk, source.pk)

    everything()
    (moment,) = set(recorded_at()[before:])
    everything()
    assert len(recorded_at()) == before + 12
    (later,) = set(recorded_at()[before + 6 :])
    assert moment < later == Wallet.objects.get(pk=source.pk).changed_at


def test_no_event_of_a_flow_is_recorded_before_the_one_that_it_follows() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)

    def clock() -> datetime:
        return now

    with override_settings(EVENTSOURCING={"DISPATCHER": "none", "CLOCK": clock}):
        source = open_wallet("a", 5)
        now += timedelta(seconds=2)
        to = open_wallet("b")
        now -= timedelta(seconds=1)  # another machine's clock
        move(source.pk, to.pk)
    taken, added = recorded_at()[-2:]
    assert taken == now
    assert timedelta(seconds=1) < added - now < timedelta(seconds=1.01)


def test_what_was_rolled_back_does_not_get_its_time_given_again() -> None:
    wallet, seen = open_wallet(), list[Wallet]()

    @flow("tests.second_thoughts")
    def second_thoughts() -> None:
        with rolled_back():
            Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(100))
            seen.append(Wallet.objects.get(pk=wallet.pk))  # nothing tells it that it is of a past that never was
        Wallet.objects.perform(wallet.pk, Wallet.add, ONE)

    frozen = datetime(2030, 1, 1, tzinfo=UTC)
    with override_settings(EVENTSOURCING={"DISPATCHER": "none", "CLOCK": lambda: frozen}):
        second_thoughts()
        (phantom,) = seen
        phantom.add(ONE)
        with pytest.raises(ConcurrencyError):
            phantom.save()
    assert balance(wallet) == 1


@pytest.mark.needs_postgres  # SQLite has one writer at a time
@committing
def test_what_another_thread_writes_is_no_part_of_the_flow() -> None:
    rate = RateChanged(currency="EUR", rate=ONE)

    @flow("tests.threads")
    def threads() -> tuple[int, int]:
        context = copy_context()
        return publish(rate), elsewhere(lambda: context.run(publish, rate))

    receipt = threads.receipt()
    assert receipt.position == receipt.value[0] < receipt.value[1]
    assert len(set(recorded_at())) == 2


def test_what_runs_later_in_a_copy_of_its_context_is_no_part_of_it() -> None:
    wallet = open_wallet()

    @flow("tests.kept")
    def kept() -> None:
        Wallet.objects.perform(wallet.pk, Wallet.add, ONE)
        contexts.append(copy_context())

    contexts: list[Context] = []
    kept()
    contexts[0].run(Wallet.objects.perform, wallet.pk, Wallet.add, amount=ONE)
    assert len(set(recorded_at())) == 3


# As it is declared


def test_a_name_that_cannot_be_one_is_refused() -> None:
    for name in ("", "no spaces", "bank:transfer", "x" * 201, list_book):
        with pytest.raises(ImproperlyConfigured, match="name of a flow"):
            flow(name)  # type: ignore[arg-type]
    for attempts in (0, -1, True, 1.5):
        with pytest.raises(ImproperlyConfigured, match="attempts"):
            flow("tests.never", attempts=attempts)  # type: ignore[arg-type]
    with pytest.raises(ImproperlyConfigured, match=r"tests\.move.* is declared by .*\.move and by .*\.other"):

        @flow("tests.move")
        def other() -> None: ...


def test_only_a_plain_function_can_be_a_flow() -> None:
    async def later() -> None: ...

    def some() -> Any:
        yield 1

    for function, why in ((later, "coroutine"), (some, "generator"), (Wallet, "goes on a function")):
        with pytest.raises(ImproperlyConfigured, match=why):
            flow("tests.never")(function)
    with pytest.raises((ImproperlyConfigured, RuntimeError)) as caught:

        class Bank:
            @flow("tests.method")
            def transfer(self) -> None: ...

    assert "is a method" in f"{caught.value}{caught.value.__cause__}"


def test_a_flow_is_pickled_and_copied_as_the_function_that_it_is() -> None:
    assert pickle.loads(pickle.dumps(move)) is move
    assert copy.deepcopy(move) is move
