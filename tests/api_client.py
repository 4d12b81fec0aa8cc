"""What the tests of the API share: users with permissions, their clients, and problems."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth.models import Permission, User
from rest_framework.test import APIClient

PROBLEM = "application/problem+json"


def user_with(*permissions: str, name: str = "teller") -> User:
    user = User.objects.create_user(name)
    for permission in permissions:
        app_label, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app_label, codename=codename))
    return user


def client_of(user: User) -> APIClient:
    client = APIClient()
    client.force_login(user)
    return client


def problem_of(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == PROBLEM
    body: dict[str, Any] = json.loads(response.content)
    assert body["status"] == status
    assert body["code"] == code
    assert {"type", "title", "detail", "instance", "correlation_id"} <= set(body)
    return body
