"""The bank in the admin: accounts with their audit trail, and what the reactions have kept."""

from __future__ import annotations

from django.contrib import admin

from demo_bank.models import Account, AuditEntry, DailyTotal
from eventsourcing_app.admin import EventSourcedAdmin, ReadOnlyAdmin


@admin.register(Account)
class AccountAdmin(EventSourcedAdmin[Account]):
    """Accounts."""

    list_display = ("number", "owner", "balance", "currency", "status", "version", "changed")
    list_filter = ("status", "currency")
    search_fields = ("number", "owner")
    # Half a transfer is no command for a desk: demo_bank.transfers.transfer runs both of them.
    commands = ("open", "deposit", "withdraw", "freeze", "unfreeze", "close")


@admin.register(DailyTotal)
class DailyTotalAdmin(ReadOnlyAdmin[DailyTotal]):
    """Totals by day."""

    list_display = ("day", "currency", "deposits", "withdrawals", "count")
    list_filter = ("currency",)
    date_hierarchy = "day"


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin[AuditEntry]):
    """What the audit subscriber wrote down."""

    list_display = ("happened_at", "actor", "subject", "what")
    search_fields = ("actor__exact", "subject__exact")
