"""The pages of the API in a browser can be used: forms can be sent as they are, from wherever they are shown."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User

from tests.api_client import client_of, problem_of

if TYPE_CHECKING:
    from pytest_django import Settings
    from rest_framework.test import APIClient

pytestmark = pytest.mark.django_db

ACCOUNTS = "/api/v1/accounts/"
PAGE = {"Accept": "text/html"}


@pytest.fixture
def root(settings: Settings) -> APIClient:
    settings.ROOT_URLCONF = "demo_bank.urls"
    return client_of(User.objects.create_superuser("root"))


def form_of(client: APIClient, address: str) -> dict[str, Any]:
    """What the form for a JSON body begins with."""
    page = client.get(address, headers=PAGE).content.decode()
    found = re.search(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL)
    assert found, page
    body: dict[str, Any] = json.loads(html.unescape(found[1]))
    return body


def test_a_form_begins_with_the_defaults_of_the_command(root: APIClient) -> None:
    body = form_of(root, ACCOUNTS)
    assert body == {"owner": "", "number": "", "currency": "EUR", "overdraft_limit": "0.00"}
    assert root.post(ACCOUNTS, {**body, "owner": "Ada"}, headers=PAGE).status_code == 201


def test_a_form_can_be_sent_from_every_page_of_a_list(root: APIClient) -> None:
    for parameters in ("?limit=1", "?search=ada&order=-balance&currency=EUR", "?after=0"):
        assert root.post(ACCOUNTS + parameters, {"owner": "Ada"}, headers=PAGE).status_code == 201
    assert root.post(ACCOUNTS + "?colour=red", {"owner": "Ada"}, headers=PAGE).status_code == 400


def test_programs_are_told_that_a_command_has_no_parameters_of_lists(root: APIClient) -> None:
    problem_of(root.post(ACCOUNTS + "?limit=1", {"owner": "Ada"}), 400, "unknown")


def test_whoever_is_not_logged_in_is_shown_where_to_log_in(root: APIClient) -> None:
    root.logout()
    page = root.get(ACCOUNTS, headers=PAGE)
    assert page.status_code == 401
    (login,) = re.findall(r"href='(/login/login/\?next=/api/v1/accounts/)'", page.content.decode())
    assert root.get(login).status_code == 200
