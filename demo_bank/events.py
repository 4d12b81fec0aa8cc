"""What can happen in the bank. Facts, named in the past tense; their wire names never change."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Literal
from uuid import UUID

from eventsourcing_app import event


@event("bank.account_opened")
class AccountOpened:
    number: str
    owner: str
    currency: str
    overdraft_limit: Decimal


@event("bank.money_deposited")
class MoneyDeposited:
    amount: Decimal
    currency: str
    reference: str = ""


@event("bank.money_withdrawn")
class MoneyWithdrawn:
    amount: Decimal
    currency: str
    reference: str = ""


@event("bank.transfer_sent")
class TransferSent:
    transfer_id: UUID
    to_account: str
    amount: Decimal
    currency: str
    reference: str = ""


@event("bank.transfer_received")
class TransferReceived:
    transfer_id: UUID
    from_account: str
    amount: Decimal
    currency: str
    reference: str = ""


@event("bank.entry_posted")
class EntryPosted:
    """A row of another bank's ledger. ``booked_on`` is when it happened there, long before it was recorded here."""

    sequence: int
    booked_on: date
    direction: Literal["credit", "debit"]
    amount: Decimal
    currency: str
    operation: str = ""
    purpose: str = ""
    counter_bank: str = ""
    counter_account: str = ""


@event("bank.account_frozen")
class AccountFrozen:
    reason: str


@event("bank.account_unfrozen")
class AccountUnfrozen:
    reason: str = ""


@event("bank.account_closed", ends=True)
class AccountClosed:
    reason: str = ""


@event("payments.payment_succeeded")
class PaymentSucceeded:
    """A merchant was paid. It belongs to no aggregate; who reacts to it is none of the payment's business."""

    order_id: str
    account: str
    merchant: str
    amount: Decimal
    currency: str
