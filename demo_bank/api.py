"""The bank's API: a few lines over the viewsets of ``eventsourcing_app``."""

from __future__ import annotations

from typing import ClassVar

from rest_framework import mixins, serializers

from demo_bank.models import Account, DailyTotal
from demo_bank.reactions import TOTALS
from demo_bank.transfers import transfer
from eventsourcing_app import api


class AccountViewSet(api.EventSourcedViewSet):
    """Accounts. Both halves of a transfer, and rows of a ledger, come from within the bank only."""

    model = Account
    commands = ("open", "deposit", "withdraw", "freeze", "unfreeze", "close")
    examples = {
        "open": {"owner": "Ada Lovelace", "currency": "EUR", "overdraft_limit": "100.00"},
        "deposit": {"amount": "50.00", "reference": "Wages"},
        "withdraw": {"amount": "20.00"},
    }
    filterset_fields = ("currency", "status", "owner")
    search_fields = ("number", "owner")
    ordering_fields = ("number", "balance", "changed_at")


class TransferViewSet(api.FlowViewSet, flow=transfer):
    """Transfers between two accounts that the user sees."""

    permission = "demo_bank.change_account"
    arguments = ("source", "target", "amount", "reference")
    aggregates = {"source": AccountViewSet, "target": AccountViewSet}


class BatchViewSet(api.BatchViewSet):
    """Several commands on accounts in one request."""

    viewsets = (AccountViewSet,)


class DailyTotalSerializer(serializers.ModelSerializer[DailyTotal]):
    """One day in one currency."""

    class Meta:
        model = DailyTotal
        fields = ("id", "day", "currency", "deposits", "withdrawals", "count")


class DailyTotalViewSet(api.WaitsForProjections, mixins.ListModelMixin, mixins.RetrieveModelMixin, api.ApiViewSet):
    """What came into the bank and left it each day, as far as the projection has come: see ``?wait_for=``."""

    queryset = DailyTotal.objects.all()
    serializer_class = DailyTotalSerializer
    pagination_class = api.KeysetPagination
    permission_classes = (api.CommandPermission,)
    projections: ClassVar[tuple[str, ...]] = (TOTALS,)

    def required_permissions(self) -> list[str]:
        """Return the permissions that a request needs."""
        return ["demo_bank.view_dailytotal"]
