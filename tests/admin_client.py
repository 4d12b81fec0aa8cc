"""What the tests of the admin's screens share: users of the demo's admin, and what a page says."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import Client

EVENTS = "/admin/eventsourcing_app/storedevent/"
OVERVIEW = "/admin/eventsourcing_app/"
SEES, READS, EXPORTS = "view_storedevent", "view_payload", "export_storedevent"


def client_with(*codenames: str, name: str = "", staff: bool = True, **options: Any) -> Client:
    """A client of a new user with these permissions; ``options`` are those of Django's ``Client``."""
    user = User.objects.create_user(name or f"user {User.objects.count()}", is_staff=staff)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    assert user.user_permissions.count() == len(set(codenames))
    client = Client(**options)
    client.force_login(user)
    return client


def text_of(response: Any, status: int = 200) -> str:
    """What a page says, as HTML."""
    assert response.status_code == status, (response.status_code, response.content.decode()[-2000:])
    text: str = response.content.decode()
    return text
