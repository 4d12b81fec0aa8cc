"""Whatever is done to a wallet, and in whatever order, it is what a few lines of plain Python say it is."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from eventsourcing_app import CommandRejected
from eventsourcing_app.exceptions import ConcurrencyError, NothingRecorded, SpentInstance, UnrecordedChange
from eventsourcing_app.models import StoredEvent
from tests.samples.factories import faults, rebuild
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Callable

amounts = st.decimals(Decimal("0.01"), Decimal(1000), places=2)
labels = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3), max_size=3)


@dataclass
class Model:
    """A wallet in plain Python."""

    owner: str = ""
    balance: Decimal = Decimal(0)
    labels: list[str] = field(default_factory=list)
    ended: bool = False
    version: int = 0


def facts(wallet: Wallet) -> Model:
    return Model(wallet.owner, wallet.balance, wallet.labels, wallet.ended, wallet.version)


class WalletMachine(RuleBasedStateMachine):
    """``saved`` are the states of all versions; ``now`` is the one that the instance should have."""

    events: ClassVar[int] = 0
    """How many were stored, in all runs together."""

    def teardown(self) -> None:
        WalletMachine.events += len(getattr(self, "saved", ()))

    @initialize(owner=st.text("ab", min_size=1, max_size=3))
    def create(self, owner: str) -> None:
        self.saved: list[Model] = []
        self.pending: list[Model] = []
        self.wallet = Wallet()
        self.wallet.open(owner=owner)
        self._expect(lambda model: setattr(model, "owner", owner))
        self._save()

    @property
    def now(self) -> Model:
        return (self.saved + self.pending)[-1] if self.saved or self.pending else Model()

    def _expect(self, change: Callable[[Model], None]) -> None:
        model = copy.deepcopy(self.now)
        change(model)
        model.version = len(self.saved) + len(self.pending) + 1
        self.pending.append(model)

    def _do(self, command: Callable[[], object], change: Callable[[Model], None], *, refused: bool = False) -> None:
        if self.now.ended or refused:
            with pytest.raises(CommandRejected):
                command()
        else:
            command()
            self._expect(change)

    @rule(amount=amounts)
    def add(self, amount: Decimal) -> None:
        self._do(lambda: self.wallet.add(amount), lambda model: setattr(model, "balance", model.balance + amount))

    @rule(amount=amounts)
    def take(self, amount: Decimal) -> None:
        self._do(
            lambda: self.wallet.take(amount),
            lambda model: setattr(model, "balance", model.balance - amount),
            refused=amount > self.now.balance,
        )

    @rule(labels=labels)
    def label(self, labels: list[str]) -> None:
        self._do(lambda: self.wallet.label(labels), lambda model: setattr(model, "labels", labels))

    @precondition(lambda self: self.now.version > 4)
    @rule()
    def close(self) -> None:
        self._do(lambda: self.wallet.close(reason="x"), lambda model: setattr(model, "ended", True))

    @rule()
    def open_again(self) -> None:
        with pytest.raises(CommandRejected):
            self.wallet.open(owner="x")

    @rule()
    def save(self) -> None:
        self._save()

    @precondition(lambda self: self.pending)
    @rule()
    def save_what_is_pending(self) -> None:
        self._save()

    def _save(self) -> None:
        if self.pending:
            self.wallet.save()
        else:
            with pytest.raises(NothingRecorded):
                self.wallet.save()
        self.saved, self.pending = self.saved + self.pending, []

    @rule(amount=amounts)
    def perform(self, amount: Decimal) -> None:
        if self.pending:
            self._save()
        command = Wallet.objects.perform
        self._do(
            lambda: command(self.wallet.pk, Wallet.add, amount),
            lambda model: setattr(model, "balance", model.balance + amount),
        )
        self.saved, self.pending = self.saved + self.pending, []
        self._load()

    @precondition(lambda self: self.pending and not self.saved[-1].ended)
    @rule()
    def lose_a_race(self) -> None:
        stale = self.wallet
        self.pending = []
        Wallet.objects.perform(stale.pk, Wallet.label, labels=["race"])
        self._expect(lambda model: setattr(model, "labels", ["race"]))
        self.saved, self.pending = self.saved + self.pending, []
        with pytest.raises(ConcurrencyError):
            stale.save()
        self._load()

    @precondition(lambda self: self.pending)
    @rule()
    def save_and_roll_back(self) -> None:
        with transaction.atomic():
            self.wallet.save()
            transaction.set_rollback(True)
        with pytest.raises(SpentInstance):
            self.wallet.save()
        self._load()

    @rule()
    def meddle(self) -> None:
        self.wallet.balance += 1
        with pytest.raises(UnrecordedChange):
            self.wallet.save()
        self.wallet.balance -= 1

    @rule(refresh=st.booleans())
    def load(self, refresh: bool) -> None:
        if refresh:
            self.pending = []
            self.wallet.refresh_from_db()
        else:
            self._load()

    @rule(at=st.integers(0, 100))
    def look_back(self, at: int) -> None:
        model = self.saved[at % len(self.saved)]
        assert facts(Wallet.objects.at(self.wallet.pk, version=model.version)) == model

    def _load(self) -> None:
        self.pending = []
        self.wallet = Wallet.objects.get(pk=self.wallet.pk)

    @invariant()
    def the_instance_is_what_the_model_says(self) -> None:
        if not hasattr(self, "saved"):
            return
        # The version counts what is saved; the rest is what has been recorded.
        expected = copy.deepcopy(self.now)
        expected.version = len(self.saved)
        expected.ended = self.now.ended and not self.pending
        found = facts(self.wallet)
        assert found == expected

    @invariant()
    def the_row_is_what_was_saved(self) -> None:
        if not hasattr(self, "saved"):
            return
        assert facts(Wallet.objects.get(pk=self.wallet.pk)) == self.saved[-1]
        assert self.wallet.history().count() == len(self.saved)


@pytest.mark.django_db
def test_a_wallet_behaves_as_its_model() -> None:
    WalletMachine.events = 0
    run_state_machine_as_test(
        WalletMachine,
        settings=settings(
            max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    assert StoredEvent.objects.count() == WalletMachine.events > 0
    assert faults() == {}
    assert list(rebuild(Wallet, check=True)) == []
