"""The demo's addresses, and who may do what there."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

from django.contrib.auth.models import User
from django.test.utils import override_settings
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from demo_bank.api import AccountViewSet
from demo_bank.demo.logins import ensure_logins
from demo_bank.models import Account
from tests.api_bank import OWNER
from tests.api_client import user_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import QuerySet

    from eventsourcing_app.models import StoredEvent

API = "api/v1/"
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW")
SEES_EVENTS = ("eventsourcing_app.view_storedevent", "eventsourcing_app.export_storedevent")
CUSTOMER = ("demo_bank.view_account", "demo_bank.change_account", *SEES_EVENTS, "eventsourcing_app.view_payload")
OPERATIONS = ("eventsourcing_app.view_subscription", "eventsourcing_app.view_parkedevent")
BLIND = ("demo_bank.view_account", "demo_bank.view_dailytotal", *SEES_EVENTS, *OPERATIONS)

ROLES = ("anonymous", "customer", "other", "teller", "auditor", "blind", "operator", "admin")
"""A customer acts on its own accounts, and ``other`` is one who has none here; ``blind`` is an auditor who may not see
payloads; the last four but that are the demo's logins."""
TABLE = """
event-stream          GET,OPTIONS                              401 200 200 200 200 200 403 200
event-stream          HEAD,POST,PUT,PATCH,DELETE,TRACE,BREW    401 405 405 405 405 405 403 405
health                GET,HEAD,OPTIONS                         200 200 200 200 200 200 200 200
health                POST,PUT,PATCH,DELETE,TRACE,BREW         405 405 405 405 405 405 405 405
schema                GET,HEAD,OPTIONS                         401 200 200 200 200 200 200 200
schema                POST,PUT,PATCH,DELETE,TRACE,BREW         401 405 405 405 405 405 405 405
docs                  GET,HEAD                                 401 200 200 200 200 200 200 200
docs                  OPTIONS,POST,PUT,PATCH,DELETE,TRACE,BREW 401 405 405 405 405 405 405 405
account-list          GET,HEAD,OPTIONS                         401 200 200 200 200 200 403 200
account-list          POST                                     401 403 403 201 403 403 403 201
account-list          PUT,PATCH,DELETE,TRACE,BREW              401 405 405 405 405 405 403 405
account-detail        GET,HEAD                                 401 200 404 200 200 200 403 200
account-detail        OPTIONS                                  401 200 200 200 200 200 403 200
account-detail        POST,PUT,PATCH,DELETE,TRACE,BREW         401 405 405 405 405 405 403 405
account-close         GET,HEAD,PUT,PATCH,DELETE,TRACE,BREW     401 405 405 405 405 405 403 405
account-close         OPTIONS                                  401 200 200 200 200 200 403 200
account-close         POST                                     401 200 404 200 403 403 403 200
account-deposit       GET,HEAD,PUT,PATCH,DELETE,TRACE,BREW     401 405 405 405 405 405 403 405
account-deposit       OPTIONS                                  401 200 200 200 200 200 403 200
account-deposit       POST                                     401 200 404 200 403 403 403 200
account-freeze        GET,HEAD,PUT,PATCH,DELETE,TRACE,BREW     401 405 405 405 405 405 403 405
account-freeze        OPTIONS                                  401 200 200 200 200 200 403 200
account-freeze        POST                                     401 200 404 200 403 403 403 200
account-unfreeze      GET,HEAD,PUT,PATCH,DELETE,TRACE,BREW     401 405 405 405 405 405 403 405
account-unfreeze      OPTIONS                                  401 200 200 200 200 200 403 200
account-unfreeze      POST                                     401 200 404 200 403 403 403 200
account-withdraw      GET,HEAD,PUT,PATCH,DELETE,TRACE,BREW     401 405 405 405 405 405 403 405
account-withdraw      OPTIONS                                  401 200 200 200 200 200 403 200
account-withdraw      POST                                     401 200 404 200 403 403 403 200
account-diff          GET,HEAD                                 401 200 404 200 200 403 403 200
account-diff          OPTIONS                                  401 200 200 200 200 200 403 200
account-diff          POST,PUT,PATCH,DELETE,TRACE,BREW         401 405 405 405 405 405 403 405
account-events        GET,HEAD                                 401 200 404 200 200 200 403 200
account-events        OPTIONS                                  401 200 200 200 200 200 403 200
account-events        POST,PUT,PATCH,DELETE,TRACE,BREW         401 405 405 405 405 405 403 405
transfer-list         GET,HEAD,PUT,PATCH,DELETE,TRACE,BREW     401 405 405 405 403 403 403 405
transfer-list         OPTIONS                                  401 200 200 200 403 403 403 200
transfer-list         POST                                     401 201 400 201 403 403 403 201
batch-list            GET,HEAD,PUT,PATCH,DELETE,TRACE,BREW     401 405 405 405 405 405 405 405
batch-list            OPTIONS                                  401 200 200 200 200 200 200 200
batch-list            POST                                     401 200 404 200 403 403 403 200
dailytotal-list       GET,HEAD,OPTIONS                         401 403 403 200 200 200 403 200
dailytotal-list       POST,PUT,PATCH,DELETE,TRACE,BREW         401 403 403 405 405 405 403 405
dailytotal-detail     GET,HEAD,OPTIONS                         401 403 403 200 200 200 403 200
dailytotal-detail     POST,PUT,PATCH,DELETE,TRACE,BREW         401 403 403 405 405 405 403 405
event-list            GET,HEAD,OPTIONS                         401 200 200 200 200 200 403 200
event-list            POST,PUT,PATCH,DELETE,TRACE,BREW         401 405 405 405 405 405 403 405
event-detail          GET,HEAD                                 401 200 404 200 200 200 403 200
event-detail          OPTIONS                                  401 200 200 200 200 200 403 200
event-detail          POST,PUT,PATCH,DELETE,TRACE,BREW         401 405 405 405 405 405 403 405
event-type-list       GET,HEAD,OPTIONS                         401 200 200 200 200 200 403 200
event-type-list       POST,PUT,PATCH,DELETE,TRACE,BREW         401 405 405 405 405 405 403 405
event-type-detail     GET,HEAD,OPTIONS                         401 200 200 200 200 200 403 200
event-type-detail     POST,PUT,PATCH,DELETE,TRACE,BREW         401 405 405 405 405 405 403 405
subscription-list     GET,HEAD,OPTIONS                         401 403 403 200 200 200 200 200
subscription-list     POST,PUT,PATCH,DELETE,TRACE,BREW         401 403 403 403 403 403 405 405
subscription-detail   GET,HEAD,OPTIONS                         401 403 403 200 200 200 200 200
subscription-detail   POST,PUT,PATCH,DELETE,TRACE,BREW         401 403 403 403 403 403 405 405
subscription-catch-up GET,HEAD                                 401 403 403 405 405 405 405 405
subscription-catch-up OPTIONS                                  401 403 403 200 200 200 200 200
subscription-catch-up POST                                     401 403 403 403 403 403 200 200
subscription-catch-up PUT,PATCH,DELETE,TRACE,BREW              401 403 403 403 403 403 405 405
subscription-pause    GET,HEAD                                 401 403 403 405 405 405 405 405
subscription-pause    OPTIONS                                  401 403 403 200 200 200 200 200
subscription-pause    POST                                     401 403 403 403 403 403 200 200
subscription-pause    PUT,PATCH,DELETE,TRACE,BREW              401 403 403 403 403 403 405 405
subscription-rate     GET,HEAD                                 401 403 403 405 405 405 405 405
subscription-rate     OPTIONS                                  401 403 403 200 200 200 200 200
subscription-rate     POST                                     401 403 403 403 403 403 200 200
subscription-rate     PUT,PATCH,DELETE,TRACE,BREW              401 403 403 403 403 403 405 405
subscription-reset    GET,HEAD                                 401 403 403 405 405 405 405 405
subscription-reset    OPTIONS                                  401 403 403 200 200 200 200 200
subscription-reset    POST                                     401 403 403 403 403 403 200 200
subscription-reset    PUT,PATCH,DELETE,TRACE,BREW              401 403 403 403 403 403 405 405
subscription-resume   GET,HEAD                                 401 403 403 405 405 405 405 405
subscription-resume   OPTIONS                                  401 403 403 200 200 200 200 200
subscription-resume   POST                                     401 403 403 403 403 403 200 200
subscription-resume   PUT,PATCH,DELETE,TRACE,BREW              401 403 403 403 403 403 405 405
subscription-retry    GET,HEAD                                 401 403 403 405 405 405 405 405
subscription-retry    OPTIONS                                  401 403 403 200 200 200 200 200
subscription-retry    POST                                     401 403 403 403 403 403 200 200
subscription-retry    PUT,PATCH,DELETE,TRACE,BREW              401 403 403 403 403 403 405 405
subscription-skip     GET,HEAD                                 401 403 403 405 405 405 405 405
subscription-skip     OPTIONS                                  401 403 403 200 200 200 200 200
subscription-skip     POST                                     401 403 403 403 403 403 200 200
subscription-skip     PUT,PATCH,DELETE,TRACE,BREW              401 403 403 403 403 403 405 405
parked-list           GET,HEAD,OPTIONS                         401 403 403 200 200 200 200 200
parked-list           POST,PUT,PATCH,DELETE,TRACE,BREW         401 403 403 403 403 403 405 405
parked-detail         GET,HEAD,OPTIONS                         401 403 403 200 200 200 200 200
parked-detail         POST,PUT,PATCH,DELETE,TRACE,BREW         401 403 403 403 403 403 405 405
parked-retry          GET,HEAD                                 401 403 403 405 405 405 405 405
parked-retry          OPTIONS                                  401 403 403 200 200 200 200 200
parked-retry          POST                                     401 403 403 403 403 403 200 200
parked-retry          PUT,PATCH,DELETE,TRACE,BREW              401 403 403 403 403 403 405 405
parked-skip           GET,HEAD                                 401 403 403 405 405 405 405 405
parked-skip           OPTIONS                                  401 403 403 200 200 200 200 200
parked-skip           POST                                     401 403 403 403 403 403 204 204
parked-skip           PUT,PATCH,DELETE,TRACE,BREW              401 403 403 403 403 403 405 405
api-root              GET,HEAD,OPTIONS                         401 200 200 200 200 200 200 200
api-root              POST,PUT,PATCH,DELETE,TRACE,BREW         401 405 405 405 405 405 405 405
"""
"""By the name of an address and the methods: the status for each role."""


