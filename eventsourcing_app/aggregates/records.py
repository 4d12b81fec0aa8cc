"""The tables of aggregates beside the log: receipts of repeatable commands, and snapshots, which may be dropped."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from eventsourcing_app.log.columns import ByteOrderedCharField


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


class StoredSnapshot(models.Model):
    """The state of an aggregate after one of its versions, so that the past need not be folded from the first event.

    A cache: any row, and all of them, may be deleted at any time (``StoredSnapshot.objects.all().delete()``). A row is
    believed only as long as code, event and stamp are those that it was made with; see ``aggregates.past.snapshots``.
    """

    stream_type = ByteOrderedCharField(_("stream type"), max_length=200)
    stream_key = ByteOrderedCharField(_("stream key"), max_length=255)
    version = models.PositiveBigIntegerField(_("version"))
    recorded_at = models.DateTimeField(_("recorded at"))
    """When the event of that version was recorded."""
    event_hash = models.BinaryField(_("hash of the event"), max_length=32)
    fingerprint = models.BinaryField(_("fingerprint of the code"), max_length=32)
    """Of the code that folded the events; see ``aggregates.applycode``."""
    state = models.TextField(_("state"))
    """The fields that come from events, as JSON text."""
    stamp = models.BinaryField(_("stamp"), max_length=32)
    """HMAC over all the others, so that a row which somebody changed is not believed."""

    class Meta:
        default_permissions = ()
        verbose_name = _("snapshot")
        verbose_name_plural = _("snapshots")
        constraints = (
            # The newest of a stream up to a version, and one for each version.
            models.UniqueConstraint(fields=("stream_type", "stream_key", "version"), name="eventsourcing_snapshot"),
        )

    def __str__(self) -> str:
        return f"{self.stream_type} {self.stream_key} v{self.version}"
