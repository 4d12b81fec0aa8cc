"""Loans, of which the newer half of a log tells: what is asked of accounts then lies far from its end."""

from __future__ import annotations

from decimal import Decimal

from django.db import models

from eventsourcing_app import applies, command, event
from eventsourcing_app.models import EventSourcedModel


@event("office.loan_granted")
class LoanGranted:
    owner: str


@event("office.loan_repaid")
class LoanRepaid:
    amount: Decimal
    reference: str


class Loan(EventSourcedModel):
    stream_type = "office.loan"
    owner = models.CharField(max_length=120)
    repaid = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal(0))

    class Meta(EventSourcedModel.Meta):
        app_label = "office"

    def __str__(self) -> str:
        return self.owner

    @command(creates=True)
    def open(self, owner: str) -> None:
        self.record(LoanGranted(owner=owner))

    @command
    def deposit(self, amount: Decimal, reference: str) -> None:
        self.record(LoanRepaid(amount=amount, reference=reference))

    @applies(LoanGranted)
    def _granted(self, event: LoanGranted) -> None:
        self.owner = event.owner

    @applies(LoanRepaid)
    def _repaid(self, event: LoanRepaid) -> None:
        self.repaid += event.amount
