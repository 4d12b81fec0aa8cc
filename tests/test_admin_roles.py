"""Who may do what in the admin: each role at each address by each method is answered as the table says.

The addresses come from the URLconf of a site with all pages: one without a row fails, and so does a row without an
address. What is refused has no effect, whoever asks.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from eventsourcing_app.subscriptions.health import recent_health
from tests.admin_roles import METHODS, ROLES, Office, addresses, cells, client_of_role, everything

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.test import Client

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_roles")]
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")


@pytest.fixture(autouse=True)
def no_workers(settings: Any) -> Iterator[None]:
    settings.EVENTSOURCING = {"DISPATCHER": "none"}
    recent_health.forget()
    logging.disable(logging.WARNING)  # thousands of refusals, each with a line
    yield
    logging.disable(logging.NOTSET)
    recent_health.forget()


@pytest.fixture
def office() -> Office:
    return Office()


def sent(client: Client, office: Office, name: str, path: str, method: str) -> Any:
    if method == "POST":
        return client.post(path, office.body_of(name))
    return client.generic(method, path, "owner=Mallory&_save=1", content_type="application/x-www-form-urlencoded")


def test_each_address_and_method_has_a_row_and_each_row_an_address() -> None:
    rows = defaultdict[tuple[str, str], list[str]](list)
    for cell in cells():
        rows[cell.name, cell.method].append(cell.role)
    assert sorted(rows) == sorted((each.name, method) for each in addresses() for method in METHODS)
    assert all(tuple(roles) == ROLES for roles in rows.values()), "one row each"


@pytest.mark.parametrize("role", ROLES)
def test_each_role_is_answered_as_the_table_says_and_what_is_refused_has_no_effect(role: str, office: Office) -> None:
    client, before = client_of_role(role), everything()
    paths = {each.name: office.path_of(each) for each in addresses()}
    wrong: list[Any] = []
    for cell in cells():
        if cell.role != role:
            continue
        with transaction.atomic():
            response = sent(client, office, cell.name, paths[cell.name], cell.method)
            if cell.has_effect:  # that of others is looked for at the end
                if everything() == before:
                    wrong.append((cell, "without an effect"))
                transaction.set_rollback(True)
        if response.status_code != cell.status:
            wrong.append((cell, response.status_code))
        if role == "anonymous" and not response.headers["Location"].startswith("/admin/login/?next="):
            wrong.append((cell, response.headers["Location"]))
    assert not wrong
    assert everything() == before


def test_without_its_csrf_token_no_form_has_an_effect(office: Office) -> None:
    client, before = client_of_role("superuser", csrf=True), everything()
    for address in addresses():
        response = client.post(office.path_of(address), office.body_of(address.name))
        assert response.status_code in (302, 403, 404, 405), address
        assert response.status_code == 403 or "_of_old" in address.name or "_" not in address.name, address
    assert everything() == before


def test_pages_are_kept_by_nobody_and_framed_by_nobody(office: Office) -> None:
    client = client_of_role("superuser")
    for address in addresses():
        response: Any = client.get(office.path_of(address))
        if response.status_code != 200 or address.name == "jsi18n":  # words of Django, the same for everybody
            continue
        assert {"private", "no-store"} <= set(response.headers["Cache-Control"].split(", ")), address
        assert "Cookie" in response.headers["Vary"], address
        assert response.headers["X-Frame-Options"] == "DENY", address


@pytest.mark.parametrize("end", ["logged out", "deactivated", "no longer of the staff"])
def test_whose_session_has_ended_is_asked_to_log_in(end: str, office: Office) -> None:
    client = client_of_role("reader")
    if end == "logged out":
        client.logout()
    else:
        User.objects.update(is_active=end != "deactivated", is_staff=end == "deactivated")
    before = everything()
    for address in addresses():
        if address.name in ("subscription_act", "parkedevent_act", "account_command", "storedevent_change"):
            response = client.post(office.path_of(address), office.body_of(address.name))
            assert response.headers["Location"].startswith("/admin/login/"), address
    assert everything() == before
