"""Payments: money leaves an account and the fact is published, both or neither. Who reacts is decided elsewhere."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from django.db import transaction

from demo_bank.events import PaymentSucceeded
from demo_bank.models import Account
from demo_bank.money import checked_amount
from eventsourcing_app import publish


def pay(account: UUID, merchant: str, amount: Decimal, order_id: str) -> bool:
    """Pay a merchant for an order; return false if this order was paid from this account before.

    It is safe to repeat for the same actor. Raises ``CommandRejected`` as ``Account.withdraw`` does, ``KeyReused`` if
    the order was paid with another amount, and ``Account.DoesNotExist``.
    """
    amount = checked_amount(amount)
    with transaction.atomic():
        once = Account.objects.once(f"order:{order_id}")
        receipt = once.perform(account, Account.withdraw, amount=amount, reference=f"{merchant}, order {order_id}")
        if receipt.replayed:
            return False
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
    return True
