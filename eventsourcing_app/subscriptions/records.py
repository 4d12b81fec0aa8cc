"""The durable progress of subscriptions: one row a subscription, one a segment, from its first day; one a parked event.

Checkpoints and parked events change only under the lock of their segment's row.
"""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


class Subscription(models.Model):
    """A projection or subscriber that the database knows, whether or not the code still does."""

    class Kind(models.TextChoices):
        PROJECTION = "projection", _("projection")
        SUBSCRIBER = "subscriber", _("subscriber")
        REBUILD = "rebuild", _("rebuild of a projection")

    class Status(models.TextChoices):
        ACTIVE = "active", pgettext_lazy("subscription", "active")
        PAUSED = "paused", _("paused")
        HALTED = "halted", _("halted")
        UNSUBSCRIBED = "unsubscribed", _("unsubscribed")

    name = models.CharField(_("name"), max_length=200, primary_key=True)
    kind = models.CharField(_("kind"), max_length=20, choices=Kind.choices)
    status = models.CharField(_("status"), max_length=20, choices=Status.choices, default=Status.ACTIVE)
    status_reason = models.TextField(_("reason of the status"), blank=True, default="")
    """Why it is paused or halted, for people."""
    types = models.JSONField(_("event types"), default=list)
    """The wire names and patterns it reacts to. Code that does not react to one of them may be older, and leaves it
    alone: it would move the checkpoint past events that it does not look for."""
    fingerprint = models.CharField(_("fingerprint"), max_length=64, default="")
    """Of its name and types: code with another definition claims nothing of it."""
    segment_count = models.PositiveSmallIntegerField(_("segments"), default=1)
    """Fixed: with another number, the streams would be in other segments than their checkpoints."""
    started_after = models.PositiveBigIntegerField(_("started after position"), default=0)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    handler = models.CharField(_("handler"), max_length=250, blank=True, default="")
    """Path of the function that was subscribed at run time; empty for what the code declares."""
    options = models.JSONField(_("options"), default=dict)
    """How it was subscribed at run time; of a rebuild, which code it is of."""

    rate = models.CharField(_("rate"), max_length=40, blank=True, default="")
    burst = models.PositiveIntegerField(_("burst"), null=True)
    declared_rate = models.CharField(_("declared rate"), max_length=60, blank=True, default="")
    """As the code had it last: what an operator has set since stays until the code says something new."""
    tokens = models.FloatField(_("tokens"), default=0)
    refilled_at = models.DateTimeField(_("refilled at"), null=True)

    class Meta:
        ordering = ("name",)
        default_permissions = ("view",)
        permissions = (("operate_subscription", _("Can operate subscriptions")),)
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
    """Every matching event at or below it has been handled, or is parked."""
    token = models.UUIDField(_("claim token"), null=True)
    """Whose turn it is: that of a worker's run. A checkpoint moves only under the token that claimed it."""
    claimed_until = models.DateTimeField(_("claimed until"), null=True)
    lost = models.BooleanField(_("was left by a worker that died"), default=False)
    """Whether a claim never ended, because the worker died, perhaps of an event, and nobody has looked into it yet."""
    served_at = models.DateTimeField(_("served at"), null=True)
    """When it was last served: the longest unserved comes first."""
    slow = models.BooleanField(_("slow"), default=False)
    """Whether its handler took its time: it is then claimed alone, so that others do not wait for it."""
    # What a claim covers, for whoever looks into the table.
    in_flight_from = models.PositiveBigIntegerField(_("in flight from"), null=True)
    in_flight_to = models.PositiveBigIntegerField(_("in flight to"), null=True)
    careful_until = models.PositiveBigIntegerField(_("careful until"), default=0)
    """Up to it, after a failure: one event at a time, each attempt committed before it."""
    attempted_position = models.PositiveBigIntegerField(_("attempted position"), null=True)
    """The one event that is being handled in careful mode, or that a halting subscription stopped at."""
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    """How often that one was tried."""
    failed_position = models.PositiveBigIntegerField(_("failed position"), null=True)
    """The event that it stopped at, if it did."""
    last_error = models.TextField(_("last error"), blank=True, default="")
    failed_at = models.DateTimeField(_("failed at"), null=True)
    retry_at = models.DateTimeField(_("retry at"), null=True)
    """Not to be served before: after a failure, or because of its rate."""
    parked = models.PositiveIntegerField(_("parked events"), default=0)
    parked_due_at = models.DateTimeField(_("parked events due at"), null=True)

    class Meta:
        ordering = ("subscription", "number")
        default_permissions = ("view",)
        verbose_name = _("segment")
        verbose_name_plural = _("segments")
        constraints = (models.UniqueConstraint(fields=("subscription", "number"), name="eventsourcing_segment"),)

    def __str__(self) -> str:
        return f"{self.subscription_id} [{self.number}] at {self.checkpoint}"

    @property
    def stopped_at(self) -> int | None:
        """The event that it has stopped at, if it has not got past it since."""
        failed = self.failed_position
        return failed if failed is not None and failed > self.checkpoint else None


class ParkedEvent(models.Model):
    """An event that a subscription failed on, or that waits behind one of its stream. The checkpoint has passed it."""

    class State(models.TextChoices):
        FAILED = "failed", _("failed, will be tried again")
        BEHIND = "behind", _("waits behind another of its stream")
        DEAD = "dead", _("dead: will not be tried again by itself")

    segment = models.ForeignKey(
        Segment, on_delete=models.CASCADE, related_name="parked_events", verbose_name=_("segment")
    )
    position = models.PositiveBigIntegerField(_("position"))
    event_id = models.UUIDField(_("event id"))
    type = models.CharField(_("type"), max_length=200)
    stream_type = models.CharField(_("stream type"), max_length=200)
    stream_key = models.CharField(_("stream key"), max_length=255)
    sequence = models.CharField(_("sequence"), max_length=64)
    """Tells which events must be handled one after the other: see ``sequences``."""
    state = models.CharField(_("state"), max_length=10, choices=State.choices)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    first_failed_at = models.DateTimeField(_("first failed at"), null=True)
    last_failed_at = models.DateTimeField(_("last failed at"), null=True)
    retry_at = models.DateTimeField(_("retry at"), null=True)
    reason = models.CharField(_("reason"), max_length=250, blank=True, default="")
    """The error in one line."""
    error = models.TextField(_("error"), blank=True, default="")

    class Meta:
        ordering = ("segment", "position")
        default_permissions = ("view",)
        verbose_name = _("parked event")
        verbose_name_plural = _("parked events")
        constraints = (models.UniqueConstraint(fields=("segment", "position"), name="eventsourcing_parked"),)
        indexes = (
            # The streams that wait, in order.
            models.Index(fields=("segment", "sequence", "position"), name="eventsourcing_parked_sequence"),
            # What failed last, and how many are dead, however many are parked.
            models.Index(
                fields=("segment", "last_failed_at", "position"),
                condition=models.Q(last_failed_at__isnull=False),
                name="eventsourcing_parked_failed",
            ),
            models.Index(fields=("segment",), condition=models.Q(state="dead"), name="eventsourcing_parked_dead"),
        )

    def __str__(self) -> str:
        return f"#{self.position} {self.type} ({self.state})"


class Wake(models.Model):
    """The hint that there may be work, at most one outstanding per slot. Never the truth about what is to be done."""

    slot = models.PositiveSmallIntegerField(primary_key=True, default=1)
    requested_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"slot {self.slot}"
