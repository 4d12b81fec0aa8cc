"""Payments: money leaves an account and the fact is published, both or neither. Who reacts is decided elsewhere."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from demo_bank.events import PaymentSucceeded
from demo_bank.models import Account
from demo_bank.money import checked_amount
from eventsourcing_app import flow, publish


def pay(account: UUID, merchant: str, amount: Decimal, order_id: str) -> bool:
    """Pay a merchant for an order; return false if this order was paid from this account before.

    It is safe to repeat for the same actor. Raises ``CommandRejected`` as ``Account.withdraw`` does, ``KeyReused`` if
    the order was paid with another amount, and ``Account.DoesNotExist``.
    """
    amount = checked_amount(amount)
    return not payment.once(f"{account}:{order_id}").receipt(account, merchant, amount, order_id).replayed


@flow("bank.payment")
def payment(account: UUID, merchant: str, amount: Decimal, order_id: str) -> None:
    """Take the money and say so; ``pay`` does it once an order."""
    Account.objects.perform(account, Account.withdraw, amount=amount, reference=f"{merchant}, order {order_id}")
    paid_from = Account.objects.get(pk=account)
    publish(
        PaymentSucceeded(
            order_id=order_id,
            account=paid_from.number,
            merchant=merchant,
            amount=amount,
            currency=paid_from.currency,
        ),
        key=order_id,
    )
