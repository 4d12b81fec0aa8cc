"""The demo's tour of the admin sees every page, and takes no row that has gone meanwhile for a page that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import Group, User

from demo_bank.demo import visits

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db
CHANGE = "/admin/auth/group/"


@pytest.fixture
def root() -> User:
    Group.objects.create(name="a group")
    return User.objects.create_superuser("root")


def test_a_page_that_does_not_answer_is_told(root: User, monkeypatch: pytest.MonkeyPatch) -> None:
    assert visits.visit_admin(root).ok
    get = visits._get

    def failing(client: Client, path: str) -> visits.Visit:
        return get(client, "/admin/nothing/" if path.startswith(CHANGE) and "/change/" in path else path)

    monkeypatch.setattr(visits, "_get", failing)
    tour = visits.visit_admin(root)
    assert [visit.status for visit in tour.visits if not visit.ok] == [404]
    assert not tour.ok


def test_a_row_that_has_gone_meanwhile_is_left_out(root: User, monkeypatch: pytest.MonkeyPatch) -> None:
    get = visits._get

    def after_a_worker(client: Client, path: str) -> visits.Visit:
        if path.startswith(CHANGE) and "/change/" in path:
            Group.objects.all().delete()
        return get(client, path)

    monkeypatch.setattr(visits, "_get", after_a_worker)
    tour = visits.visit_admin(root)
    assert tour.ok
    assert "admin:auth_group_change" in tour.left_out
