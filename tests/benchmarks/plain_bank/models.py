"""The account as an ordinary model with a history. What a deposit says is in the row, so that its history keeps it."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import ClassVar, Self

from django.db import models
from simple_history.models import HistoricalRecords


class PlainAccount(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.CharField(max_length=120)
    balance = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal(0))
    amount = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal(0))
    reference = models.CharField(max_length=200, default="")
    objects: ClassVar[models.Manager[Self]] = models.Manager()
    history = HistoricalRecords()

    class Meta:
        app_label = "plain_bank"

    def __str__(self) -> str:
        return self.owner
