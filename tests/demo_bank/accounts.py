"""Accounts for the tests of the bank."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from demo_bank.models import Account


def an_account(balance: str = "0.00", **opened: Any) -> Account:
    """Open an account, with a first deposit if it shall hold something."""
    account = Account()
    account.open(**{"owner": "Ada", **opened})
    if Decimal(balance):
        account.deposit(amount=Decimal(balance))
    account.save()
    return account


def balance_of(account: Account) -> Decimal:
    """Return what the account holds now."""
    return Account.objects.get(pk=account.pk).balance
