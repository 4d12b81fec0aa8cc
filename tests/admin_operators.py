"""What the tests of the operators' pages share: their addresses, a site, and clients with the permissions of staff."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.test import Client
from django.urls import path

from eventsourcing_app.admin import ParkedEventAdmin, StoredEventAdmin, SubscriptionAdmin
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent, Subscription
from tests.api_client import user_with

if TYPE_CHECKING:
    pass

site = admin.AdminSite()
site.register(StoredEvent, StoredEventAdmin)
site.register(Subscription, SubscriptionAdmin)
site.register(ParkedEvent, ParkedEventAdmin)
urlpatterns = [path("admin/", site.urls)]

SUBSCRIPTIONS = "/admin/eventsourcing_app/subscription/"
PARKED = "/admin/eventsourcing_app/parkedevent/"
VIEW, VIEW_PARKED = "eventsourcing_app.view_subscription", "eventsourcing_app.view_parkedevent"
OPERATE, PAYLOAD = "eventsourcing_app.operate_subscription", "eventsourcing_app.view_payload"
EVENTS = "eventsourcing_app.view_storedevent"
OPERATOR = (VIEW, VIEW_PARKED, OPERATE, PAYLOAD, EVENTS)


def staff(*permissions: str, name: str = "operator") -> Client:
    user = user_with(*permissions, name=name)
    user.is_staff = True
    user.save()
    client = Client()
    client.force_login(user)
    return client


def rows_of_everything() -> list[list[dict[str, Any]]]:
    models: tuple[Any, ...] = (Subscription, Segment, ParkedEvent, StoredEvent)
    return [list(model.objects.order_by("pk").values()) for model in models]
