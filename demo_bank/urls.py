"""Every address of the demo."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.routers import DefaultRouter

from demo_bank.api import AccountViewSet, BatchViewSet, DailyTotalViewSet, TransferViewSet
from eventsourcing_app.api import (
    EventTypeViewSet,
    HealthView,
    ParkedEventViewSet,
    StoredEventStream,
    StoredEventViewSet,
    SubscriptionViewSet,
)

router = DefaultRouter()
router.include_format_suffixes = False
router.register("accounts", AccountViewSet, basename="account")
router.register("transfers", TransferViewSet, basename="transfer")
router.register("batch", BatchViewSet, basename="batch")
router.register("daily-totals", DailyTotalViewSet, basename="dailytotal")
router.register("events", StoredEventViewSet, basename="event")
router.register("event-types", EventTypeViewSet, basename="event-type")
router.register("subscriptions", SubscriptionViewSet, basename="subscription")
router.register("parked", ParkedEventViewSet, basename="parked")

docs = SpectacularSwaggerSplitView.as_view(
    template_name="eventsourcing_app/api_docs.html",
    http_method_names=("get", "head"),  # to OPTIONS it has no answer but an error of its own
)

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("login/", include("rest_framework.urls")),  # the link on pages of the API
    path("api/v1/events/stream/", StoredEventStream.as_view(), name="event-stream"),
    path("api/v1/health/", HealthView.as_view(), name="health"),
    path("api/v1/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/v1/docs/", docs, name="docs"),
    path("api/v1/", include(router.urls)),
]

# Problems for clients of the API, Django's pages for everybody else.
handler400 = "eventsourcing_app.api.handlers.bad_request"
handler403 = "eventsourcing_app.api.handlers.permission_denied"
handler404 = "eventsourcing_app.api.handlers.page_not_found"
handler500 = "eventsourcing_app.api.handlers.server_error"
