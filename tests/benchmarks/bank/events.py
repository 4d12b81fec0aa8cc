"""What happens to the account that is measured."""

from __future__ import annotations

from decimal import Decimal

from eventsourcing_app import event


@event("bank.account_opened")
class AccountOpened:
    owner: str


@event("bank.money_deposited")
class MoneyDeposited:
    amount: Decimal
    reference: str
