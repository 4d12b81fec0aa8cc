"""Admins of leases that do not show every row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventsourcing_app.admin import EventSourcedAdmin
from tests.samples.ended import Lease

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest


class OwnLeases(EventSourcedAdmin[Lease]):
    """Shows some of the rows."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Lease]:
        return super().get_queryset(request).exclude(code="theirs")


class OwnAndGoneLeases(OwnLeases):
    """Shows those without a row, besides."""

    def may_view_without_row(self, request: HttpRequest, model: Any, stream_key: str) -> bool:
        return True
