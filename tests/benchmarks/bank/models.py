"""The account that is measured: an owner, a balance, and deposits. The peers' accounts have the same."""

from __future__ import annotations

from decimal import Decimal

from django.db import models

from eventsourcing_app import CommandRejected, applies, command
from eventsourcing_app.models import EventSourcedModel
from tests.benchmarks.bank.events import AccountOpened, MoneyDeposited


class Account(EventSourcedModel):
    stream_type = "bank.account"
    owner = models.CharField(max_length=120)
    balance = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal(0))

    class Meta(EventSourcedModel.Meta):
        app_label = "bank"

    def __str__(self) -> str:
        return self.owner

    @command(creates=True)
    def open(self, owner: str) -> None:
        self.record(AccountOpened(owner=owner))

    @command
    def deposit(self, amount: Decimal, reference: str) -> None:
        if amount <= 0:
            raise CommandRejected("A deposit must be positive.", code="amount_not_positive")
        self.record(MoneyDeposited(amount=amount, reference=reference))

    @applies(AccountOpened)
    def _opened(self, event: AccountOpened) -> None:
        self.owner = event.owner

    @applies(MoneyDeposited)
    def _deposited(self, event: MoneyDeposited) -> None:
        self.balance += event.amount
