"""Who may not see payloads finds nothing of them in the admin: on no page, in no file, by no question.

A crawler opens every address that it finds, from the first page on. What events, errors and reasons say has a mark.
"""

from __future__ import annotations

import logging
import re
from decimal import Decimal
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from demo_bank.models import Account
from demo_bank.reactions import AUDIT, NOTIFICATIONS
from eventsourcing_app import context
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent, Subscription
from eventsourcing_app.subscriptions import operate
from eventsourcing_app.subscriptions.health import recent_health
from tests.admin_roles import client_of_role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import QuerySet
    from django.test import Client

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_roles")]
MARK = "xq7mark"
_LEADS = re.compile(r"""(?:href|action|data-[a-z-]+url|data-url)="([^"]*)\"""")
_MOST = 250


@pytest.fixture(autouse=True)
def quiet(settings: Any) -> Iterator[None]:
    settings.EVENTSOURCING = {"DISPATCHER": "none"}
    recent_health.forget()
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)
    recent_health.forget()


class Scene:
    """Two accounts, of ada and of bob; what failed on their events; what operators did, whose words are no payload."""

    def __init__(self) -> None:
        Subscription.objects.all().delete()
        self.accounts = {owner: self._account(owner) for owner in ("ada", "bob")}
        for name in (AUDIT, NOTIFICATIONS):
            Subscription.objects.create(name=name, kind=Subscription.Kind.SUBSCRIBER, rate="5/s", declared_rate="")
        for owner in self.accounts:
            self._failed(AUDIT, self.of(owner)[1])
        self._failed(NOTIFICATIONS, self.of("bob")[1], stops=True)
        self.parked_of_bob = ParkedEvent.objects.get(stream_key=str(self.accounts["bob"].pk)).pk
        with context(actor="user:4711"):
            operate.retry(AUDIT, reason="words of an operator")
            operate.catch_up(AUDIT, reason="words of an operator")
        Subscription.objects.filter(name=NOTIFICATIONS).update(status="halted", status_reason=f"ValueError: {MARK}")

    def _account(self, owner: str) -> Account:
        account = Account()
        with context(request_id=MARK, correlation_id=f"request of {owner}", actor=f"user:{owner}"):
            account.open(owner=owner, number=f"ACC-{owner}")
            account.save()
            for number in range(3):
                with context(causation_id=account.history().latest("position").event_id):
                    Account.objects.perform(account.pk, Account.deposit, amount=Decimal(70 + number), reference=MARK)
        return Account.objects.get(pk=account.pk)

    def of(self, owner: str) -> list[StoredEvent]:
        return list(self.accounts[owner].history())

    def _failed(self, name: str, event: StoredEvent, *, stops: bool = False) -> None:
        now, error = timezone.now(), f"Traceback\n{MARK}\nValueError: {MARK}"
        failed = {"failed_position": event.position, "failed_at": now, "attempts": 1} if stops else {}
        segment, _ = Segment.objects.update_or_create(
            subscription_id=name, number=0, defaults={"last_error": error, "checkpoint": event.position - 1, **failed}
        )
        if stops:
            return
        Segment.objects.filter(pk=segment.pk).update(parked=ParkedEvent.objects.filter(segment=segment).count() + 1)
        named = {each: getattr(event, each) for each in ("position", "event_id", "type", "stream_type", "stream_key")}
        ParkedEvent.objects.create(
            segment=segment,
            sequence=event.stream_key,
            state="dead",
            attempts=1,
            reason=f"{MARK}Error: {MARK}",
            error=error,
            first_failed_at=now,
            last_failed_at=now,
            **named,
        )


@pytest.fixture
def scene() -> Scene:
    return Scene()


def said(response: Any) -> str:
    """All that an answer says, in its body and in its headers."""
    body = b"".join(response.streaming_content) if response.streaming else response.content
    of_each = ("X-Correlation-ID", "Expires", "Content-Length", "Content-Disposition")
    headers = [f"{name}: {value}" for name, value in response.headers.items() if name not in of_each]
    return body.decode() + "\n".join(headers)


