"""The tables of rebuilds: which models are due for one, and how far the one of each model has come."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class DueRebuild(models.Model):
    """A model whose rows are no longer the fold of its events since a migration; ``RebuildState`` adds it."""

    model = models.CharField(_("model"), max_length=200, primary_key=True)
    """``app_label.modelname``, as it was called when the migration ran."""
    marked_at = models.DateTimeField(_("marked at"), default=timezone.now)

    class Meta:
        default_permissions = ()
        verbose_name = _("due rebuild")
        verbose_name_plural = _("due rebuilds")

    def __str__(self) -> str:
        return self.model


class RebuildRun(models.Model):
    """The latest rebuild of a model: kept, so that one which was killed goes on where it was."""

    model = models.CharField(_("model"), max_length=200, primary_key=True)
    check_only = models.BooleanField(_("only compares"))
    code = models.CharField(_("fingerprint of the code"), max_length=64)
    due = models.DateTimeField(_("mark that it answers"), null=True)
    """``marked_at`` of the model's ``DueRebuild`` when this began."""
    started_at = models.DateTimeField(_("started at"))
    active_at = models.DateTimeField(_("active at"))
    finished_at = models.DateTimeField(_("finished at"), null=True)
    aggregates = models.PositiveBigIntegerField(_("aggregates"), default=0)
    events = models.PositiveBigIntegerField(_("events"), default=0)
    drifted = models.PositiveBigIntegerField(_("rows that differed"), default=0)
    left = models.PositiveBigIntegerField(_("rows not repaired"), default=0)

    class Meta:
        default_permissions = ()
        verbose_name = _("rebuild")
        verbose_name_plural = _("rebuilds")

    def __str__(self) -> str:
        return self.model


class RebuildPart(models.Model):
    """A part of a rebuild: a range of streams, or of rows to be looked up in the log. Removed at the end of the run."""

    STREAMS, ROWS = "streams", "rows"

    run = models.ForeignKey(RebuildRun, models.CASCADE, related_name="parts", verbose_name=_("rebuild"))
    number = models.PositiveIntegerField(_("number"))
    kind = models.CharField(_("kind"), max_length=10, choices=((STREAMS, STREAMS), (ROWS, ROWS)))
    after_key = models.CharField(_("after key"), max_length=255)
    until_key = models.CharField(_("until key"), max_length=255, null=True)  # noqa: DJ001 - no end is not an empty key
    planned_events = models.PositiveBigIntegerField(_("planned events"), default=0)
    finished = models.BooleanField(_("finished"), default=False)
    aggregates = models.PositiveBigIntegerField(_("aggregates"), default=0)
    events = models.PositiveBigIntegerField(_("events"), default=0)

    class Meta:
        default_permissions = ()
        verbose_name = _("part of a rebuild")
        verbose_name_plural = _("parts of rebuilds")
        constraints = (models.UniqueConstraint(fields=("run", "number"), name="eventsourcing_rebuild_part"),)

    def __str__(self) -> str:
        return f"{self.run_id} {self.number}"


class RebuildFinding(models.Model):
    """A row that differed, stored with its repair, so that a killed rebuild still tells of it. Removed when told."""

    part = models.ForeignKey(RebuildPart, models.CASCADE, related_name="findings", verbose_name=_("part"))
    stream_key = models.CharField(_("stream key"), max_length=255)
    problem = models.CharField(_("problem"), max_length=20)
    fields = models.JSONField(_("fields"), default=dict)
    """For each field that differs: what the row held, and what history says."""
    version = models.PositiveBigIntegerField(_("version"), null=True)
    position = models.PositiveBigIntegerField(_("position"), null=True)
    type = models.CharField(_("type"), max_length=200, blank=True, default="")
    left = models.BooleanField(_("not repaired"))
    refusal = models.TextField(_("why it was not repaired"), blank=True, default="")

    class Meta:
        default_permissions = ()
        verbose_name = _("finding of a rebuild")
        verbose_name_plural = _("findings of rebuilds")
        constraints = (models.UniqueConstraint(fields=("part", "stream_key"), name="eventsourcing_rebuild_finding"),)

    def __str__(self) -> str:
        return f"{self.stream_key} {self.problem}"
