"""An account against a plain-Python one: whatever is asked of both, in any order, they agree, and so does history."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from demo_bank.models import Account
from eventsourcing_app import CommandRejected

AMOUNTS = st.decimals(min_value=-5, max_value=60, places=2) | st.decimals(min_value=0, max_value=1, places=3)
LIMITS = st.decimals(min_value=0, max_value=20, places=2)


class PlainAccount:
    """What an account is, without a database and without events."""

    def __init__(self, limit: Decimal) -> None:
        self.limit, self.balance, self.status, self.commands = limit, Decimal(0), "open", 1

    def deposit(self, amount: Decimal) -> bool:
        return self._move(amount, is_fine=amount > 0)

    def withdraw(self, amount: Decimal) -> bool:
        return self._move(-amount, is_fine=0 < amount <= self.balance + self.limit)

    def _move(self, amount: Decimal, *, is_fine: bool) -> bool:
        if self.status != "open" or not is_fine or amount != round(amount, 2):
            return False
        self.balance += amount
        self.commands += 1
        return True

    def become(self, status: str, *, when: str, is_fine: bool = True) -> bool:
        if self.status != when or not is_fine:
            return False
        self.status = status
        self.commands += 1
        return True


class Accounts(RuleBasedStateMachine):
    """Gives the same commands to both."""

    def __init__(self) -> None:
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.atomic.__exit__(None, None, None)

    @initialize(limit=LIMITS)
    def open(self, limit: Decimal) -> None:
        self.plain = PlainAccount(limit)
        self.key = Account.objects.perform_new(Account.open, owner="Ada", overdraft_limit=limit).pk
        self.past = [Decimal(0)]

    @rule(amount=AMOUNTS)
    def deposit(self, amount: Decimal) -> None:
        self.agree(self.plain.deposit(amount), lambda account: account.deposit(amount=amount))

    @rule(amount=AMOUNTS)
    def withdraw(self, amount: Decimal) -> None:
        self.agree(self.plain.withdraw(amount), lambda account: account.withdraw(amount=amount))

    @rule()
    def withdraw_all(self) -> None:
        amount = self.plain.balance
        self.agree(self.plain.withdraw(amount), lambda account: account.withdraw(amount=amount))

    @rule()
    def freeze(self) -> None:
        self.agree(self.plain.become("frozen", when="open"), lambda account: account.freeze(reason="Inquiry"))

    @rule()
    def unfreeze(self) -> None:
        self.agree(self.plain.become("open", when="frozen"), lambda account: account.unfreeze())

    @rule()
    def close(self) -> None:
        closed = self.plain.become("closed", when="open", is_fine=self.plain.balance == 0)
        self.agree(closed, lambda account: account.close())

    def agree(self, accepted: bool, command: Callable[[Account], object]) -> None:
        with transaction.atomic():
            account = Account.objects.select_for_update().get(pk=self.key)
            try:
                command(account)
            except CommandRejected:
                assert not accepted
            else:
                assert accepted
                account.save()
                self.past.append(account.balance)

    @invariant()
    def they_are_the_same(self) -> None:
        account = Account.objects.get(pk=self.key)
        assert (account.balance, account.status) == (self.plain.balance, self.plain.status)
        assert account.version == self.plain.commands == len(self.past)
        assert account.ended is (account.status == "closed")

    @invariant()
    def history_gives_every_state_again(self) -> None:
        version = len(self.past) // 2 + 1
        assert Account.objects.at(self.key, version=version).balance == self.past[version - 1]
        last = Account.objects.at(self.key, version=len(self.past))
        assert (last.balance, last.status) == (self.plain.balance, self.plain.status)


@pytest.mark.django_db
def test_an_account_agrees_with_a_plain_one_whatever_is_asked_of_it() -> None:
    run_state_machine_as_test(
        Accounts,
        settings=settings(
            max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
