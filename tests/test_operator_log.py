"""The operator log tells who did what to which subscription, when and why; and finds it however long the log is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path

from eventsourcing_app import context
from eventsourcing_app.access.acts import acts_page
from eventsourcing_app.admin import StoredEventAdmin, SubscriptionAdmin
from eventsourcing_app.events.registry import registry
from eventsourcing_app.models import Segment, StoredEvent, Subscription
from eventsourcing_app.subscriptions.acts import ACTS
from eventsourcing_app.subscriptions.operate import pause, reset, resume, set_rate
from tests.admin_client import client_with
from tests.samples.factories import LOG, open_wallet, run_sql

if TYPE_CHECKING:
    from django.db.models import QuerySet

site = admin.AdminSite()
site.register(StoredEvent, StoredEventAdmin)
site.register(Subscription, SubscriptionAdmin)
site.register(User)
urlpatterns = [path("admin/", site.urls)]
OPERATORS = "/admin/eventsourcing_app/storedevent/operators/"
VIEW, PAYLOAD, SUBSCRIPTIONS = "view_storedevent", "view_payload", "view_subscription"

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


@pytest.fixture
def root() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", first_name="Grace", last_name="Hopper"))
    return client


def subscription(name: str) -> None:
    row = Subscription.objects.create(name=name, kind=Subscription.Kind.SUBSCRIBER)
    Segment.objects.create(subscription=row, checkpoint=0)


def acts(count: int, name: str = "samples.mail") -> None:
    """Pause and resume, so often."""
    for number in range(count):
        (resume if number % 2 else pause)(name, reason=f"reason {number}")


def lines(client: Client, query: str = "") -> list[str]:
    """The lines of the log, as text."""
    response = client.get(OPERATORS + query)
    assert response.status_code == 200, response.content
    return [
        f"{line.actor} {line.verb} {line.subscription} {line.reason} {line.details}"
        for line in response.context["lines"]
    ]


def positions(client: Client, query: str = "") -> list[int]:
    return [line.position for line in client.get(OPERATORS + query).context["lines"]]


def test_every_act_that_is_declared_has_a_word() -> None:
    declared = {each.name for each in registry.all() if each.cls.__module__ == "eventsourcing_app.subscriptions.acts"}
    assert declared == set(ACTS)
    assert all(str(verb) for verb in ACTS.values())


def test_it_tells_who_did_what_to_which_and_why_newest_first(root: Client) -> None:
    subscription("samples.mail")
    user = User.objects.get(username="root")
    with context(actor=f"user:{user.pk}"):
        pause("samples.mail", reason="Too <b>loud</b>")
    set_rate("samples.mail", "5/s", reason="Slower")
    newest, oldest = lines(root)
    assert "changed the rate" in newest
    assert "5/s" in newest
    assert "paused" in oldest
    page = root.get(OPERATORS).content.decode()
    assert "Grace Hopper" in page
    assert f"/admin/auth/user/{user.pk}/change/" in page
    assert "/admin/eventsourcing_app/subscription/samples.mail/change/" in page
    assert "Too &lt;b&gt;loud&lt;/b&gt;" in page


def test_positions_that_an_act_names_lead_to_their_events(root: Client) -> None:
    subscription("samples.mail")
    wallet = open_wallet("Ada", 1)
    reset("samples.mail", wallet.position or 0, reason="Again")
    assert "<dt>" not in lines(root)[0]
    act = StoredEvent.objects.get(type="eventsourcing.subscription_reset")
    assert f"/admin/eventsourcing_app/storedevent/{act.position}/change/" in root.get(OPERATORS).content.decode()


def test_filters_keep_what_they_name(root: Client) -> None:
    for name in ("samples.mail", "samples.sms"):
        subscription(name)
        with context(actor=f"user:{name}"):
            acts(2, name)
    assert len(lines(root)) == 4
    assert len(lines(root, "?subscription=samples.sms")) == 2
    assert len(lines(root, "?actor=user:samples.mail&act=eventsourcing.subscription_paused")) == 1
    assert lines(root, "?subscription=samples") == []
    assert len(lines(root, "?subscription=&actor=&act=")) == 4  # as an empty form sends it


@pytest.mark.parametrize(
    "query",
    [
        "reason=x",
        "data__reason=x",
        "actor__startswith=u",
        "act=samples.money_added",
        "act=x",
        "subscription=%00",
        "actor=%00",
        "subscription=a&subscription=b",
        "before=x",
        "before=1&after=1",
        f"after={2**63}",
        "q=x",
    ],
)
def test_what_cannot_be_asked_is_400(root: Client, query: str) -> None:
    assert root.get(f"{OPERATORS}?{query}").status_code == 400


def test_pages_go_by_position(root: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoredEventAdmin, "operators_per_page", 2)
    subscription("samples.mail")
    acts(5)
    first = root.get(OPERATORS)
    assert [line.reason for line in first.context["lines"]] == ["reason 4", "reason 3"]
    assert "newer" not in first.context
    second = root.get(first.context["older"])
    assert [line.reason for line in second.context["lines"]] == ["reason 2", "reason 1"]
    assert [line.reason for line in root.get(second.context["newer"]).context["lines"]] == ["reason 4", "reason 3"]
    last = root.get(second.context["older"])
    assert [line.reason for line in last.context["lines"]] == ["reason 0"]
    assert "older" not in last.context


def test_reasons_and_details_are_masked_and_not_even_fetched() -> None:
    subscription("samples.mail")
    set_rate("samples.mail", "7/s", reason="a secret")
    client = client_with(VIEW)
    with CaptureQueriesContext(connection) as queries:
        page = client.get(OPERATORS).content.decode()
    assert "changed the rate" in page
    assert "masked" in page
    assert "secret" not in page
    assert "7/s" not in page
    assert not [entry for entry in queries.captured_queries if '"data"' in entry["sql"]]


def test_who_sees_subscriptions_reads_why_but_no_more_of_what_the_events_say() -> None:
    subscription("samples.mail")
    set_rate("samples.mail", "7/s", reason="Slow <server>")
    client = client_with(SUBSCRIPTIONS)
    page = client.get(OPERATORS).content.decode()
    assert "changed the rate" in page
    assert "Slow &lt;server&gt;" in page
    assert "7/s" not in page
    assert "masked" in page
    assert "/storedevent/" not in page.replace(OPERATORS, "")  # which it may not see
    assert (
        "Slow &lt;server&gt;"
        in client.get("/admin/eventsourcing_app/subscription/samples.mail/change/").content.decode()
    )


def test_it_needs_the_permission_to_see_events_or_subscriptions() -> None:
    assert client_with(PAYLOAD, "operate_subscription", "view_parkedevent").get(OPERATORS).status_code == 403
    assert client_with(VIEW, name="other").get(OPERATORS).status_code == 200
    assert client_with(SUBSCRIPTIONS, name="fourth").get(OPERATORS).status_code == 200
    assert Client().get(OPERATORS).status_code == 302
    assert client_with(VIEW, name="third").post(OPERATORS, {"act": "x"}).status_code == 403


def none_of_mail(events: QuerySet[StoredEvent], _user: object) -> QuerySet[StoredEvent]:
    return events.exclude(stream_key="samples.mail")


def test_it_is_told_where_what_is_visible_is_distinct(root: Client, settings: Any) -> None:
    subscription("samples.mail")
    acts(2)
    settings.EVENTSOURCING = {"DISPATCHER": "none", "VISIBLE_EVENTS": lambda events, _user: events.distinct()}
    assert len(lines(root)) == 2


def test_acts_that_are_not_there_for_a_user_are_not_told(root: Client, settings: Any) -> None:
    for name in ("samples.mail", "samples.sms"):
        subscription(name)
        acts(1, name)
    settings.EVENTSOURCING = {"DISPATCHER": "none", "VISIBLE_EVENTS": none_of_mail}
    assert len(lines(root)) == 1
    assert "samples.mail" not in root.get(OPERATORS).content.decode().replace("<wbr>", "")


def test_more_acts_and_more_actors_take_no_more_queries(root: Client) -> None:
    subscription("samples.mail")
    counts = []
    for count in (2, 12):
        for number in range(count):
            user = User.objects.create_user(f"operator {count} {number}")
            with context(actor=f"user:{user.pk}"):
                acts(2)
        with CaptureQueriesContext(connection) as queries:
            assert "operator 2 1" in root.get(OPERATORS).content.decode()
        counts.append(len(queries))
    assert counts[0] == counts[1]


FILL = f"""
INSERT INTO {LOG} (event_id, stream_type, stream_key, version, type, schema_version, data, metadata, actor,
    correlation_id, causation_id, recorded_at, hash)
