"""What the tests of the admin's screens share: users of the demo's admin, and what a page says."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import Client

EVENTS = "/admin/eventsourcing_app/storedevent/"
OVERVIEW = "/admin/eventsourcing_app/"
SEES, READS, EXPORTS = "view_storedevent", "view_payload", "export_storedevent"


def client_with(*codenames: str) -> Client:
    """A client of somebody of the staff with these permissions."""
    user = User.objects.create_user(f"user {User.objects.count()}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    assert user.user_permissions.count() == len(codenames)
    client = Client()
    client.force_login(user)
    return client


def text_of(response: Any) -> str:
    """What a page says, as HTML."""
    assert response.status_code == 200, response.status_code
    text: str = response.content.decode()
    return text
