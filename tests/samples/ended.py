"""Event-sourced models that come to an end, some without leaving a row, and rows that point at those."""

from __future__ import annotations

from django.db import models

from eventsourcing_app import applies, command, event
from eventsourcing_app.models import EventSourcedModel


@event("samples.begun")
class Begun:
    text: str = ""


@event("samples.went_on")
class WentOn:
    text: str


@event("samples.ended", ends=True)
class Ended:
    text: str = ""


class Ending(EventSourcedModel):
    """What begins, goes on and ends."""

    text = models.CharField(max_length=40, blank=True, default="")
    memo = models.CharField(max_length=40, blank=True, default="")

    unrecorded = ("memo",)

    class Meta:
        abstract = True

    @command(creates=True)
    def begin(self, text: str = "", pk: str = "") -> None:
        """Begin, under a natural key if one is given."""
        if pk:
            self.pk = pk
        self.record(Begun(text=text))

    @command
    def go_on(self, text: str) -> None:
        """Go on."""
        self.record(WentOn(text=text))

    @command
    def end(self, text: str = "") -> None:
        """End."""
        self.record(Ended(text=text))

    @applies(Begun, WentOn, Ended)
    def _said(self, event: Begun | WentOn | Ended) -> None:
        self.text = event.text


class Lease(Ending):
    """It has a natural key and leaves no row."""

    stream_type = "samples.lease"
    remove_row_at_end = True

    code = models.CharField(max_length=20, primary_key=True)


class Desk(Ending):
    """It has a natural key and keeps its row."""

    stream_type = "samples.desk"

    code = models.CharField(max_length=20, primary_key=True)


class Ticket(Ending):
    """The database draws the key; it leaves no row."""

    stream_type = "samples.ticket"
    remove_row_at_end = True

    number = models.BigAutoField(primary_key=True)


class Visit(Ending):
    """It has the key of the base and leaves no row."""

    stream_type = "samples.visit"
    remove_row_at_end = True


class Pointer(models.Model):
    """A row that points at a lease, in each way that Django has."""

    protects = models.ForeignKey(Lease, on_delete=models.PROTECT, null=True, related_name="+")
    restricts = models.ForeignKey(Lease, on_delete=models.RESTRICT, null=True, related_name="+")
    nothing = models.ForeignKey(Lease, on_delete=models.DO_NOTHING, null=True, related_name="+")
    cascades = models.ForeignKey(Lease, on_delete=models.CASCADE, null=True, related_name="+")
    nulls = models.ForeignKey(Lease, on_delete=models.SET_NULL, null=True, related_name="+")
