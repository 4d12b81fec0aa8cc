"""An account against a plain-Python one: whatever is asked of both, in any order, they agree, and so does history.

A third one follows, a scenario of ``given()`` that knows no database.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from demo_bank.models import Account
from eventsourcing_app import CommandRejected
from eventsourcing_app.testing import Scenario, given

if TYPE_CHECKING:
    from collections.abc import Callable

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
    """Gives the same commands to all of them."""

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
        self.key = Account.objects.perform_new(Account.open, owner="Ada", number="1", overdraft_limit=limit).pk
        self.scenario: Scenario[Account] = given(Account).when(
            Account.open, owner="Ada", number="1", overdraft_limit=limit
        )
        self.past = [Decimal(0)]

    @rule(amount=AMOUNTS)
    def deposit(self, amount: Decimal) -> None:
        self.agree(self.plain.deposit(amount), Account.deposit, amount=amount)

    @rule(amount=AMOUNTS)
    def withdraw(self, amount: Decimal) -> None:
        self.agree(self.plain.withdraw(amount), Account.withdraw, amount=amount)

    @rule()
    def withdraw_all(self) -> None:
        amount = self.plain.balance
        self.agree(self.plain.withdraw(amount), Account.withdraw, amount=amount)

    @rule()
    def freeze(self) -> None:
        self.agree(self.plain.become("frozen", when="open"), Account.freeze, reason="Inquiry")

    @rule()
    def unfreeze(self) -> None:
        self.agree(self.plain.become("open", when="frozen"), Account.unfreeze)

    @rule()
    def close(self) -> None:
        closed = self.plain.become("closed", when="open", is_fine=self.plain.balance == 0)
        self.agree(closed, Account.close)

    def agree(self, accepted: bool, command: Callable[..., object], **arguments: Any) -> None:
        outcome = self.scenario.when(command, **arguments)
        with transaction.atomic():
            account = Account.objects.select_for_update().get(pk=self.key)
            try:
                command(account, **arguments)
            except CommandRejected as refusal:
                assert not accepted
                self.scenario = outcome.then_rejected(refusal.code, match=re.escape(refusal.reason))
            else:
                assert accepted
                account.save()
                self.past.append(account.balance)
                self.scenario = outcome

    @invariant()
    def they_are_the_same(self) -> None:
        account = Account.objects.get(pk=self.key)
        assert (account.balance, account.status) == (self.plain.balance, self.plain.status)
        assert account.version == self.plain.commands == len(self.past)
        assert account.ended is (account.status == "closed")
        self.scenario.then_state(
            balance=account.balance, status=account.status, version=account.version, ended=account.ended
        )

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
