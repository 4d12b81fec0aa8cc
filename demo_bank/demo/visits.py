"""One request to each page of the admin and each endpoint of the API, found through the URLconf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.test import Client, RequestFactory
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse

from demo_bank.models import Account, AuditEntry, DailyTotal
from eventsourcing_app.models import ParkedEvent, StoredEvent, Subscription

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from django.contrib.auth.models import User
    from django.db import models

API = "/api/"
QUERIES = {"event-stream": "?after_position=0"}
"""What is asked of an endpoint, by its name: a stream would wait for what comes next."""
_QUERIES = {"_correlation": "?id=1", "_export": "?format=csv", "_tail": "?after=0"}
"""What pages of the admin have to be asked."""
_SHOWN = (Account, AuditEntry, DailyTotal, StoredEvent, Subscription)
"""What the admin must show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request and its answer."""

    method: str
    path: str
    status: int
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tour:
    """What was visited, and what could not be for want of a row or of knowing what to send."""

    visits: list[Visit]
    left_out: list[str]
    missing: list[str]
    """Addresses that the demo promises and the URLconf does not have."""

    @property
    def ok(self) -> bool:
        """Whether everything promised was there and answered."""
        return not self.missing and all(visit.ok for visit in self.visits)


def visit_admin(user: User) -> Tour:
    """Visit every page of the admin as this user."""
    client = Client(raise_request_exception=False, SERVER_NAME=_host())
    client.force_login(user)
    tour = Tour(visits=[], left_out=[], missing=[])
    labels = set()
    for model in apps.get_models():
        if admin.site.is_registered(model):
            labels.add(model._meta.app_label)
            _visit_model(client, user, model, tour)
    tour.visits.append(_get(client, reverse("admin:index")))
    tour.visits.extend(_get(client, reverse("admin:app_list", args=[label])) for label in sorted(labels))
    tour.missing.extend(model._meta.label for model in _SHOWN if not admin.site.is_registered(model))
    return tour


def _visit_model(client: Client, user: User, model: type[models.Model], tour: Tour) -> None:
    model_admin = admin.site.get_model_admin(model)
    first = model._default_manager.order_by("pk").first()
    key = "" if first is None else quote(str(first.pk))
    known = {} if first is None else {"object_id": key, "id": key, "version": "1"}
    request = RequestFactory().get("/")
    request.user = user
    may_delete = model_admin.has_delete_permission(request, first)
    doors = {"_add": model_admin.has_add_permission(request), "_delete": may_delete}
    closed = tuple(ending for ending, is_open in doors.items() if not is_open)
    for pattern in model_admin.get_urls():
        if not isinstance(pattern, URLPattern) or pattern.name is None:
            continue  # the old address of the change page, which only redirects
        path = _reversed(f"admin:{pattern.name}", _parameters(pattern), known)
        if path is None or pattern.name.endswith(closed):
            tour.left_out.append(f"admin:{pattern.name}")
        else:
            query = next((each for ending, each in _QUERIES.items() if pattern.name.endswith(ending)), "")
            visit = _get(client, f"{path}{query}")
            # A worker may have been through with a task of the queue in the meantime.
            has_gone = not visit.ok and first is not None and not model._default_manager.filter(pk=first.pk).exists()
            if has_gone:
                tour.left_out.append(f"admin:{pattern.name}")
            else:
                tour.visits.append(visit)


def visit_api(token: str) -> Tour:
    """Visit every endpoint of the API with this token: read what can be read, and send what ``_bodies`` has."""
    client = Client(raise_request_exception=False, SERVER_NAME=_host(), HTTP_AUTHORIZATION=f"Token {token}")
    tour = Tour(visits=[], left_out=[], missing=[])
    account = Account.objects.filter(status=Account.Status.OPEN).earliest("number")
    other = Account.objects.filter(status=Account.Status.OPEN, currency=account.currency).exclude(pk=account.pk)
    bodies = _bodies(str(account.pk), str(other.earliest("number").pk))
    known = _known(str(account.pk))
    for name, parameters, callback in _endpoints(get_resolver()):
        kind = "event-type" if name.startswith("event-type") else name.partition("-")[0]
        path = _reversed(name, parameters, known.get(kind, {"pk": "1"}))
        if path is None or not path.startswith(API):
            if path is None and "format" not in parameters and not name.startswith("admin:"):
                tour.left_out.append(name)
            continue
        _visit_endpoint(client, path + QUERIES.get(name, ""), _methods(callback), bodies, tour)
    seen = {visit.path for visit in tour.visits}
    tour.missing.extend(path for path in _promised(str(account.pk)) if path not in seen)
    return tour


def _known(account: str) -> dict[str, dict[str, str]]:
    """Keys of what there is, by the first word of the names of the endpoints."""
    event = StoredEvent.objects.earliest("position")
    parked = ParkedEvent.objects.first()
    return {
        "account": dict.fromkeys(("pk", "id", "account_id", "account_pk"), account),
        "event": {"pk": str(event.pk), "position": str(event.pk), "event_id": str(event.event_id)},
        "event-type": {"name": event.type},
        "subscription": {"name": Subscription.objects.earliest("name").name} if Subscription.objects.exists() else {},
        "parked": {} if parked is None else {"pk": str(parked.pk)},
        "dailytotal": {"pk": str(DailyTotal.objects.earliest("day").pk)},
    }


def _bodies(account: str, other: str) -> dict[str, list[dict[str, Any]]]:
    """What is sent, one after the other, by the last part of the address. In the end no money has moved."""
    one = {"amount": "1.00", "reference": "Demo"}
    to_account = {"stream_type": Account.stream_type, "stream_key": account, "arguments": one}
    return {
        "deposit": [one],
        "withdraw": [one],
        "transfers": [{"source": account, "target": other, **one}, {"source": other, "target": account, **one}],
        "batch": [{"commands": [{**to_account, "command": "deposit"}, {**to_account, "command": "withdraw"}]}],
    }


def _promised(account: str) -> Iterator[str]:
    yield from (f"{API}v1/{name}/" for name in ("accounts", "transfers", "batch", "daily-totals", "events", "parked"))
    yield from (f"{API}v1/{name}/" for name in ("event-types", "subscriptions", "health", "schema", "docs"))
    yield f"{API}v1/events/stream/?after_position=0"
    yield f"{API}v1/accounts/{account}/"
    yield from (f"{API}v1/accounts/{account}/{last}/" for last in ("events", "deposit", "withdraw"))


def _visit_endpoint(
    client: Client, path: str, methods: set[str], bodies: Mapping[str, list[dict[str, Any]]], tour: Tour
) -> None:
    to_send = bodies.get(path.rstrip("/").rpartition("/")[2], [])
    if to_send and "post" in methods:
        for body in to_send:
            status = client.post(path, body, content_type="application/json").status_code
            tour.visits.append(Visit(method="POST", path=path, status=status, ok=200 <= status < 300))
    elif "get" in methods:
        tour.visits.append(_get(client, path))
    else:
        tour.left_out.append(path)


def _get(client: Client, path: str) -> Visit:
    status = client.get(path).status_code
    return Visit(method="GET", path=path, status=status, ok=status == 200)


def _endpoints(
    resolver: URLResolver, namespace: str = "", before: frozenset[str] = frozenset()
) -> Iterator[tuple[str, frozenset[str], Any]]:
    """Yield the name, the parameters and the view of every named address."""
    for entry in resolver.url_patterns:
        parameters = before | _parameters(entry)
        if isinstance(entry, URLResolver):
            yield from _endpoints(entry, f"{namespace}{entry.namespace}:" if entry.namespace else namespace, parameters)
        elif entry.name:
            yield f"{namespace}{entry.name}", parameters, entry.callback


def _parameters(entry: URLPattern | URLResolver) -> frozenset[str]:
    return frozenset(entry.pattern.regex.groupindex)


def _reversed(name: str, parameters: frozenset[str], known: Mapping[str, str]) -> str | None:
    try:
        return reverse(name, kwargs={parameter: known[parameter] for parameter in parameters})
    except (KeyError, NoReverseMatch):
        return None


def _methods(callback: Any) -> set[str]:
    actions = getattr(callback, "actions", None)  # of a viewset
    if actions:
        return set(actions)
    view = getattr(callback, "cls", None) or getattr(callback, "view_class", None)
    return {method for method in ("get", "post") if hasattr(view, method)} if view else {"get"}


def _host() -> str:
    named = [host for host in settings.ALLOWED_HOSTS if not host.startswith((".", "*"))]
    return named[0] if named else "localhost"
