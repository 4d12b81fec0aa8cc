"""The admin shows what is parked in groups, and operators retry or skip it: one or many, all of it or nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from eventsourcing_app.admin import parked_choice, parked_list
from eventsourcing_app.log import clock
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent, Subscription
from eventsourcing_app.subscriptions import operate
from tests import admin_operators
from tests.admin_client import text_of
from tests.admin_operators import OPERATE, OPERATOR, PARKED, PAYLOAD, VIEW, VIEW_PARKED, rows_of_everything, staff
from tests.api_operators import NAME, SECRET, acts, failing
from tests.reactions_sample.scene import deliver, wallet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.test import Client

pytestmark = [pytest.mark.django_db, pytest.mark.urls(admin_operators.__name__)]

FAILED = "failed"


@pytest.fixture(autouse=True)
def only_own(own_subscriptions: None, db: None) -> None:
    Subscription.objects.all().delete()  # the demo's


@pytest.fixture
def operator() -> Client:
    return staff(*OPERATOR)


def park(name: str, *reasons: str, state: str = FAILED, **columns: Any) -> list[ParkedEvent]:
    """Park an event for each of these errors, as subscriptions have left them."""
    subscription, _made = Subscription.objects.get_or_create(name=name, defaults={"kind": "subscriber"})
    segment, _made = Segment.objects.get_or_create(subscription=subscription)
    first = 1 + segment.parked
    rows = ParkedEvent.objects.bulk_create(
        ParkedEvent(
            segment=segment,
            position=first + number,
            event_id=uuid4(),
            type="samples.money_added",
            stream_type="samples.wallet",
            stream_key=f"w{number}",
            sequence=f"{first + number}",
            state=state,
            reason=reason,
            error=f"Traceback\n{reason}",
            attempts=1,
            first_failed_at=clock.now(),
            last_failed_at=clock.now(),
            **columns,
        )
        for number, reason in enumerate(reasons)
    )
    segment.parked += len(rows)
    segment.save()
    return rows


def really_parked(*fail_at: int, adds: int = 3) -> list[ParkedEvent]:
    failing(set(fail_at), name=NAME)
    wallet(adds=adds)
    deliver()
    return list(ParkedEvent.objects.order_by("position"))


def groups_in(response: Any) -> list[tuple[str, str, int]]:
    return [(line.group.subscription, line.group.error, line.group.number) for line in response.context["cl"].groups]


def rows_in(response: Any) -> list[int]:
    return [row.pk for row in response.context["cl"].result_list]


def tick(client: Client, action: str, rows: Iterable[ParkedEvent], **more: Any) -> Any:
    return client.post(PARKED, {"action": action, "index": "0", "_selected_action": [row.pk for row in rows], **more})


def hidden_in(page: str) -> str:
    found = re.search(r'name="chosen" value="([0-9,-]*)"', page)
    assert found is not None
    return found[1]


def send(client: Client, act: str, chosen: str, reason: str = "because") -> Any:
    return client.post(f"{PARKED}act/{act}/", {"chosen": chosen, "reason": reason})


def chosen(*rows: ParkedEvent) -> str:
    return ",".join(f"{row.pk}-{row.position}" for row in rows)


# The list


def test_what_is_parked_is_grouped_by_subscription_and_class_of_error(operator: Client) -> None:
    park("t.a", "ValueError: no stamps for 1", "ValueError: no stamps for 2", "KeyError: 'x'", "KeyError: 'x'")
    park("t.b", "ValueError: no stamps for 3", "The process died.")
    park("t.a", "", "", "", state="behind")
    park("t.a", "")
    response = operator.get(PARKED)
    assert groups_in(response) == [
        ("t.a", "", 3),
        ("t.a", "KeyError", 2),
        ("t.a", "ValueError", 2),
        ("t.a", "", 1),
        ("t.b", "The process died.", 1),
        ("t.b", "ValueError", 1),
    ]
    page = text_of(response)
    assert "KeyError: &#x27;x&#x27;" in page
    assert "such as “ValueError: no stamps for 1”" in page
    assert "none: they wait behind others of their streams" in page
    assert "not tried yet" in page
    assert page.count("/act/retry/?subscription=") == 5  # not of those that wait


def test_each_group_leads_to_its_events(operator: Client) -> None:
    rows = park("t.a", "ValueError: 1", "ValueError: 2", "KeyError: 'x'")
    behind = park("t.a", "", state="behind")
    untried = park("t.a", "")
    for line, expected in (
        ("subscription=t.a&error=ValueError", rows[:2]),
        ("subscription=t.a&error=KeyError", rows[2:]),
        ("subscription=t.a&error=", untried),
        ("subscription=t.a&state=behind", behind),
    ):
        assert line.replace("&", "&amp;") in text_of(operator.get(PARKED))
        assert rows_in(operator.get(f"{PARKED}?{line}")) == [row.pk for row in reversed(expected)], line
    for query in ("state=broken", "reason=a", "error__contains=a", "segment__subscription=t.a", "subscription=%00"):
        assert operator.get(f"{PARKED}?{query}").status_code == 400, query


def test_without_the_permission_for_payloads_no_error_is_told_grouped_or_asked_for() -> None:
    rows = park("t.a", f"ValueError: {SECRET}", "KeyError: 'x'")
    blind = staff(VIEW, VIEW_PARKED, OPERATE, name="blind")
    with CaptureQueriesContext(connection) as queries:
        response = blind.get(PARKED)
    assert groups_in(response) == [("t.a", "", 2)]
    grouped = [query["sql"] for query in queries.captured_queries if "GROUP BY" in query["sql"]]
    assert grouped
    assert not any('"reason"' in sql for sql in grouped)
    addresses = [PARKED, f"{PARKED}{rows[0].pk}/change/", f"{PARKED}act/skip/?id={rows[0].pk}"]
    for page in [text_of(blind.get(address)) for address in addresses] + [text_of(tick(blind, "skip_chosen", rows))]:
        assert "es-masked" in page
        for secret in (SECRET, "ValueError", "KeyError"):
            assert secret not in page
    for query in ("error=ValueError", "error="):
        assert blind.get(f"{PARKED}?{query}").status_code == 400
        assert blind.get(f"{PARKED}act/retry/?subscription=t.a&{query}").status_code == 400
    seeing = staff(*OPERATOR, name="seeing")
    assert all(SECRET in text_of(seeing.get(address)) for address in addresses)


def test_the_list_costs_the_same_queries_however_long_it_is(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = []
    for names in (["t.a"], ["t.b", "t.c", "t.d"]):
        for name in names:
            park(name, *(f"{name}{number}: x" for number in range(5 * len(names))))
        with CaptureQueriesContext(connection) as queries:
            text_of(operator.get(PARKED))
        costs.append(len(queries))
        told = [query["sql"] for query in queries.captured_queries if "parkedevent" in query["sql"]]
        assert len(told) == 2
        assert not any(re.search(r"OFFSET|DISTINCT|SELECT COUNT", sql, re.IGNORECASE) for sql in told)
    assert costs[0] == costs[1]
    monkeypatch.setattr(parked_list, "GROUPS", 3)
    assert len(groups_in(operator.get(PARKED))) == 3
    assert "There are more groups" in text_of(operator.get(PARKED))


def test_the_list_turns_its_pages_and_shows_groups_on_the_first(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventsourcing_app.admin.ParkedEventAdmin.list_per_page", 2)
    keys = [row.pk for row in park("t.a", "A: 1", "A: 2", "A: 3")]
    first = operator.get(PARKED)
    assert rows_in(first) == keys[:0:-1]
    second = operator.get(f"{PARKED}?before={keys[1]}")
    assert rows_in(second) == keys[:1]
    assert (len(groups_in(first)), groups_in(second)) == (1, [])


# The page of one


def test_the_page_of_one_tells_why_it_is_parked_and_what_waits_behind_it(operator: Client) -> None:
    first, second, third = really_parked(2)
    page = text_of(operator.get(f"{PARKED}{first.pk}/change/"))
    for told in ("Traceback", SECRET, str(first.event_id), NAME, f"/storedevent/{first.position}/change/"):
        assert told in page, told
    for row in (second, third):
        assert f"{PARKED}{row.pk}/change/" in page
    for act in ("retry", "skip"):
        assert f"{PARKED}act/{act}/?id={first.pk}" in page
    behind = text_of(operator.get(f"{PARKED}{second.pk}/change/"))
    assert f"{PARKED}{first.pk}/change/" in behind
    assert f"act/retry/?id={second.pk}" not in behind
    assert "/act/" not in text_of(staff(VIEW_PARKED, name="watcher").get(f"{PARKED}{first.pk}/change/"))


# Acting


def test_ticked_events_are_confirmed_with_a_reason_and_tried_again(operator: Client) -> None:
    given = failing({2})
    for _ in range(3):
        wallet(adds=2)
    deliver()
    rows = list(ParkedEvent.objects.filter(state=FAILED).order_by("position"))
    before = rows_of_everything()
    page = text_of(tick(operator, "retry_chosen", rows[:2]))
    assert rows_of_everything() == before  # it is only asked
    assert "2 events are chosen" in page
    assert send(operator, "retry", hidden_in(page), reason=" ").status_code == 422
    assert rows_of_everything() == before
    answer = send(operator, "retry", hidden_in(page), reason="stamps are here")
    assert (answer.status_code, answer.headers["Location"]) == (302, f"{PARKED}?subscription={NAME}")
    actor = f"user:{User.objects.get(username='operator').pk}"
    assert acts() == [("parked_events_retried", actor, "stamps are here")]
    assert StoredEvent.objects.latest("position").data["positions"] == [row.position for row in rows[:2]]
    given.clear()
    deliver()
    assert given.count(2) == 2


def test_a_whole_group_is_skipped_and_what_waited_goes_on(operator: Client) -> None:
    given = failing({2})
    for _ in range(2):
        wallet(adds=2)
    deliver()
    given.clear()
    page = text_of(operator.get(f"{PARKED}act/skip/?subscription={NAME}&error=ValueError"))
    assert "will never handle these events" in page
    assert send(operator, "skip", hidden_in(page)).status_code == 302
    assert [what for what, _who, _why in acts()] == ["event_skipped", "event_skipped"]
    deliver()
    assert given == [3, 3]
    assert not ParkedEvent.objects.exists()
    assert Segment.objects.get(subscription=NAME).parked == 0


def test_it_is_all_or_nothing_and_what_failed_is_named(operator: Client) -> None:
    first, second, _third = really_parked(2)
    other = park("t.other", "A: 1")[0]
    text = chosen(first, other)
    operate.skip(NAME, first.position, reason="another operator")
    before = rows_of_everything()
    for act in ("retry", "skip"):
        answer = text_of(send(operator, act, text), 409)
        assert f"#{first.position}: parked no more" in answer
        assert hidden_in(answer) == chosen(other)
        assert rows_of_everything() == before
    Subscription.objects.filter(name="t.other").update(kind="rebuild")
    assert "rebuild that is under way" in text_of(send(operator, "retry", chosen(second, other)), 409)
    ParkedEvent.objects.filter(pk=second.pk).update(state="behind")
    before = rows_of_everything()
    answer = text_of(send(operator, "retry", chosen(second)), 409)
    assert f"{NAME} cannot try #{second.position}: it waits behind another event of its stream." in answer
    assert rows_of_everything()[1:] == before[1:]


def test_what_waits_behind_is_left_out_of_a_retry(operator: Client) -> None:
    first, second, third = really_parked(2)
    page = text_of(tick(operator, "retry_chosen", [first, second, third]))
    assert "2 events are left out" in page
    assert hidden_in(page) == chosen(first)
    assert tick(operator, "retry_chosen", [second]).status_code == 302
    assert hidden_in(text_of(tick(operator, "skip_chosen", [first, second]))) == chosen(first, second)


def test_a_subscription_that_is_not_active_is_said_to_handle_nothing(operator: Client) -> None:
    row = really_parked(2)[0]
    operate.pause(NAME, reason="r")
    assert "is not active" in text_of(operator.get(f"{PARKED}act/retry/?id={row.pk}"))


def test_no_more_than_a_thousand_at_once_which_is_said(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parked_choice, "MOST", 2)
    rows = park("t.a", "A: 1", "A: 2", "A: 3")
    page = text_of(operator.get(f"{PARKED}act/skip/?subscription=t.a"))
    assert hidden_in(page) == chosen(*rows[:2])
    assert "these are the first ones" in page
    assert tick(operator, "skip_chosen", rows).status_code == 400
    assert send(operator, "skip", chosen(*rows)).status_code == 400


def test_many_cost_few_statements(operator: Client) -> None:
    costs = []
    for number in (2, 20):
        rows = park(f"t.{number}", *(f"A: {each}" for each in range(number)))
        with CaptureQueriesContext(connection) as queries:
            assert send(operator, "retry", chosen(*rows)).status_code == 302
        costs.append(len(queries))
    assert costs[0] == costs[1]


# Nothing else


def test_forged_requests_change_nothing(operator: Client, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = None  # Django's own limit
    rows = park("t.a", "A: 1", "A: 2")
    root = User.objects.create_superuser("root")
    clients = [operator, staff(VIEW_PARKED, PAYLOAD, name="watcher"), staff(OPERATE, name="blind")]
    before = rows_of_everything()
    key = rows[0].pk
    posts: list[tuple[dict[str, Any], set[int]]] = [
        ({"action": "delete_selected", "_selected_action": key, "post": "yes", "index": "0"}, {403}),
        ({"action": "explode", "_selected_action": key, "index": "0"}, {403}),
        ({"action": ["retry_chosen", "delete_selected"], "_selected_action": key, "index": "1"}, {403}),
        ({"_selected_action": key, "_save": "Save"}, {403}),
        ({}, {403}),
        ({"action": "", "_selected_action": key}, {302, 403}),
        ({"action": "retry_chosen"}, {302, 403}),
        ({"action": "retry_chosen", "_selected_action": "x"}, {400, 403}),
        ({"action": "retry_chosen", "_selected_action": "\x00"}, {400, 403}),
        ({"action": "retry_chosen", "_selected_action": 10**9, "index": "99"}, {302, 403}),
        ({"action": "skip_chosen", "_selected_action": key, "select_across": "1", "index": "x"}, {200, 403}),
        ({"action": "skip_chosen", "_selected_action": [key] * 1001}, {400, 403}),
    ]
    for client in clients:
        for data, expected in posts:
            answer = client.post(PARKED, data)
            assert answer.status_code in expected, data
            if client is not operator:
                assert answer.status_code in (400, 403), data
        for door in (f"{PARKED}{key}/change/", f"{PARKED}add/", f"{PARKED}{key}/delete/", f"{PARKED}?_popup=1"):
            assert client.post(door, {"action": "retry_chosen", "_selected_action": key}).status_code == 403, door
    for bad in ("", "1", "x-1", "1-1,", "1-", f"{10**20}-1", "1-1;2-2"):
        assert send(operator, "skip", bad).status_code == 400, bad
    for query in ("?id=x", "?id=1&x=1", "?state=dead", "?subscription=%00", "?subscription=t.a&reason=A"):
        assert operator.get(f"{PARKED}act/skip/{query}").status_code == 400, query
    assert operator.get(f"{PARKED}act/delete/?id={key}").status_code == 404
    for query in ("", f"?id={10**9}"):
        assert operator.get(f"{PARKED}act/skip/{query}").headers["Location"] == PARKED
    assert rows_of_everything() == before
    operator.force_login(root)
    page = text_of(tick(operator, "skip_chosen", rows, select_across="1"))
    assert hidden_in(page) == chosen(*rows)
    assert rows_of_everything() == before


def test_acts_are_for_those_who_may_see_and_operate() -> None:
    row = park("t.a", "A: 1")[0]
    before = rows_of_everything()
    for client in (staff(VIEW_PARKED, PAYLOAD, name="watcher"), staff(OPERATE, VIEW, name="blind")):
        for act in ("retry", "skip"):
            assert client.get(f"{PARKED}act/{act}/?id={row.pk}").status_code == 403
            assert send(client, act, chosen(row)).status_code == 403
            assert tick(client, f"{act}_chosen", [row]).status_code == 403
    operator = staff(*OPERATOR)
    for method in ("put", "patch", "delete"):
        assert getattr(operator, method)(f"{PARKED}act/skip/?id={row.pk}").status_code == 403
        assert getattr(operator, method)(PARKED).status_code == 403
    operator.handler.enforce_csrf_checks = True
    assert send(operator, "skip", chosen(row)).status_code == 403
    assert tick(operator, "skip_chosen", [row]).status_code == 403
    assert rows_of_everything() == before
    watcher = text_of(staff(VIEW_PARKED, name="another").get(PARKED))
    assert "_selected_action" not in watcher
    assert "/act/" not in watcher


def only_first(events: Any, user: Any) -> Any:
    return events.filter(version=2)


def test_events_that_there_are_not_for_a_user_are_parked_for_nobody(operator: Client, settings: Any) -> None:
    first, second, _third = really_parked(2)
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "VISIBLE_EVENTS": only_first}
    assert groups_in(operator.get(PARKED)) == [(NAME, "ValueError", 1)]
    assert rows_in(operator.get(PARKED)) == [first.pk]
    assert f"{PARKED}{second.pk}/" not in text_of(operator.get(f"{PARKED}{first.pk}/change/"))
    before = rows_of_everything()
    assert tick(operator, "skip_chosen", [second]).status_code == 302
    assert send(operator, "skip", chosen(second)).status_code == 409
    assert rows_of_everything() == before
