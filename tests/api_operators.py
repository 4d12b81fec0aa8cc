"""What the tests of the operators' endpoints share: their addresses, and subscriptions that fail."""

from __future__ import annotations

from typing import Any

from django.urls import include, path
from rest_framework.routers import DefaultRouter

from eventsourcing_app import RecordedEvent, subscriber
from eventsourcing_app.api import ParkedEventViewSet, SubscriptionViewSet
from eventsourcing_app.models import ParkedEvent, StoredEvent
from tests.reactions_sample.scene import deliver, wallet
from tests.samples.events import MoneyAdded

router = DefaultRouter()
router.include_format_suffixes = False
router.register("subscriptions", SubscriptionViewSet, basename="subscription")
router.register("parked", ParkedEventViewSet, basename="parked")
urlpatterns = [path("api/", include(router.urls))]

NAME = "t.operated"
LIST, ONE, PARKED = "/api/subscriptions/", f"/api/subscriptions/{NAME}/", "/api/parked/"
WATCHER = ("eventsourcing_app.view_subscription", "eventsourcing_app.view_parkedevent")
OPERATOR = (*WATCHER, "eventsourcing_app.operate_subscription")
SECRET = "the reference of 4711"


def failing(fail_at: set[int], name: str = NAME, **options: Any) -> list[int | None]:
    """Subscribe a handler that fails on these versions, and quotes their payload; return what it was given."""
    given: list[int | None] = []

    @subscriber(name, MoneyAdded, **options)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        given.append(recorded.version)
        if recorded.version in fail_at:
            raise ValueError(SECRET)

    return given


def one_parked() -> ParkedEvent:
    failing({2})
    wallet(adds=3)
    deliver()
    return ParkedEvent.objects.get(state="failed", segment__subscription=NAME)


def acts() -> list[tuple[str, str, str]]:
    """What operators did, as the log tells it: what, who, why."""
    found = StoredEvent.objects.filter(stream_type__startswith="eventsourcing.", stream_key=NAME).order_by("position")
    return [(each.type.partition(".")[2], each.actor, each.data["reason"]) for each in found]
