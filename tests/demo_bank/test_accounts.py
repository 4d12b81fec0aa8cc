"""An account does what a bank's account does, and refuses the rest in words and with a code."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connection, transaction

from demo_bank.events import MoneyDeposited
from demo_bank.models import Account
from eventsourcing_app import CommandRejected
from eventsourcing_app.exceptions import StreamEnded
from tests.demo_bank.accounts import an_account, balance_of

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db


def refused(command: Callable[..., object], **arguments: Any) -> str | None:
    """Run a command that must be refused, and return the code."""
    with pytest.raises(CommandRejected) as refusal:
        command(**arguments)
    return refusal.value.code


def test_an_account_opens_empty_with_its_limit_and_a_number() -> None:
    receipt = Account.objects.perform_new(Account.open, owner=" Ada ", currency="CHF", overdraft_limit=Decimal(100))

    account = Account.objects.get(pk=receipt.pk)
    assert (account.owner, account.currency) == ("Ada", "CHF")
    assert (account.balance, account.overdraft_limit) == (Decimal(0), Decimal(100))
    assert len(account.number) == 12
    assert account.status == Account.Status.OPEN


def test_deposits_and_withdrawals_add_up() -> None:
    account = an_account("50.00")

    Account.objects.perform(account.pk, Account.deposit, amount=Decimal("0.10"))
    Account.objects.perform(account.pk, Account.withdraw, amount=Decimal("0.30"), currency="EUR")

    assert balance_of(account) == Decimal("49.80")


def test_an_account_can_be_overdrawn_down_to_its_limit_and_not_a_cent_more() -> None:
    account = an_account("10.00", overdraft_limit=Decimal("5.00"))

    account.withdraw(amount=Decimal("15.00"))

    assert refused(account.withdraw, amount=Decimal("0.01")) == "insufficient_funds"
    account.save()
    assert balance_of(account) == Decimal("-5.00")


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
    account = an_account("10.00")

    assert refused(account.deposit, amount=Decimal(amount)) == code
    assert refused(account.withdraw, amount=Decimal(amount)) == code


def test_money_is_never_a_float() -> None:
    account = an_account("10.00")

    with pytest.raises(TypeError, match=r"Decimal\('0.1'\)"):
        account.deposit(amount=0.1)  # type: ignore[arg-type]


def test_an_amount_is_stored_with_two_decimals_however_it_was_written() -> None:
    account = an_account()

    account.deposit(amount=Decimal("1E+1"))
    account.deposit(amount=Decimal(7))
    account.deposit(amount=Decimal("0.500"))
    account.save()

    amounts = [stored.data["amount"] for stored in account.history() if "amount" in stored.data]
    assert amounts == ["10.00", "7.00", "0.50"]


def test_another_currency_than_the_accounts_is_refused() -> None:
    account = an_account("10.00", currency="EUR")

    assert refused(account.deposit, amount=Decimal(1), currency="CHF") == "currency_mismatch"
    assert refused(account.withdraw, amount=Decimal(1), currency="CHF") == "currency_mismatch"


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
    assert refused(Account().open, **opened) == code


def test_an_account_cannot_hold_more_than_its_column() -> None:
    account = an_account("999999999999.99")

    assert refused(account.deposit, amount=Decimal("0.01")) == "amount_out_of_range"


def test_no_money_moves_while_an_account_is_frozen() -> None:
    account = an_account("10.00")
    account.freeze(reason="Card lost")

    assert refused(account.deposit, amount=Decimal(1)) == "account_frozen"
    assert refused(account.withdraw, amount=Decimal(1)) == "account_frozen"
    assert refused(account.freeze, reason="Again") == "account_frozen"
    assert refused(account.close) == "account_frozen"

    account.unfreeze()
    account.withdraw(amount=Decimal(1))
    account.save()
    assert balance_of(account) == 9
    assert refused(account.unfreeze) == "not_frozen"


def test_only_an_empty_account_can_be_closed_and_then_nothing_happens_to_it_any_more() -> None:
    account = an_account("10.00")
    assert refused(account.close) == "not_empty"

    account.withdraw(amount=Decimal(10))
    account.close(reason="Moved")
    account.save()

    account = Account.objects.get(pk=account.pk)
    assert (account.status, account.ended) == ("closed", True)
    assert refused(account.deposit, amount=Decimal(1)) == "account_closed"
    with pytest.raises(StreamEnded):
        account.record(MoneyDeposited(amount=Decimal(1), currency="EUR"))


def test_two_accounts_cannot_have_the_same_number() -> None:
    an_account(number="1")

    with pytest.raises(IntegrityError), transaction.atomic():
        an_account(number="1")

    assert Account.objects.count() == 1


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


def test_an_account_can_be_looked_at_as_it_was() -> None:
    account = an_account("10.00")
    Account.objects.perform(account.pk, Account.deposit, amount=Decimal("5.00"))

    assert Account.objects.at(account.pk, version=2).balance == 10
    assert Account.objects.at(account.pk, version=3).balance == 15