def addresses() -> dict[str, str]:
    """Return the paths of the API by the names that they have in the URLconf."""
    found = dict(_walked(get_resolver("demo_bank.urls").url_patterns, ""))
    return {name: path for name, path in found.items() if path.startswith(API)}


def _walked(patterns: list[Any], before: str) -> Iterator[tuple[str, str]]:
    for each in patterns:
        path = before + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from _walked(each.url_patterns, path)
        elif isinstance(each, URLPattern):
            yield each.name or path, path


class Cell(NamedTuple):
    """What a role is answered."""

    name: str
    method: str
    role: str
    status: int


def cells() -> list[Cell]:
    """Return the table, cell by cell."""
    found = []
    for line in TABLE.strip().splitlines():
        name, methods, *statuses = line.split()
        assert len(statuses) == len(ROLES), line
        for method in methods.split(","):
            found += [Cell(name, method, role, int(code)) for role, code in zip(ROLES, statuses, strict=True)]
    return found


# Per-user visibility


def _own(user: Any) -> QuerySet[Account]:
    return Account.objects.all() if user.is_staff else Account.objects.filter(owner=user.username)


def own_events(events: QuerySet[StoredEvent], user: Any) -> QuerySet[StoredEvent]:
    """Show a customer the events of its own accounts."""
    if user.is_staff:
        return events
    return events.filter(stream_type="bank.account", stream_key__in=[str(each.pk) for each in _own(user)])