def crawled(client: Client, *more: str) -> dict[str, str]:
    """Return what each address says that leads from the first page to another, and so on; by address."""
    found: dict[str, str] = {}
    waiting = ["/admin/", "/admin/eventsourcing_app/", *more]
    shapes: dict[str, int] = {}
    while waiting:
        url = waiting.pop(0)
        parts = urlsplit(url)
        # Of each kind of page with the same parameters, some: the links of one lead to the like.
        asked = sorted(set(re.findall(r"(\w+)=", parts.query)) - {"_changelist_filters"})
        shape = re.sub(r"\d+|[0-9a-f-]{36}", "N", parts.path) + ",".join(asked)
        if url in found or not parts.path.startswith("/admin/") or parts.path == "/admin/logout/":
            continue
        if url not in more and (shapes.setdefault(shape, 0) >= 1 or len(asked) > 2):
            continue
        shapes[shape] = shapes.get(shape, 0) + 1
        response: Any = client.get(url)
        assert response.status_code < 500, url
        found[url] = said(response)
        if "html" in response.headers.get("Content-Type", ""):
            leads = [urljoin(url, unescape(each)).partition("#")[0] for each in _LEADS.findall(found[url])]
            waiting += [each for each in leads if each not in found]
        if (to := response.headers.get("Location")) is not None:
            waiting.append(urljoin(url, to))
        assert len(found) < _MOST, "the crawler does not come to an end"
    return found


def secrets_of(events: QuerySet[StoredEvent]) -> list[str]:
    return [MARK, *(bytes(each).hex() for each in events.values_list("hash", flat=True))]


@pytest.mark.parametrize("role", ["masked", "operator", "teller", "nobody"])
def test_no_page_that_can_be_reached_says_what_is_masked(role: str, scene: Scene) -> None:
    client = client_of_role(role)
    if role == "masked":
        everybody = User.objects.get(username=role)
        more_of_it = ("export_storedevent", "change_account", "operate_subscription")
        everybody.user_permissions.add(*Permission.objects.filter(codename__in=more_of_it))
    account = scene.accounts["ada"]
    more = (
        *(f"/admin/eventsourcing_app/storedevent/{event.position}/change/" for event in scene.of("ada")[:2]),
        f"/admin/demo_bank/account/{account.pk}/past/?version=2&compare=1&chart=balance",
        f"/admin/demo_bank/account/{account.pk}/past/?version=2&part=1",
        "/admin/eventsourcing_app/storedevent/tail/?after=0",
        "/admin/eventsourcing_app/storedevent/export/?format=csv",
        "/admin/eventsourcing_app/storedevent/export/?format=ndjson",
    )
    pages = crawled(client, *more)
    leaks = {url: each for url, text in pages.items() for each in secrets_of(StoredEvent.objects.all()) if each in text}
    assert not leaks
    if role in ("masked", "operator"):
        assert any("/parkedevent/act/" in url for url in pages), sorted(pages)


# By no question


ORACLES = (
    "/admin/eventsourcing_app/storedevent/?q={0}",
    "/admin/eventsourcing_app/storedevent/?data__reference={0}",
    "/admin/eventsourcing_app/storedevent/?data__reference__startswith={0}",
    "/admin/eventsourcing_app/storedevent/?metadata__request_id={0}",
    "/admin/eventsourcing_app/storedevent/?hash={0}",
    "/admin/eventsourcing_app/storedevent/tail/?after=0&q={0}",
    "/admin/eventsourcing_app/storedevent/tail/?after=0&data__contains={0}",
    "/admin/eventsourcing_app/storedevent/export/?format=csv&data__contains={0}",
    "/admin/eventsourcing_app/storedevent/operators/?reason={0}",
    "/admin/eventsourcing_app/subscription/?q={0}",
    "/admin/eventsourcing_app/subscription/?status_reason__contains={0}",
    "/admin/eventsourcing_app/subscription/?segments__last_error__contains={0}",
    "/admin/eventsourcing_app/parkedevent/?q={0}",
    "/admin/eventsourcing_app/parkedevent/?reason__startswith={0}",
    "/admin/eventsourcing_app/parkedevent/?error={0}Error",
    "/admin/eventsourcing_app/parkedevent/?error__contains={0}",
    "/admin/eventsourcing_app/parkedevent/act/retry/?subscription=bank.audit&error={0}Error",
    "/admin/eventsourcing_app/parkedevent/act/retry/?subscription=bank.audit&reason={0}",
)


