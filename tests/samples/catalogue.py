"""A table with a column of each kind, as a project has it before its model is event-sourced; and its opening event."""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from django.db import models

from eventsourcing_app import applies, command, event
from eventsourcing_app.models import EventSourcedModel


class Status(models.TextChoices):
    """Whether an article is on sale."""

    DRAFT = "draft", "Draft"
    SOLD = "sold", "On sale"


@event("samples.article_adopted")
class ArticleAdopted:
    name: str
    price: Decimal
    status: Status
    stock: int
    weight: float | None
    listed: bool
    reviewed: bool | None
    made: date
    seen: datetime | None
    opens: time | None
    lasts: timedelta | None
    ident: UUID | None
    labels: list[str]
    extra: str | None
    sheet: str
    scan: str
    address: str | None
    shelf_id: str | None
    parent: int | None


@event("samples.article_renamed")
class ArticleRenamed:
    name: str


class Shelf(models.Model):
    """An ordinary model that articles stand on."""

    code = models.CharField(max_length=20, primary_key=True)


class Article(EventSourcedModel):
    """It keeps its integer key, and one column has no history."""

    stream_type = "samples.article"
    adoption_event: ClassVar[type | None] = ArticleAdopted
    unrecorded = ("hits",)

    id = models.AutoField(primary_key=True)  # type: ignore[assignment]  # the base has a UUID
    name = models.CharField(max_length=40)
    price = models.DecimalField(max_digits=12, decimal_places=3)
    status = models.CharField(max_length=10, choices=Status, default=Status.DRAFT)
    stock = models.IntegerField(default=0)
    weight = models.FloatField(null=True)
    listed = models.BooleanField(default=True)
    reviewed = models.BooleanField(null=True)
    made = models.DateField()
    seen = models.DateTimeField(null=True)
    opens = models.TimeField(null=True)
    lasts = models.DurationField(null=True)
    ident = models.UUIDField(null=True)
    labels = models.JSONField(default=list)
    extra = models.JSONField(null=True)
    sheet = models.JSONField(default=dict)
    scan = models.FileField(blank=True, default="")
    address = models.GenericIPAddressField(null=True)
    shelf = models.ForeignKey(Shelf, on_delete=models.PROTECT, null=True, related_name="+")
    parent = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="+")
    hits = models.IntegerField(default=0)
    doubled = models.GeneratedField(
        expression=models.F("stock") * 2, output_field=models.IntegerField(), db_persist=True
    )

    @command
    def rename(self, name: str) -> None:
        """Give it another name."""
        self.record(ArticleRenamed(name=name))

    @applies(ArticleAdopted)
    def _adopted(self, event: ArticleAdopted) -> None:
        self.name, self.price, self.status, self.stock = event.name, event.price, event.status, event.stock
        self.weight, self.listed, self.reviewed = event.weight, event.listed, event.reviewed
        self.made, self.seen, self.opens, self.lasts = event.made, event.seen, event.opens, event.lasts
        self.ident, self.labels, self.scan, self.address = event.ident, event.labels, event.scan, event.address
        self.extra = None if event.extra is None else json.loads(event.extra)
        self.sheet = json.loads(event.sheet)
        self.shelf_id, self.parent_id = event.shelf_id, event.parent

    @applies(ArticleRenamed)
    def _renamed(self, event: ArticleRenamed) -> None:
        self.name = event.name
