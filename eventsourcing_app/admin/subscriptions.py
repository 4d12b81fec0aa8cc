"""Subscriptions in the admin: how far each has come, and what stopped it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db import models
from django.db.models import Max, Min
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from eventsourcing_app.admin.presentation import NOTHING, utc
from eventsourcing_app.admin.read_only import ReadOnlyAdmin
from eventsourcing_app.conf import conf
from eventsourcing_app.subscriptions.records import Segment, Subscription

if TYPE_CHECKING:
    from django.http import HttpRequest

    _SegmentInline = admin.TabularInline[Segment, Subscription]
else:
    _SegmentInline = admin.TabularInline

_ERROR = 160


class SegmentInline(_SegmentInline):
    """The segments of a subscription."""

    model = Segment
    extra = 0
    can_delete = False
    fields = readonly_fields = (
        "number", "checkpoint", "attempts", "failed_position", "failed", "retry", "error",
    )  # fmt: skip

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("eventsourcing_app.view_subscription")

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Segment]:
        return super().get_queryset(request).using(conf.DATABASE)

    @admin.display(description=_("failed at"))
    def failed(self, segment: Segment) -> str:
        """When it failed last."""
        return NOTHING if segment.failed_at is None else utc(segment.failed_at)

    @admin.display(description=_("retry at"))
    def retry(self, segment: Segment) -> str:
        """When it will be tried again."""
        return NOTHING if segment.retry_at is None else utc(segment.retry_at)

    @admin.display(description=_("last error"))
    def error(self, segment: Segment) -> str:
        """The whole error, as it was recorded."""
        return format_html('<pre class="es-error">{}</pre>', segment.last_error) if segment.last_error else NOTHING


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyAdmin[Subscription]):
    """The subscriptions that the database knows."""

    list_display = ("name", "kind", "status", "checkpoint", "failed", "last_error")
    list_filter = ("kind", "status")
    inlines = (SegmentInline,)
    fields = readonly_fields = ("name", "kind", "status", "segment_count", "started_after", "created")

    class Media:
        css = {"all": ["eventsourcing_app/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Subscription]:
        subscriptions = super().get_queryset(request)
        return subscriptions.annotate(
            lowest_checkpoint=Min("segments__checkpoint"), failed_at=Max("segments__failed_at")
        ).prefetch_related("segments")

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup in ("kind__exact", "status__exact")

    @admin.display(description=_("checkpoint"), ordering="lowest_checkpoint", empty_value="—")
    def checkpoint(self, subscription: Any) -> int | None:
        """Every matching event at or below it has been handled."""
        lowest: int | None = subscription.lowest_checkpoint
        return lowest

    @admin.display(description=_("failed at"), ordering="failed_at", empty_value="—")
    def failed(self, subscription: Any) -> str | None:
        """When one of its segments failed last."""
        return None if subscription.failed_at is None else utc(subscription.failed_at)

    @admin.display(description=_("last error"), empty_value="—")
    def last_error(self, subscription: Subscription) -> str | None:
        """The last line of the error of a segment."""
        errors = [segment.last_error for segment in subscription.segments.all() if segment.last_error]
        return errors[0].strip().rpartition("\n")[2][:_ERROR] if errors else None

    @admin.display(description=_("created at"))
    def created(self, subscription: Subscription) -> str:
        """When it was first seen."""
        return utc(subscription.created_at)
