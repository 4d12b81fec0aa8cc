"""Every address that is measured, all behind the same authentication."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import User
from django.urls import include, path
from rest_framework import pagination, serializers, viewsets
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import DjangoModelPermissions
from rest_framework.routers import DefaultRouter

from eventsourcing_app.api import EventSourcedViewSet, StoredEventViewSet
from tests.benchmarks.bank.models import Account
from tests.benchmarks.web.models import PlainAccount, PlainEvent

if TYPE_CHECKING:
    from rest_framework.request import Request

ROOT = User(pk=7, username="root", is_superuser=True, is_active=True)


class AsRoot(BaseAuthentication):
    """Everybody is the superuser, whom nobody looks up: that costs all of them the same, and is not measured."""

    def authenticate(self, request: Request) -> tuple[User, None]:
        return ROOT, None


class AccountViewSet(EventSourcedViewSet):
    model = Account
    authentication_classes = (AsRoot,)


class EventViewSet(StoredEventViewSet):
    authentication_classes = (AsRoot,)


class PlainAccountSerializer(serializers.ModelSerializer[PlainAccount]):
    class Meta:
        model = PlainAccount
        fields = "__all__"


class PlainEventSerializer(serializers.ModelSerializer[PlainEvent]):
    class Meta:
        model = PlainEvent
        fields = "__all__"


class ByPosition(pagination.CursorPagination):
    """Pages without COUNT and OFFSET: the fastest that Django REST framework has."""

    ordering = "position"
    page_size = 100


class PlainAccountViewSet(viewsets.ModelViewSet[Any]):
    queryset = PlainAccount._default_manager.all()
    serializer_class = PlainAccountSerializer
    permission_classes = (DjangoModelPermissions,)
    authentication_classes = (AsRoot,)


class PlainEventViewSet(viewsets.ModelViewSet[Any]):
    queryset = PlainEvent._default_manager.all()
    serializer_class = PlainEventSerializer
    permission_classes = (DjangoModelPermissions,)
    authentication_classes = (AsRoot,)
    pagination_class = ByPosition


router = DefaultRouter()
router.include_format_suffixes = False
router.register("accounts", AccountViewSet, basename="account")
router.register("events", EventViewSet, basename="event")
router.register("plain-accounts", PlainAccountViewSet, basename="plain-account")
router.register("plain-events", PlainEventViewSet, basename="plain-event")
urlpatterns = [path("", include(router.urls))]
