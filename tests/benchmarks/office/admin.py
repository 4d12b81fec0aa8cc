"""The admin of the measured models, as a project would write it."""

from __future__ import annotations

from django.contrib import admin

from eventsourcing_app.admin import EventSourcedAdmin
from tests.benchmarks.bank.models import Account
from tests.benchmarks.office.models import Loan


@admin.register(Account)
class AccountAdmin(EventSourcedAdmin[Account]):
    pass


@admin.register(Loan)
class LoanAdmin(EventSourcedAdmin[Loan]):
    pass
