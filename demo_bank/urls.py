"""Every address of the demo."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from rest_framework.routers import DefaultRouter

from demo_bank.api import AccountViewSet
from eventsourcing_app.api import (
    EventTypeViewSet,
    HealthView,
    ParkedEventViewSet,
    StoredEventViewSet,
    SubscriptionViewSet,
)

router = DefaultRouter()
router.include_format_suffixes = False
router.register("accounts", AccountViewSet, basename="account")
router.register("events", StoredEventViewSet, basename="event")
router.register("event-types", EventTypeViewSet, basename="event-type")
router.register("subscriptions", SubscriptionViewSet, basename="subscription")
router.register("parked", ParkedEventViewSet, basename="parked")

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("api/v1/health/", HealthView.as_view(), name="health"),
    path("api/v1/", include(router.urls)),
]
