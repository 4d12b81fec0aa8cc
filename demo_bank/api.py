"""The bank's API: a few lines over the viewsets of ``eventsourcing_app``."""

from __future__ import annotations

from demo_bank.models import Account
from demo_bank.transfers import transfer
from eventsourcing_app import api


class AccountViewSet(api.EventSourcedViewSet):
    """Accounts. Both halves of a transfer, and rows of a ledger, come from within the bank only."""

    model = Account
    commands = ("open", "deposit", "withdraw", "freeze", "unfreeze", "close")


class TransferViewSet(api.FlowViewSet, flow=transfer):
    """Transfers between two accounts that the user sees."""

    permission = "demo_bank.change_account"
    arguments = ("source", "target", "amount", "reference")
    aggregates = {"source": AccountViewSet, "target": AccountViewSet}


class BatchViewSet(api.BatchViewSet):
    """Several commands on accounts in one request."""

    viewsets = (AccountViewSet,)
