"""The durable progress of subscriptions: one row a subscription, one a segment, from its first day."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Subscription(models.Model):
    """A projection or subscriber that the database knows, whether or not the code still does."""

    class Kind(models.TextChoices):
        PROJECTION = "projection", _("projection")
        SUBSCRIBER = "subscriber", _("subscriber")

    class Status(models.TextChoices):
        ACTIVE = "active", _("active")
        PAUSED = "paused", _("paused")
        HALTED = "halted", _("halted")

    name = models.CharField(_("name"), max_length=200, primary_key=True)
    kind = models.CharField(_("kind"), max_length=20, choices=Kind.choices)
    status = models.CharField(_("status"), max_length=20, choices=Status.choices, default=Status.ACTIVE)
    types = models.JSONField(_("event types"), default=list)
    """The wire names it reacts to. Code that does not react to one of them may be older, and leaves it alone: it would
    move the checkpoint past events that it does not look for."""
    fingerprint = models.CharField(_("fingerprint"), max_length=64, default="")
    """Of its name and types: code with another definition claims nothing of it."""
    # Of more segments than one, and of pausing and halting, nothing makes use yet; the rows are ready for it.
    segment_count = models.PositiveSmallIntegerField(_("segments"), default=1)
    started_after = models.PositiveBigIntegerField(_("started after position"), default=0)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        ordering = ("name",)
        default_permissions = ("view",)
        verbose_name = _("subscription")
        verbose_name_plural = _("subscriptions")

    def __str__(self) -> str:
        return self.name


class Segment(models.Model):
    """The share of a subscription that one worker handles at a time: its checkpoint, its claim and its last failure."""

    subscription = models.ForeignKey(
        Subscription, on_delete=models.CASCADE, related_name="segments", verbose_name=_("subscription")
    )
    number = models.PositiveSmallIntegerField(_("number"), default=0)
    checkpoint = models.PositiveBigIntegerField(_("checkpoint"), default=0)
    """Every matching event at or below it has been handled."""
    token = models.UUIDField(_("claim token"), null=True)
    """Whose turn it is; a checkpoint moves only under the token that claimed it."""
    claimed_until = models.DateTimeField(_("claimed until"), null=True)
    served_at = models.DateTimeField(_("served at"), null=True)
    """When it was last claimed: the longest unserved comes first."""
    # What a claim covers, for whoever looks into the table.
    in_flight_from = models.PositiveBigIntegerField(_("in flight from"), null=True)
    in_flight_to = models.PositiveBigIntegerField(_("in flight to"), null=True)
    careful_until = models.PositiveBigIntegerField(_("careful until"), default=0)
    """Below it, after a failure: one event at a time, each attempt committed before it."""
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    failed_position = models.PositiveBigIntegerField(_("failed position"), null=True)
    last_error = models.TextField(_("last error"), blank=True, default="")
    failed_at = models.DateTimeField(_("failed at"), null=True)
    retry_at = models.DateTimeField(_("retry at"), null=True)

    class Meta:
        ordering = ("subscription", "number")
        default_permissions = ("view",)
        verbose_name = _("segment")
        verbose_name_plural = _("segments")
        constraints = (models.UniqueConstraint(fields=("subscription", "number"), name="eventsourcing_segment"),)

    def __str__(self) -> str:
        return f"{self.subscription_id} [{self.number}] at {self.checkpoint}"


class Wake(models.Model):
    """The hint that there may be work, at most one outstanding per slot. Never the truth about what is to be done."""

    slot = models.PositiveSmallIntegerField(primary_key=True, default=1)
    requested_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"slot {self.slot}"
