"""The table in which the receipts of repeatable commands are kept."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class StoredReceipt(models.Model):
    """The receipt of a command that was run with an idempotency key, written in the transaction of its events."""

    actor = models.CharField(_("actor"), max_length=150)
    operation = models.CharField(_("operation"), max_length=300)
    stream_key = models.CharField(_("stream key"), max_length=255)
    """Empty where the operation creates an aggregate or spans several."""
    key = models.CharField(_("idempotency key"), max_length=255)
    fingerprint = models.BinaryField(_("fingerprint of the request"), max_length=32)
    result = models.JSONField(_("result"))
    # For an API that answers a repetition with the very bytes of the first answer.
    response_status = models.PositiveSmallIntegerField(_("response status"), null=True)
    response_body = models.TextField(_("response body"), blank=True, default="")
    recorded_at = models.DateTimeField(_("recorded at"))

    class Meta:
        default_permissions = ()
        verbose_name = _("receipt")
        verbose_name_plural = _("receipts")
        constraints = (
            models.UniqueConstraint(
                fields=("actor", "operation", "stream_key", "key"), name="eventsourcing_idempotency_key"
            ),
        )
        indexes = (
            # Expiry: the oldest receipts.
            models.Index(fields=("recorded_at",), name="eventsourcing_receipt_age"),
        )

    def __str__(self) -> str:
        return f"{self.operation} {self.key}"
