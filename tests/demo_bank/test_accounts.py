"""An account does what a bank's account does, and refuses the rest in words and with a code.

The rules are tested without a database; what a row, a constraint or the past has to do with is tested with one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from demo_bank.events import (
    AccountClosed,
    AccountFrozen,
    AccountOpened,
    AccountUnfrozen,
    MoneyDeposited,
    MoneyWithdrawn,
)
from demo_bank.models import Account
from eventsourcing_app.exceptions import StreamEnded
from eventsourcing_app.testing import capture_events, given, stored_history
from tests.demo_bank.accounts import an_account

NEW_YEAR = datetime(2020, 1, 1, tzinfo=UTC)
OPENED = AccountOpened(number="1", owner="Ada", currency="EUR", overdraft_limit=Decimal("0.00"))


def deposited(amount: str) -> MoneyDeposited:
    return MoneyDeposited(amount=Decimal(amount), currency="EUR")


def withdrawn(amount: str) -> MoneyWithdrawn:
    return MoneyWithdrawn(amount=Decimal(amount), currency="EUR")


def test_an_account_opens_empty_with_its_limit_and_a_number() -> None:
    opened = given(Account).when(Account.open, owner=" Ada ", currency="CHF", overdraft_limit=Decimal(100))

    opened.then_state(owner="Ada", currency="CHF", balance=0, overdraft_limit=100, status="open")
    assert len(opened.instance.number) == 12


def test_deposits_and_withdrawals_add_up() -> None:
    (
        given(Account, OPENED, deposited("50.00"))
        .when(Account.deposit, amount=Decimal("0.10"))
        .then(deposited("0.10"))
        .when(Account.withdraw, amount=Decimal("0.30"), currency="EUR")
        .then(withdrawn("0.30"))
        .then_state(balance=Decimal("49.80"))
    )


def test_an_account_can_be_overdrawn_down_to_its_limit_and_not_a_cent_more() -> None:
    opened = AccountOpened(number="1", owner="Ada", currency="EUR", overdraft_limit=Decimal("5.00"))
    (
        given(Account, opened, deposited("10.00"))
        .when(Account.withdraw, amount=Decimal("15.00"))
        .then(withdrawn("15.00"))
        .when(Account.withdraw, amount=Decimal("0.01"))
        .then_rejected("insufficient_funds", match=r"0\.00 EUR left")
        .then_state(balance=Decimal("-5.00"))
    )


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        ("0", "amount_not_positive"),
        ("-1", "amount_not_positive"),
        ("0.001", "too_many_decimals"),
        ("1E+12", "amount_out_of_range"),
        ("NaN", "amount_out_of_range"),
        ("Infinity", "amount_out_of_range"),
    ],
)
def test_an_amount_that_is_no_money_is_refused(amount: str, code: str) -> None:
    account = given(Account, OPENED, deposited("10.00"))

    account.when(Account.deposit, amount=Decimal(amount)).then_rejected(code)
    account.when(Account.withdraw, amount=Decimal(amount)).then_rejected(code)


def test_money_is_never_a_float() -> None:
    with pytest.raises(TypeError, match=r"Decimal\('0.1'\)"):
        given(Account, OPENED).when(Account.deposit, amount=0.1)  # type: ignore[arg-type]


@pytest.mark.django_db
def test_an_amount_is_stored_with_two_decimals_however_it_was_written() -> None:
    account = an_account()

    with capture_events(MoneyDeposited) as captured:
        for amount in ("1E+1", "7", "0.500"):
            Account.objects.perform(account.pk, Account.deposit, amount=Decimal(amount))

    assert [recorded.data["amount"] for recorded in captured] == ["10.00", "7.00", "0.50"]


def test_another_currency_than_the_accounts_is_refused() -> None:
    account = given(Account, OPENED, deposited("10.00"))

    account.when(Account.deposit, amount=Decimal(1), currency="CHF").then_rejected("currency_mismatch")
    account.when(Account.withdraw, amount=Decimal(1), currency="CHF").then_rejected("currency_mismatch")


@pytest.mark.parametrize(
    ("opened", "code"),
    [
        ({"owner": " "}, "owner_missing"),
        ({"owner": "A" * 121}, "owner_too_long"),
        ({"owner": "Ada", "number": "1" * 35}, "number_too_long"),
        ({"owner": "Ada", "currency": "EURO"}, "currency_unknown"),
        ({"owner": "Ada", "overdraft_limit": Decimal(-1)}, "limit_negative"),
    ],
)
def test_an_account_cannot_be_opened_on_terms_that_the_bank_does_not_know(opened: dict[str, Any], code: str) -> None:
    given(Account).when(Account.open, **opened).then_rejected(code)


def test_an_account_cannot_hold_more_than_its_column() -> None:
    full = given(Account, OPENED, deposited("999999999999.99"))

    full.when(Account.deposit, amount=Decimal("0.01")).then_rejected("amount_out_of_range")


def test_no_money_moves_while_an_account_is_frozen() -> None:
    frozen = (
        given(Account, OPENED, deposited("10.00"))
        .when(Account.freeze, reason="Card lost")
        .then(AccountFrozen(reason="Card lost"))
    )
    frozen.when(Account.deposit, amount=Decimal(1)).then_rejected("account_frozen")
    frozen.when(Account.withdraw, amount=Decimal(1)).then_rejected("account_frozen")
    frozen.when(Account.freeze, reason="Again").then_rejected("account_frozen")
    frozen.when(Account.close).then_rejected("account_frozen")

    (
        frozen.when(Account.unfreeze)
        .then(AccountUnfrozen())
        .when(Account.withdraw, amount=Decimal(1))
        .then_state(balance=9)
        .when(Account.unfreeze)
        .then_rejected("not_frozen")
    )


def test_only_an_empty_account_can_be_closed_and_then_nothing_happens_to_it_any_more() -> None:
    closed = (
        given(Account, OPENED, deposited("10.00"))
        .when(Account.close)
        .then_rejected("not_empty")
        .when(Account.withdraw, amount=Decimal(10))
        .when(Account.close, reason="Moved")
        .then(AccountClosed(reason="Moved"))
        .then_state(status="closed", ended=True)
    )
    closed.when(Account.deposit, amount=Decimal(1)).then_rejected("account_closed")
    with pytest.raises(StreamEnded):
        closed.instance.record(deposited("1"))


@pytest.mark.django_db
def test_the_rules_hold_in_the_database_as_well() -> None:
    account = given(Account, OPENED, deposited("10.00")).stored()

    account.when(Account.close).then_rejected("not_empty")
    account.when(Account.withdraw, amount=Decimal(10)).then(withdrawn("10.00"))
    account.when(Account.close).then(AccountClosed()).then_state(status="closed", balance=0, ended=True, version=4)


@pytest.mark.django_db
def test_two_accounts_cannot_have_the_same_number() -> None:
    an_account(number="1")

    with pytest.raises(IntegrityError), transaction.atomic():
        an_account(number="1")

    assert Account.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change",
    [
        "balance = -5.01",
        "overdraft_limit = -0.01, balance = 1",
        "status = 'closed', balance = 1",
    ],
)
def test_the_database_refuses_what_the_commands_would(change: str) -> None:
    an_account("10.00", overdraft_limit=Decimal("5.00"))

    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE demo_bank_account SET {change}")


@pytest.mark.django_db
def test_an_account_can_be_looked_at_as_it_was() -> None:
    history = (OPENED, deposited("10.00"), deposited("5.00"))
    account = stored_history(Account, *history, recorded_at=NEW_YEAR, step=timedelta(days=1))

    assert Account.objects.at(account.pk, version=2).balance == 10
    assert Account.objects.at(account.pk, when=NEW_YEAR + timedelta(hours=47)).balance == 10
    assert Account.objects.at(account.pk, when=NEW_YEAR + timedelta(hours=48)).balance == 15