@pytest.mark.parametrize("question", ORACLES)
def test_no_question_tells_whether_something_masked_is_there(question: str, scene: Scene) -> None:
    client = client_of_role("masked")
    user = User.objects.get(username="masked")
    operates = ("export_storedevent", "operate_subscription")
    user.user_permissions.add(*Permission.objects.filter(codename__in=operates))
    told = []
    for guess in (MARK, "xq7nark"):
        with CaptureQueriesContext(connection) as queries:
            response: Any = client.get(question.format(guess))
        told.append((response.status_code, without_csrf(said(response)).replace(guess, "GUESS"), len(queries)))
    assert told[0] == told[1]


def without_csrf(text: str) -> str:
    text = re.sub(r'name="csrfmiddlewaretoken" value="[^"]*"', "", text)
    return re.sub(r'<time[^>]*>[^<]*</time>|filename="[^"]*"', "", text)


@pytest.mark.parametrize("page", ["subscription", "parkedevent", "demo_bank/account"])
def test_no_order_follows_what_is_masked(page: str, scene: Scene) -> None:
    client = client_of_role("masked")
    address = f"/admin/{page}/" if "/" in page else f"/admin/eventsourcing_app/{page}/"
    rows = {}
    for order in ("", "?o=4", "?o=-4", "?o=7.1"):
        text = said(client.get(address + order))
        rows[order] = re.findall(r'<th class="field[^>]*><a href="([^"?]*)', text)
    assert page == "demo_bank/account" or len({tuple(found) for found in rows.values()}) == 1, rows


# Events that there are not for a user


def of_ada(events: QuerySet[StoredEvent], user: Any) -> QuerySet[StoredEvent]:
    """All but those of bob."""
    bobs = [str(pk) for pk in Account.objects.filter(owner="bob").values_list("pk", flat=True)]
    return events.exclude(stream_key__in=bobs)


def test_events_that_there_are_not_for_a_user_are_on_no_page_that_can_be_reached(scene: Scene, settings: Any) -> None:
    settings.EVENTSOURCING = {"DISPATCHER": "none", "VISIBLE_EVENTS": f"{__name__}.of_ada"}
    client = client_of_role("exporter")
    user = User.objects.get(username="exporter")
    operates = ("operate_subscription", "change_account")
    user.user_permissions.add(*Permission.objects.filter(codename__in=operates))
    bob, hidden = scene.accounts["bob"], scene.of("bob")
    more = [f"/admin/demo_bank/account/{bob.pk}/{page}/" for page in ("change", "history", "past")]
    more += [f"/admin/eventsourcing_app/storedevent/{event.position}/change/" for event in hidden]
    more += [
        "/admin/eventsourcing_app/storedevent/correlation/?id=request+of+bob",
        f"/admin/eventsourcing_app/storedevent/?q={hidden[0].event_id}",
        f"/admin/eventsourcing_app/storedevent/?stream_key={bob.pk}",
        "/admin/eventsourcing_app/storedevent/tail/?after=0",
        "/admin/eventsourcing_app/storedevent/export/?format=ndjson",
        f"/admin/eventsourcing_app/subscription/{NOTIFICATIONS}/act/skip/",
        f"/admin/eventsourcing_app/parkedevent/act/retry/?subscription={AUDIT}",
    ]
    pages = crawled(client, *more)
    signs = [str(event.event_id) for event in hidden] + ["user:bob"]
    signs += [bytes(event.hash).hex() for event in hidden]
    signs += [f"storedevent/{event.position}/change" for event in hidden if event.position != hidden[1].position]
    signs += [f"parkedevent/{scene.parked_of_bob}/"]
    signs += [f"#{event.position}<" for event in hidden]
    # What was asked for is said again.
    leaks = [(url, sign) for url, text in pages.items() for sign in signs if sign in text and sign not in url]
    assert not leaks


def test_nobody_skips_at_a_subscription_what_is_not_there_for_them(scene: Scene, settings: Any) -> None:
    settings.EVENTSOURCING = {"DISPATCHER": "none", "VISIBLE_EVENTS": f"{__name__}.of_ada"}
    client = client_of_role("reader")
    position, before = scene.of("bob")[1].position, list(Segment.objects.values())
    address = f"/admin/eventsourcing_app/subscription/{NOTIFICATIONS}/act/skip/"
    response = client.post(address, {"position": position, "reason": "To try it"})
    assert response.status_code == 422
    assert list(Segment.objects.values()) == before
    settings.EVENTSOURCING = {"DISPATCHER": "none"}
    assert client.post(address, {"position": position, "reason": "To try it"}).status_code == 302
