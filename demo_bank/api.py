"""The bank's API: a few lines over the viewsets of ``eventsourcing_app``."""

from __future__ import annotations

from demo_bank.models import Account
from eventsourcing_app.api import EventSourcedViewSet


class AccountViewSet(EventSourcedViewSet):
    """Accounts. Both halves of a transfer, and rows of a ledger, come from within the bank only."""

    model = Account
    commands = ("open", "deposit", "withdraw", "freeze", "unfreeze", "close")
    examples = {
        "open": {"owner": "Ada Lovelace", "currency": "EUR", "overdraft_limit": "100.00"},
        "deposit": {"amount": "50.00", "reference": "Wages"},
        "withdraw": {"amount": "20.00"},
    }
