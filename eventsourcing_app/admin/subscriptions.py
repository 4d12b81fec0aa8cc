"""Subscriptions in the admin: how far each has come, and what stopped it.

Errors may quote what an event says, so they are shown to those only who may see that, and nothing is ordered by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db import models
from django.db.models import Max, Min, Sum
from django.utils.translation import gettext_lazy as _

from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.access.subscriptions import quotes_payload
from eventsourcing_app.access.visibility import naming_narrowed
from eventsourcing_app.admin.read_only import ReadOnlyAdmin
from eventsourcing_app.admin.times import utc
from eventsourcing_app.admin.values import NOTHING, masked, trace
from eventsourcing_app.conf import conf
from eventsourcing_app.subscriptions.records import ParkedEvent, Segment, Subscription

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
    _shows_errors = False  # an inline is made for each request, and asks for its rows before it shows them
    fields = readonly_fields = (
        "number", "checkpoint", "parked", "attempts", "failed_position", "failed", "retry", "error",
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
        self._shows_errors = may_view_payload(request.user)
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
        return trace(segment.last_error) if self._shows_errors or not segment.last_error else masked()


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyAdmin[Subscription]):
    """The subscriptions that the database knows."""

    list_display = ("name", "kind", "status", "checkpoint", "parked", "failed")
    list_filter = ("kind", "status")
    inlines = (SegmentInline,)
    fields = readonly_fields = (
        "name", "kind", "status", "rate", "segment_count", "started_after", "created",
    )  # fmt: skip

    class Media:
        css = {"all": ["eventsourcing_app/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Subscription]:
        subscriptions = super().get_queryset(request)
        return subscriptions.annotate(
            lowest_checkpoint=Min("segments__checkpoint"),
            failed_at=Max("segments__failed_at"),
            all_parked=Sum("segments__parked"),
        ).prefetch_related("segments")

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup in ("kind__exact", "status__exact")

    @admin.display(description=_("checkpoint"), ordering="lowest_checkpoint", empty_value="—")
    def checkpoint(self, subscription: Any) -> int | None:
        """Every matching event at or below it has been handled."""
        lowest: int | None = subscription.lowest_checkpoint
        return lowest

    @admin.display(description=_("parked events"), ordering="all_parked")
    def parked(self, subscription: Any) -> int:
        """How many events failed, or wait behind one that did."""
        count: int = subscription.all_parked or 0
        return count

    @admin.display(description=_("failed at"), ordering="failed_at", empty_value="—")
    def failed(self, subscription: Any) -> str | None:
        """When one of its segments failed last."""
        return None if subscription.failed_at is None else utc(subscription.failed_at)

    def get_list_display(self, request: HttpRequest) -> Any:
        shown = may_view_payload(request.user)

        @admin.display(description=_("last error"), empty_value="—")
        def last_error(subscription: Subscription) -> str | None:
            errors = [segment.last_error for segment in subscription.segments.all() if segment.last_error]
            if not errors:
                return None
            return errors[0].strip().rpartition("\n")[2][:_ERROR] if shown else masked()

        return [*self.list_display, last_error]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = may_view_payload(request.user)

        @admin.display(description=_("reason of the status"), empty_value="—")
        def reason(subscription: Subscription) -> str | None:
            hidden = subscription.status_reason and quotes_payload(subscription) and not shown
            return masked() if hidden else subscription.status_reason or None

        return [*self.fields, reason]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.get_fields(request, obj)

    @admin.display(description=_("created at"))
    def created(self, subscription: Subscription) -> str:
        """When it was first seen."""
        return utc(subscription.created_at)


@admin.register(ParkedEvent)
class ParkedEventAdmin(ReadOnlyAdmin[ParkedEvent]):
    """The events that subscriptions failed on, and those that wait behind them."""

    list_display = ("position", "subscription", "type", "stream", "state", "attempts", "retry")
    list_filter = ("state",)
    list_select_related = ("segment",)
    fields = readonly_fields = (
        "position", "subscription", "type", "stream", "state", "attempts", "first", "last", "retry",
    )  # fmt: skip

    class Media:
        css = {"all": ["eventsourcing_app/admin.css"]}

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup == "state__exact"

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[ParkedEvent]:
        return naming_narrowed(super().get_queryset(request), request.user)

    @admin.display(description=_("subscription"), ordering="segment__subscription")
    def subscription(self, parked: ParkedEvent) -> str:
        """Which subscription failed on it."""
        return parked.segment.subscription_id

    @admin.display(description=_("stream"))
    def stream(self, parked: ParkedEvent) -> str:
        """The stream, of which later events wait."""
        return f"{parked.stream_type} {parked.stream_key}".strip()

    @admin.display(description=_("first failed at"))
    def first(self, parked: ParkedEvent) -> str:
        """When it failed first."""
        return NOTHING if parked.first_failed_at is None else utc(parked.first_failed_at)

    @admin.display(description=_("last failed at"))
    def last(self, parked: ParkedEvent) -> str:
        """When it failed last."""
        return NOTHING if parked.last_failed_at is None else utc(parked.last_failed_at)

    @admin.display(description=_("retry at"), ordering="retry_at")
    def retry(self, parked: ParkedEvent) -> str:
        """When it will be tried again."""
        return NOTHING if parked.retry_at is None else utc(parked.retry_at)

    def get_list_display(self, request: HttpRequest) -> Any:
        shown = may_view_payload(request.user)

        @admin.display(description=_("reason"))
        def reason(parked: ParkedEvent) -> str:
            return parked.reason if shown or not parked.reason else masked()

        return [*self.list_display, reason]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = may_view_payload(request.user)

        @admin.display(description=_("error"))
        def whole_error(parked: ParkedEvent) -> str:
            return trace(parked.error) if shown or not parked.error else masked()

        return [*self.fields, whole_error]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.get_fields(request, obj)
