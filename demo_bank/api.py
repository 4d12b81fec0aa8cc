"""The bank's API: a few lines over the viewsets of ``eventsourcing_app``."""

from __future__ import annotations

from demo_bank.models import Account
from eventsourcing_app.api import EventSourcedViewSet


class AccountViewSet(EventSourcedViewSet):
    """Accounts. Both halves of a transfer, and rows of a ledger, come from within the bank only."""

    model = Account
    commands = ("open", "deposit", "withdraw", "freeze", "unfreeze", "close")
    filterset_fields = ("currency", "status", "owner")
    search_fields = ("number", "owner")
    ordering_fields = ("number", "balance", "changed_at")
