"""Transfers between two accounts: both halves in one transaction, so that money is neither made nor lost."""

from __future__ import annotations

import uuid
from decimal import Decimal
from uuid import UUID

from demo_bank.models import Account
from eventsourcing_app import CommandRejected, flow


@flow("bank.transfer")
def transfer(
    source: UUID, target: UUID, amount: Decimal, *, reference: str = "", transfer_id: UUID | None = None
) -> UUID:
    """Move money from one account to another and return the transfer's id, which both accounts record.

    The id only names the transfer: a repetition moves the money again, unless it comes with the same key:
    ``transfer.once(key)(…)`` moves it once and returns the same id.

    Raises ``CommandRejected`` (codes ``same_account``, ``currency_mismatch`` and those of ``Account``) and
    ``Account.DoesNotExist``; then neither account has changed.
    """
    if source == target:
        raise CommandRejected("A transfer needs two different accounts.", code="same_account")
    transfer_id = transfer_id or uuid.uuid4()
    with Account.objects.locked([source, target]) as (sender, receiver):
        sender.send_transfer(
            transfer_id=transfer_id,
            to_account=receiver.number,
            amount=amount,
            currency=receiver.currency,
            reference=reference,
        )
        receiver.receive_transfer(
            transfer_id=transfer_id,
            from_account=sender.number,
            amount=amount,
            currency=sender.currency,
            reference=reference,
        )
    return transfer_id
