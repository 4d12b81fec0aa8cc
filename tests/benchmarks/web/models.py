"""The plain tables: an account that is simply updated, and a log that is simply listed."""

from __future__ import annotations

import uuid
from decimal import Decimal

from django.db import models


class PlainAccount(models.Model):
    """The account without its history."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.CharField(max_length=120)
    balance = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal(0))
    reference = models.CharField(max_length=200, default="")
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        app_label = "benchmark_web"

    def __str__(self) -> str:
        return self.owner


class PlainEvent(models.Model):
    """What a stored event holds, in an ordinary table."""

    position = models.BigAutoField(primary_key=True)
    event_id = models.UUIDField(unique=True)
    stream_type = models.CharField(max_length=200)
    stream_key = models.CharField(max_length=255)
    version = models.PositiveBigIntegerField(null=True)
    type = models.CharField(max_length=200)
    schema_version = models.PositiveSmallIntegerField()
    data = models.JSONField()
    metadata = models.JSONField()
    actor = models.CharField(max_length=150)
    correlation_id = models.CharField(max_length=128)
    causation_id = models.UUIDField(null=True)
    recorded_at = models.DateTimeField()
    hash = models.CharField(max_length=64)

    class Meta:
        app_label = "benchmark_web"

    def __str__(self) -> str:
        return self.type
