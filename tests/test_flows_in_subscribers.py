"""A flow in a subscriber needs no key, and neither does what it runs: it is repeated as a whole, or not at all."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from django.db import transaction

from eventsourcing_app import Projection, RecordedEvent, flow, handles, publish, subscriber
from eventsourcing_app.exceptions import ReactionRefused
from eventsourcing_app.models import StoredReceipt
from tests.reactions_sample.scene import deliver, let_retry, wallet
from tests.samples.events import RateChanged, WalletOpened
from tests.samples.factories import open_wallet, types
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_subscriptions")]

ONE = Decimal(1)


@flow("reactions.move", backoff=lambda _attempt: 0)
def move(source: UUID, to: UUID, amount: Decimal = ONE) -> Decimal:
    """Return what is left."""
    left = Wallet.objects.perform(source, Wallet.take, amount=amount)
    Wallet.objects.perform(to, Wallet.add, amount=amount)
    return Wallet.objects.get(pk=left.pk).balance


@flow("reactions.add")
def add(to: UUID) -> None:
    Wallet.objects.perform(to, Wallet.add, ONE)


def balances(*wallets: Wallet) -> list[Decimal]:
    return [Wallet.objects.get(pk=each.pk).balance for each in wallets]


NAME = "t.flows"


def run_twice(handler: Callable[[int], object]) -> list[str]:
    """Handle one event in a run that fails at its end, and in a second one; return the names of what was raised."""
    runs: list[int] = []

    @subscriber(NAME, WalletOpened)
    def act(event: WalletOpened, recorded: RecordedEvent) -> None:
        if event.owner == "Ada":
            runs.append(recorded.position)
            handler(len(runs))
            if len(runs) == 1:
                raise ZeroDivisionError

    wallet(adds=0)
    errors = deliver().errors
    let_retry(NAME)
    return [type(error).__name__ for error in (*errors, *deliver().errors)]


def test_a_flow_in_a_subscriber_is_not_repeated_and_what_it_runs_needs_no_key() -> None:
    first, second = open_wallet("a", 9), open_wallet("b")
    answers = []

    @flow("reactions.reaction")
    def reaction() -> UUID:
        move(first.pk, second.pk)
        with Wallet.objects.locked([first.pk, second.pk]) as (giving, taking):
            giving.take(ONE)
            taking.add(ONE)
        loaded = Wallet.objects.get(pk=second.pk)
        loaded.add(ONE)
        loaded.save()
        new = Wallet()
        new.open(owner="Eve")
        Wallet.objects.save_all([new])
        publish(RateChanged(currency="EUR", rate=ONE))
        return new.pk

    assert run_twice(lambda _run: answers.append((reaction(), reaction()))) == ["ZeroDivisionError"]
    assert answers[0] == answers[1]
    assert len(set(answers[0])) == 2, "two calls in one run are two requests"
    assert balances(first, second) == [5, 6]
    assert types().count("rate_changed") == 2
    assert StoredReceipt.objects.count() == 2


def test_commands_after_a_flow_keep_their_place_although_it_is_only_answered() -> None:
    one = open_wallet("a")

    def handler(run: int) -> None:
        add(one.pk)  # in the second run it is answered, and its perform() is not given
        if run == 2:
            Wallet.objects.perform(one.pk, Wallet.add, ONE)

    assert run_twice(handler) == ["ZeroDivisionError"]
    assert balances(one) == [2]


def test_a_key_of_its_own_is_taken_instead_of_the_implied_one() -> None:
    one = open_wallet("a")

    def handler(_run: int) -> None:
        for _ in range(2):
            with transaction.atomic():
                add.once("bonus")(one.pk)

    assert run_twice(handler) == ["ZeroDivisionError"]
    assert balances(one) == [1]


def test_outside_a_flow_a_locked_block_in_a_subscriber_stays_refused() -> None:
    one = open_wallet("a")

    def handler(_run: int) -> None:
        add(one.pk)
        with Wallet.objects.locked([one.pk]) as (locked,):
            locked.add(ONE)

    assert run_twice(handler) == ["ReactionRefused", "ReactionRefused"]
    assert balances(one) == [1]


def test_a_projection_may_not_append_by_a_flow_either() -> None:
    one = open_wallet("a")

    class Adding(Projection):
        name = "t.adding"

        @handles(WalletOpened)
        def add(self, event: WalletOpened, recorded: RecordedEvent) -> None:
            add(one.pk)

    assert [type(error) for error in deliver().errors] == [ReactionRefused]
    assert balances(one) == [0]