SELECT gen_random_uuid(), %s, %s, NULL, %s, 1, '{{}}', '{{}}', 'user:1', '', NULL, now(),
    decode(repeat('00', 32), 'hex')
FROM generate_series(1, %s)
"""


def rows_read(sql: str) -> float:
    """How many rows a statement takes out of tables and indexes, those that it then throws away included."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        ((plans,),) = cursor.fetchall()
    found, waiting = 0.0, [plans[0]["Plan"]]
    while waiting:
        node = waiting.pop()
        waiting += node.get("Plans", ())
        if "Scan" in node["Node Type"]:
            removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
            found += (node["Actual Rows"] + removed) * node["Actual Loops"]
    return found


@pytest.mark.needs_postgres
@pytest.mark.parametrize("filters", [{}, {"subscription": "samples.mail"}], ids=str)
def test_old_acts_are_found_without_a_walk_through_the_log(filters: dict[str, str]) -> None:
    """Many acts, all of them old: whoever believes them to be spread over the log would walk back through all of it."""
    paused = "eventsourcing.subscription_paused"
    run_sql(FILL, [paused, "samples.mail", paused, 2_000])
    run_sql(FILL, ["samples.never_applied", "", "samples.never_applied", 20_000])
    run_sql(f"ANALYZE {LOG}")
    root = User.objects.create_superuser("root")
    with CaptureQueriesContext(connection) as queries:
        assert len(acts_page(root, filters, limit=50).rows) == 50
    statements = [entry["sql"] for entry in queries.captured_queries if LOG in entry["sql"]]
    assert len(statements) == 2
    # Of one subscription all acts of a type may be read, which no index has in order.
    assert sum(map(rows_read, statements)) < (4 * 2_000 if filters else 500)
