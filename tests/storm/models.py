"""Read models of the storm's projections. No constraint hides a repetition: that is what the checker looks for."""

from __future__ import annotations

from django.db import models


class Tally(models.Model):
    """What a projection has folded of one stream: see ``checker.fold``."""

    subscription = models.CharField(max_length=80)
    stream = models.CharField(max_length=255)
    folded = models.CharField(max_length=120, default="")

    class Meta:
        indexes = (models.Index(fields=("subscription", "stream"), name="storm_tally_of_stream"),)


class Entry(models.Model):
    """One event that a projection has handled; the keys tell the order."""

    subscription = models.CharField(max_length=80)
    position = models.BigIntegerField()
