"""A site with every page of the admin, the data that they show, and who may do what there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import URLPattern, URLResolver, path
from django.utils import timezone

from demo_bank.admin import AccountAdmin, AuditEntryAdmin, DailyTotalAdmin
from demo_bank.models import Account, AuditEntry, DailyTotal
from demo_bank.reactions import AUDIT
from eventsourcing_app.admin import ParkedEventAdmin, StoredEventAdmin, SubscriptionAdmin
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent, Subscription
from tests.api_bank import Bank
from tests.api_client import user_with

if TYPE_CHECKING:
    from collections.abc import Iterator

site = admin.AdminSite()
site.register(StoredEvent, StoredEventAdmin)
site.register(Subscription, SubscriptionAdmin)
site.register(ParkedEvent, ParkedEventAdmin)
site.register(Account, AccountAdmin)
site.register(DailyTotal, DailyTotalAdmin)
site.register(AuditEntry, AuditEntryAdmin)
urlpatterns = [path("admin/", site.urls)]

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
SEES_EVENTS, READS = "eventsourcing_app.view_storedevent", "eventsourcing_app.view_payload"
SUBSCRIPTIONS = ("eventsourcing_app.view_subscription", "eventsourcing_app.view_parkedevent")
OPERATES, EXPORTS = "eventsourcing_app.operate_subscription", "eventsourcing_app.export_storedevent"
KEPT = ("demo_bank.view_dailytotal",)
MASKED = ("demo_bank.view_account", SEES_EVENTS, *SUBSCRIPTIONS, *KEPT)
PERMISSIONS = {
    "nobody": (),
    "masked": MASKED,
    "auditor": (*MASKED, READS),
    "exporter": (*MASKED, READS, EXPORTS),
    "teller": ("demo_bank.view_account", "demo_bank.change_account"),
    "operator": (*SUBSCRIPTIONS, OPERATES),
    "reader": (*SUBSCRIPTIONS, OPERATES, SEES_EVENTS, READS),
}
"""What each role of the staff may do: ``masked`` is an auditor who may not see payloads, ``reader`` an operator who
may."""
ROLES = ("anonymous", *PERMISSIONS, "superuser")
OF_DJANGO = ("login", "logout", "password_change", "password_change_done")
"""Addresses of every site that are not about anything of ours."""
TABLE = """
index                    *                        302  200  200  200  200  200  200  200  200
autocomplete             GET,HEAD                 302  403  403  403  403  403  403  403  403
autocomplete             OPTIONS                  302  200  200  200  200  200  200  200  200
autocomplete             POST,PUT,PATCH,DELETE    302  405  405  405  405  405  405  405  405
jsi18n                   GET,HEAD,OPTIONS         302  200  200  200  200  200  200  200  200
jsi18n                   POST,PUT,PATCH,DELETE    302  405  405  405  405  405  405  405  405
view_on_site             *                        302  404  404  404  404  404  404  404  404
storedevent_correlation  GET,HEAD,OPTIONS         302  403  200  200  200  403  403  200  200
storedevent_correlation  POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
storedevent_operators    GET,HEAD,OPTIONS         302  403  200  200  200  403  200  200  200
storedevent_operators    POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
storedevent_export       GET,HEAD,OPTIONS         302  403  403  403  200  403  403  403  200
storedevent_export       POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
storedevent_tail         GET,HEAD,OPTIONS         302  403  200  200  200  403  403  200  200
storedevent_tail         POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
storedevent_changelist   GET,HEAD,OPTIONS         302  403  200  200  200  403  403  200  200
storedevent_changelist   POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
storedevent_add          *                        302  403  403  403  403  403  403  403  403
storedevent_history      GET,HEAD,OPTIONS         302  403  200  200  200  403  403  200  200
storedevent_history      POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
storedevent_delete       *                        302  403  403  403  403  403  403  403  403
storedevent_change       GET,HEAD,OPTIONS         302  403  200  200  200  403  403  200  200
storedevent_change       POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
storedevent_of_old       *                        302  302  302  302  302  302  302  302  302
subscription_act         GET,HEAD                 302  403  403  403  403  403  200  200  200
subscription_act         OPTIONS,PUT,PATCH,DELETE 302  403  403  403  403  403  403  403  403
subscription_act         POST                     302  403  403  403  403  403  302! 302! 302!
subscription_changelist  GET,HEAD,OPTIONS         302  403  200  200  200  403  200  200  200
subscription_changelist  POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
subscription_add         *                        302  403  403  403  403  403  403  403  403
subscription_history     GET,HEAD,OPTIONS         302  403  200  200  200  403  200  200  200
subscription_history     POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
subscription_delete      *                        302  403  403  403  403  403  403  403  403
subscription_change      GET,HEAD,OPTIONS         302  403  200  200  200  403  200  200  200
subscription_change      POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
subscription_of_old      *                        302  302  302  302  302  302  302  302  302
parkedevent_act          GET,HEAD                 302  403  403  403  403  403  200  200  200
parkedevent_act          OPTIONS,PUT,PATCH,DELETE 302  403  403  403  403  403  403  403  403
parkedevent_act          POST                     302  403  403  403  403  403  302! 302! 302!
parkedevent_changelist   GET,HEAD,OPTIONS         302  403  200  200  200  403  200  200  200
parkedevent_changelist   POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
parkedevent_add          *                        302  403  403  403  403  403  403  403  403
parkedevent_history      GET,HEAD,OPTIONS         302  403  200  200  200  403  200  200  200
parkedevent_history      POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
parkedevent_delete       *                        302  403  403  403  403  403  403  403  403
parkedevent_change       GET,HEAD,OPTIONS         302  403  200  200  200  403  200  200  200
parkedevent_change       POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
parkedevent_of_old       *                        302  302  302  302  302  302  302  302  302
account_past             GET,HEAD,OPTIONS         302  403  200  200  200  403  403  403  200
account_past             POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
account_command          GET,HEAD,OPTIONS         302  403  403  403  403  302  403  403  302
account_command          POST                     302  403  403  403  403  302! 403  403  302!
account_command          PUT,PATCH,DELETE         302  403  403  403  403  403  403  403  403
account_command_creating GET,HEAD,OPTIONS         302  403  403  403  403  403  403  403  302
account_command_creating POST                     302  403  403  403  403  403  403  403  302!
account_command_creating PUT,PATCH,DELETE         302  403  403  403  403  403  403  403  403
account_changelist       GET,HEAD,OPTIONS         302  403  200  200  200  200  403  403  200
account_changelist       POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
account_add              *                        302  403  403  403  403  403  403  403  403
account_history          GET,HEAD,OPTIONS         302  403  200  200  200  403  403  403  200
account_history          POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
account_delete           *                        302  403  403  403  403  403  403  403  403
account_change           GET,HEAD,OPTIONS         302  403  200  200  200  200  403  403  200
account_change           POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
account_of_old           *                        302  302  302  302  302  302  302  302  302
dailytotal_changelist    GET,HEAD,OPTIONS         302  403  200  200  200  403  403  403  200
dailytotal_changelist    POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
dailytotal_add           *                        302  403  403  403  403  403  403  403  403
dailytotal_history       GET,HEAD,OPTIONS         302  403  200  200  200  403  403  403  200
dailytotal_history       POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
dailytotal_delete        *                        302  403  403  403  403  403  403  403  403
dailytotal_change        GET,HEAD,OPTIONS         302  403  200  200  200  403  403  403  200
dailytotal_change        POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
dailytotal_of_old        *                        302  302  302  302  302  302  302  302  302
auditentry_changelist    GET,HEAD,OPTIONS         302  403  403  403  403  403  403  403  200
auditentry_changelist    POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
auditentry_add           *                        302  403  403  403  403  403  403  403  403
auditentry_history       GET,HEAD,OPTIONS         302  403  403  403  403  403  403  403  200
auditentry_history       POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
auditentry_delete        *                        302  403  403  403  403  403  403  403  403
auditentry_change        GET,HEAD,OPTIONS         302  403  403  403  403  403  403  403  200
auditentry_change        POST,PUT,PATCH,DELETE    302  403  403  403  403  403  403  403  403
auditentry_of_old        *                        302  302  302  302  302  302  302  302  302
app_list                 *                        302  404  200  200  200  404  200  200  200
catch_all                *                        302  404  404  404  404  404  404  404  404
"""
"""By the name of an address and the methods, ``*`` for all: the status for each role. With ``!``, it has an effect."""


_OURS = re.compile("^(eventsourcing_app|demo_bank)_")


class Address(NamedTuple):
    """An address of the site, with what stands in its place for keys."""

    name: str
    route: str


def addresses() -> list[Address]:
    """Return the addresses of the site, by the names that they have in its URLconf."""
    return [each for each in _walked(site.urls[0], "/admin/") if each.name not in OF_DJANGO]


def _walked(patterns: list[Any], before: str) -> Iterator[Address]:
    for each in patterns:
        route = before + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from _walked(each.url_patterns, route)
        elif isinstance(each, URLPattern):
            # Two of Django's have no name: of each object one that leads to its page, and one for all that is left.
            app, model = [*route.split("/"), ""][2:4]
            named = each.name or (f"{app}_{model}_of_old" if model else "catch_all")
            creates = "_creating" if named.endswith("_command") and "object_id" not in route else ""
            yield Address(f"{_OURS.sub('', named)}{creates}", route)


class Cell(NamedTuple):
    """What a role is answered."""

    name: str
    method: str
    role: str
    status: int
    has_effect: bool


def cells() -> list[Cell]:
    """Return the table, cell by cell."""
    found = []
    for line in TABLE.strip().splitlines():
        name, methods, *answers = line.split()
        assert len(answers) == len(ROLES), line
        for method in METHODS if methods == "*" else methods.split(","):
            for role, answer in zip(ROLES, answers, strict=True):
                found.append(Cell(name, method, role, int(answer.rstrip("!")), answer.endswith("!")))
    return found


class Office:
    """What the pages show."""

    def __init__(self) -> None:
        self.bank = Bank()
        self.entry = AuditEntry.objects.create(
            event_id=uuid4(), happened_at=timezone.now(), subject=str(self.bank.main.pk), what="Frozen"
        )

    @property
    def keys(self) -> dict[str, object]:
        """The key of an object of each model."""
        return {
            "storedevent": self.bank.position,
            "subscription": AUDIT,
            "parkedevent": self.bank.parked.pk,
            "account": self.bank.main.pk,
            "dailytotal": self.bank.total.pk,
            "auditentry": self.entry.pk,
        }

    def path_of(self, address: Address, *, key: str | None = None) -> str:
        """Return the path of an address, for an object that there is, or for ``key``."""
        parts = address.route.split("/")
        model = parts[3] if len(parts) > 3 else ""
        texts = {
            "<path:object_id>": str(self.keys.get(model)) if key is None else key,
            "<int:content_type_id>": str(ContentType.objects.get_for_model(StoredEvent).pk),
            "<str:act>": "pause" if model == "subscription" else "retry",
            "<str:name>": "deposit",
            "(?P<url>.*)": "nothing/",
            "^": "",
            "$": "",
        }
        found = address.route
        for placeholder, text in texts.items():
            found = found.replace(placeholder, text)
        head, group, tail = found.partition("(?P<")
        if group:
            chosen = {"name": "open", "app_label": "eventsourcing_app"}[tail.partition(">")[0]]
            found = f"{head}{chosen}{tail.partition(')')[2]}"
        query = {"tail": "?after=0", "export": "?format=ndjson", "correlation": "?id=none"}
        query["act"] = f"?id={self.bank.parked.pk}" if model == "parkedevent" else ""
        return found + query.get(address.name.partition("_")[2], "")

    def body_of(self, name: str) -> dict[str, str]:
        """Return what a form sends: what is right for whoever may send it, and what might be taken for an action."""
        key = {"_es_key": str(uuid4())}
        parked = self.bank.parked
        bodies = {
            "account_command": {**key, "_es_version": str(self.bank.main.version), "amount": "1.00"},
            "account_command_creating": {**key, "owner": "Eve", "currency": "EUR", "overdraft_limit": "0"},
            "subscription_act": {"reason": "To try it"},
            "parkedevent_act": {"reason": "To try it", "chosen": f"{parked.pk}-{parked.position}"},
        }
        return bodies.get(name) or forged(next((str(key) for model, key in self.keys.items() if model in name), "1"))


def forged(key: str) -> dict[str, str]:
    """Return what the forms of Django's admin send that change or delete."""
    return {
        "action": "delete_selected",
        "_selected_action": key,
        "select_across": "1",
        "post": "yes",
        "index": "0",
        "_save": "Save",
        "_saveasnew": "1",
        "_popup": "1",
        "owner": "Mallory",
        "balance": "1000",
        "actor": "user:1",
        "type": "x",
        "status": "paused",
        "what": "x",
        "form-TOTAL_FORMS": "1",
        "form-INITIAL_FORMS": "1",
        "form-0-id": key,
        "form-0-actor": "user:1",
    }


def everything() -> list[object]:
    """Return all that a request could have changed, of rows that are never changed how many there are."""
    shown: list[object] = [
        list(model._base_manager.order_by("pk").values()) for model in (Account, Subscription, Segment, ParkedEvent)
    ]
    events = list(StoredEvent.objects.order_by("position").values_list("position", "hash"))
    counted = [model._base_manager.count() for model in (LogEntry, User, DailyTotal, AuditEntry)]
    return [*shown, [(position, bytes(each)) for position, each in events], counted]


def client_of_role(role: str, *, csrf: bool = False) -> Client:
    """Return the client of somebody of a role, who is logged in."""
    client = Client(enforce_csrf_checks=csrf)
    if role == "superuser":
        client.force_login(User.objects.create_superuser(role))
    elif role != "anonymous":
        user = user_with(*PERMISSIONS[role], name=role)
        user.is_staff = True
        user.save()
        client.force_login(user)
    return client