@contextmanager
def customers_see_their_own() -> Iterator[None]:
    """Let customers have their own accounts, and nothing else, with all that belongs to them."""
    given = {"DISPATCHER": "none", "STREAM_WAIT_SECONDS": 0, "VISIBLE_EVENTS": f"{__name__}.own_events"}
    own = mock.patch.object(AccountViewSet, "get_queryset", lambda view: _own(view.request.user))
    with override_settings(EVENTSOURCING=given), own:
        yield


def users() -> dict[str, User]:
    """Return the users of all roles but nobody; tellers, auditors, operators and admins are the demo's logins."""
    with override_settings(DEBUG=True):
        found = {name: login.user for name, login in ensure_logins().items()}
    found["customer"] = user_with(*CUSTOMER, name=OWNER)
    found["other"] = user_with(*CUSTOMER, name="bob")
    found["blind"] = user_with(*BLIND, name="blind")
    found["blind"].is_staff = True
    found["blind"].save()
    return found


def client_by(how: str, user: User | None) -> APIClient:
    """Return the client of a user that comes with a token, or with a session and its CSRF token."""
    client = APIClient(enforce_csrf_checks=True)
    if user is None:
        return client
    if how == "token":
        token, _ = Token.objects.get_or_create(user=user)
        client.credentials(HTTP_AUTHORIZATION=f"Token {token.key}")
        return client
    client.force_login(user)
    if how == "session":
        secret = "c" * 32
        client.cookies["csrftoken"] = secret
        client.credentials(HTTP_X_CSRFTOKEN=secret)
    return client
