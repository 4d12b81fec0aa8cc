"""Read models of the storm's projections. No constraint hides a repetition: that is what the checker looks for."""

from __future__ import annotations

from django.db import models


class Folded(models.Model):
    """What a projection has folded of one stream: see ``checker.fold``."""

    subscription = models.CharField(max_length=80)
    stream = models.CharField(max_length=255)
    folded = models.CharField(max_length=120, default="")

    class Meta:
        abstract = True
        indexes = (models.Index(fields=("subscription", "stream")),)


class Tally(Folded):
    """Of all projections that are not rebuilt."""


class RebuiltTally(Folded):
    """Of the one that is rebuilt again and again: these tables are its own."""


class Entry(models.Model):
    """One event that a projection has handled; the keys tell the order."""

    subscription = models.CharField(max_length=80)
    position = models.BigIntegerField()
