"""Every address of the demo."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.routers import DefaultRouter

from demo_bank.api import AccountViewSet
from eventsourcing_app.api import StoredEventViewSet

router = DefaultRouter()
router.include_format_suffixes = False
router.register("accounts", AccountViewSet, basename="account")
router.register("events", StoredEventViewSet, basename="event")

docs = SpectacularSwaggerSplitView.as_view(template_name="eventsourcing_app/api_docs.html")

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("api/v1/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/v1/docs/", docs, name="docs"),
    path("api/v1/", include(router.urls)),
]
