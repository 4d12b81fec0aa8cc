"""What operators are shown, and what they send: subscriptions, parked events, and a reason for each act."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.validators import MaxValueValidator, MinValueValidator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework import serializers

from eventsourcing_app.access.subscriptions import MAX_BURST, MAX_REASON, quotes_payload
from eventsourcing_app.aggregates.arguments import LARGEST_INTEGER
from eventsourcing_app.api.commands import StrictSerializer
from eventsourcing_app.api.fields import (
    ExactCharField,
    ExactIntegerField,
    UTCField,
    WordField,
    whole_number,
)
from eventsourcing_app.subscriptions.rates import Rate
from eventsourcing_app.subscriptions.records import ParkedEvent, Subscription

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventsourcing_app.subscriptions.overview import Overview
    from eventsourcing_app.subscriptions.records import Segment

_NOT_NEGATIVE = MinValueValidator(0)
_LINE = 250
"""Characters of the last line of an error."""


class ReasonField(ExactCharField):
    """A text that says something."""

    default_error_messages = {"blank": gettext_lazy("Say why: it is kept in the log.")}

    def to_internal_value(self, data: Any) -> str:
        if not str(data).strip():
            self.fail("blank")
        return super().to_internal_value(data)


class ReasonSerializer(StrictSerializer):
    """Why an operator acts."""

    reason = ReasonField(max_length=MAX_REASON)


class RetrySerializer(ReasonSerializer):
    """Which parked event to try again; all of them without a position."""

    position = ExactIntegerField(required=False, allow_null=True, validators=[_NOT_NEGATIVE])


class SkipSerializer(ReasonSerializer):
    """Which event to give up."""

    position = ExactIntegerField(validators=[_NOT_NEGATIVE])


class StartField(serializers.Field[Any, Any, Any, Any]):
    """``"beginning"``, ``"now"`` or a position."""

    default_error_messages = {"invalid": gettext_lazy("It must be 'beginning', 'now' or the position of an event.")}

    def to_internal_value(self, data: Any) -> Any:
        if data in ("beginning", "now"):
            return data
        position = whole_number(data)
        if position is None or not 0 <= position <= LARGEST_INTEGER:
            self.fail("invalid")
        return position

    def to_representation(self, value: Any) -> Any:
        return value


class ResetSerializer(ReasonSerializer):
    """Where to move a subscription."""

    to = StartField()


class RateField(ExactCharField):
    """A rate, such as ``50/s``; empty for none."""

    def to_internal_value(self, data: Any) -> str:
        rate = super().to_internal_value(data)
        try:
            Rate.parse(rate)
        except ImproperlyConfigured as error:
            raise serializers.ValidationError(str(error), code="invalid") from error
        return rate


class RateSerializer(ReasonSerializer):
    """How many events a subscription may handle in a time, and at once."""

    rate = RateField(allow_blank=True, max_length=40)
    burst = ExactIntegerField(
        required=False, allow_null=True, validators=[MinValueValidator(1), MaxValueValidator(MAX_BURST)]
    )

    def validate(self, attrs: Any) -> Any:
        if attrs.get("burst") is not None and not attrs["rate"]:
            refused = serializers.ErrorDetail(_("Without a rate there is no burst."), code="invalid")
            raise serializers.ValidationError({"burst": [refused]})
        return attrs


class SegmentSerializer(serializers.Serializer[Any]):
    """How far the share of a subscription has come that one worker handles at a time."""

    number = serializers.IntegerField(read_only=True)
    checkpoint = serializers.IntegerField(read_only=True)
    parked = serializers.IntegerField(read_only=True)
    failed_position = serializers.IntegerField(read_only=True, allow_null=True)
    failed_at = UTCField(read_only=True, allow_null=True)
    retry_at = UTCField(read_only=True, allow_null=True)


class SegmentDetailSerializer(SegmentSerializer):
    """The same with its last error, traceback included."""

    attempts = serializers.IntegerField(read_only=True)
    last_error = serializers.SerializerMethodField()

    def get_last_error(self, segment: Segment) -> str | None:
        """What it failed of last."""
        return _shown(segment.last_error, self.context)


class SubscriptionSerializer(serializers.Serializer[Any]):
    """A subscription: what it is, how far it is behind, and what it failed on."""

    name = serializers.CharField(source="row.name", read_only=True)
    kind = WordField(Subscription.Kind.values, source="row.kind")
    status = WordField(Subscription.Status.values, source="row.status")
    reason = serializers.SerializerMethodField()
    types = serializers.ListField(source="row.types", child=serializers.CharField(), read_only=True)
    rate = serializers.CharField(source="row.rate", read_only=True)
    burst = serializers.IntegerField(source="row.burst", read_only=True, allow_null=True)
    checkpoint = serializers.IntegerField(source="lag.checkpoint", read_only=True)
    lag_events = serializers.IntegerField(source="lag.events", read_only=True)
    lag_seconds = serializers.FloatField(source="lag.seconds", read_only=True)
    parked = serializers.IntegerField(source="lag.parked", read_only=True)
    dead = serializers.IntegerField(source="lag.dead", read_only=True)
    last_error = serializers.SerializerMethodField()
    failed_at = UTCField(source="failed.failed_at", read_only=True, allow_null=True, default=None)
    masked = serializers.SerializerMethodField()
    segments = SegmentSerializer(many=True, read_only=True)

    def get_reason(self, overview: Overview) -> str | None:
        """Why it is paused or halted."""
        reason = overview.row.status_reason
        return _shown(reason, self.context) if quotes_payload(overview.row) else reason or None

    def get_last_error(self, overview: Overview) -> str | None:
        """The last line of the error of the segment that failed last."""
        failed = overview.failed
        return None if failed is None else _shown(failed.last_error.strip().rpartition("\n")[2][:_LINE], self.context)

    def get_masked(self, overview: Overview) -> bool:
        """Whether a text that may quote a payload was left out."""
        halted = quotes_payload(overview.row) and bool(overview.row.status_reason)
        return not _sees_payload(self.context) and (halted or overview.failed is not None)


class SubscriptionDetailSerializer(SubscriptionSerializer):
    """The same with the whole errors of its segments."""

    segments = SegmentDetailSerializer(many=True, read_only=True)


class RetriedSerializer(SubscriptionDetailSerializer):
    """The same after parked events were tried again."""

    retried = serializers.IntegerField(help_text="How many events are tried again.")


class CatchingUpSerializer(SubscriptionDetailSerializer):
    """The same after it was told to catch up."""

    position = serializers.IntegerField(help_text="Up to where it is served first.")


class ParkedEventSerializer(serializers.Serializer[Any]):
    """An event that a subscription failed on, or that waits behind one."""

    id = serializers.IntegerField(read_only=True)
    subscription = serializers.CharField(source="segment.subscription_id", read_only=True)
    segment = serializers.IntegerField(source="segment.number", read_only=True)
    position = serializers.IntegerField(read_only=True)
    event_id = serializers.UUIDField(read_only=True)
    type = serializers.CharField(read_only=True)
    stream_type = serializers.CharField(read_only=True)
    stream_key = serializers.CharField(read_only=True)
    state = WordField(ParkedEvent.State.values)
    attempts = serializers.IntegerField(read_only=True)
    first_failed_at = UTCField(read_only=True, allow_null=True)
    last_failed_at = UTCField(read_only=True, allow_null=True)
    retry_at = UTCField(read_only=True, allow_null=True)
    reason = serializers.SerializerMethodField()
    masked = serializers.SerializerMethodField()

    def get_reason(self, parked: ParkedEvent) -> str | None:
        """The error in one line."""
        return _shown(parked.reason, self.context)

    def get_masked(self, parked: ParkedEvent) -> bool:
        """Whether a text that may quote a payload was left out."""
        return not _sees_payload(self.context) and bool(parked.reason or parked.error)


class ParkedEventDetailSerializer(ParkedEventSerializer):
    """The same with the whole error, traceback included."""

    error = serializers.SerializerMethodField()

    def get_error(self, parked: ParkedEvent) -> str | None:
        """The error, as it was recorded."""
        return _shown(parked.error, self.context)


def _sees_payload(context: Mapping[str, Any]) -> bool:
    return context.get("may_view_payload") is True


def _shown(text: str, context: Mapping[str, Any]) -> str | None:
    return text if text and _sees_payload(context) else None
