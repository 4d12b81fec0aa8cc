"""The admin tells how each subscription is, and operators act on it: with a reason, by the library, in the log."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from eventsourcing_app.log import clock
from eventsourcing_app.models import ParkedEvent, Segment, Subscription
from eventsourcing_app.subscriptions import operate
from tests import admin_operators
from tests.admin_client import text_of
from tests.admin_operators import (
    EVENTS,
    OPERATE,
    OPERATOR,
    PAYLOAD,
    SUBSCRIPTIONS,
    VIEW,
    VIEW_PARKED,
    rows_of_everything,
    staff,
)
from tests.api_operators import NAME, SECRET, acts, failing
from tests.reactions_sample.scene import deliver, position_of, wallet

if TYPE_CHECKING:
    from django.test import Client

pytestmark = [pytest.mark.django_db, pytest.mark.urls(admin_operators.__name__)]

ONE = f"{SUBSCRIPTIONS}{NAME}"
PAGE = f"{ONE}/change/"


@pytest.fixture(autouse=True)
def only_own(own_subscriptions: None, db: None) -> None:
    Subscription.objects.all().delete()  # the demo's


@pytest.fixture
def operator() -> Client:
    return staff(*OPERATOR)


def names_in(response: Any) -> list[str]:
    return [row.name for row in response.context["cl"].result_list]


def subscriptions(*names: str, segments: int = 1, **columns: Any) -> None:
    Subscription.objects.bulk_create(Subscription(name=name, kind="subscriber", **columns) for name in names)
    Segment.objects.bulk_create(
        Segment(subscription_id=name, number=number) for name in names for number in range(segments)
    )


def send(client: Client, act: str, reason: str = "because", **given: Any) -> Any:
    return client.post(f"{ONE}/act/{act}/", {"reason": reason, **given})


# The list


def test_the_list_is_in_pages_by_name(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventsourcing_app.admin.SubscriptionAdmin.list_per_page", 2)
    subscriptions("t.a", "t.b", "t.c", "t.d", "t.e")
    first = operator.get(SUBSCRIPTIONS)
    assert names_in(first) == ["t.a", "t.b"]
    assert 'href="?after=t.b" rel="next"' in text_of(first)
    assert 'rel="prev"' not in text_of(first)
    assert names_in(operator.get(f"{SUBSCRIPTIONS}?after=t.b")) == ["t.c", "t.d"]
    assert names_in(operator.get(f"{SUBSCRIPTIONS}?before=t.c")) == ["t.a", "t.b"]
    falling = operator.get(f"{SUBSCRIPTIONS}?o=-0")
    assert names_in(falling) == ["t.e", "t.d"]
    assert re.search(r'href="\?before=t.d&amp;o=-0" rel="next"', text_of(falling))
    assert names_in(operator.get(f"{SUBSCRIPTIONS}?o=-0&before=t.d")) == ["t.c", "t.b"]
    assert names_in(operator.get(f"{SUBSCRIPTIONS}?o=-0&after=t.c")) == ["t.e", "t.d"]
    assert operator.get(f"{SUBSCRIPTIONS}?after=a&before=b").status_code == 400


def test_the_list_is_filtered_and_searched_by_what_is_offered(operator: Client) -> None:
    subscriptions("t.a", "t.ab", "u.a")
    Subscription.objects.filter(name="u.a").update(status="halted", kind="projection")
    for query, expected in {
        "status=halted": ["u.a"],
        "kind=subscriber": ["t.a", "t.ab"],
        "status=active&kind=projection": [],
        "q=t.a": ["t.a", "t.ab"],
        "q=u.a": ["u.a"],
        "q=.a": [],
        "q=%25": [],
    }.items():
        assert names_in(operator.get(f"{SUBSCRIPTIONS}?{query}")) == expected, query
    for query in (
        "status=broken",
        "status__in=active",
        "name__startswith=t",
        "segments__last_error__contains=a",
        "q=%00",
    ):
        assert operator.get(f"{SUBSCRIPTIONS}?{query}").status_code == 400, query


def test_list_and_page_cost_the_same_queries_however_much_there_is(operator: Client) -> None:
    counts = []
    for round_ in range(2):
        subscriptions(*(f"t.{round_}.{number}" for number in range(1 + 5 * round_)), segments=1 + 5 * round_)
        Segment.objects.update(last_error="ValueError: x", failed_at=clock.now(), failed_position=1, parked=1)
        ParkedEvent.objects.all().delete()
        ParkedEvent.objects.bulk_create(
            ParkedEvent(segment=segment, position=1, event_id=uuid4(), state="failed", last_failed_at=clock.now())
            for segment in Segment.objects.all()
        )
        for address in (SUBSCRIPTIONS, f"{SUBSCRIPTIONS}t.{round_}.0/change/"):
            with CaptureQueriesContext(connection) as queries:
                text_of(operator.get(address))
            counts.append(len(queries))
            told = [query["sql"] for query in queries.captured_queries]
            assert not any(re.search(r"OFFSET|DISTINCT", sql) for sql in told)
    assert counts[:2] == counts[2:]


def test_what_is_wrong_is_marked_and_said(operator: Client, settings: Any) -> None:
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "HEALTH_LAG_SECONDS": 60.0}
    failing(set())
    deliver()
    past = datetime.now(UTC) - timedelta(minutes=10)
    usual, settings.EVENTSOURCING = settings.EVENTSOURCING, {**settings.EVENTSOURCING, "CLOCK": lambda: past}
    wallet(adds=1)
    settings.EVENTSOURCING = usual
    page = text_of(operator.get(SUBSCRIPTIONS))
    assert "2 events" in page
    assert re.search(r'<b class="es-wrong"><span title="6\d\d\.\d+ s">10\xa0minutes</span></b>.*?>late<', page)
    Subscription.objects.update(status="paused", status_reason="maintenance")
    page = text_of(operator.get(SUBSCRIPTIONS))
    assert "es-wrong" not in page  # it is as an operator meant it
    assert "maintenance" in page
    Subscription.objects.update(status="halted", status_reason="too much")
    assert '<span class="es-badge es-wrong">halted</span>' in text_of(operator.get(SUBSCRIPTIONS))


def test_what_it_failed_of_last_is_told_with_its_event(operator: Client) -> None:
    failing({2})
    opened = wallet(adds=3)
    deliver()
    page = text_of(operator.get(SUBSCRIPTIONS))
    assert f"ValueError: {SECRET}" in page
    assert f'storedevent/{position_of(opened, 2)}/change/">#{position_of(opened, 2)}<' in page
    assert f"{admin_operators.PARKED}?subscription={NAME}" in page


def test_the_rate_says_who_has_set_it(operator: Client) -> None:
    failing(set(), rate="50/s", burst=7)
    deliver()
    page = text_of(operator.get(SUBSCRIPTIONS))
    assert "50/s, 7 at once" in page
    assert "set by an operator" not in page
    operate.set_rate(NAME, "", reason="r")
    page = text_of(operator.get(SUBSCRIPTIONS))
    assert "unlimited" in page
    assert "set by an operator; declared: 50/s 7" in page


# The page of one


def test_the_page_tells_all_of_a_subscription(operator: Client) -> None:
    failing({2}, segments=64)
    opened = wallet(adds=3)
    deliver()
    operate.set_rate(NAME, "5/s", reason="the mail server is slow")
    page = text_of(operator.get(PAGE))
    assert len(re.findall(r'<th scope="row">\d+</th>', page)) == 64
    for told in ("samples.money_added", "subscriber", "5/s", f"#{position_of(opened, 2)}", "the mail server is slow"):
        assert told in page, told
    assert "changed the rate" in page
    assert "changed the rate" in text_of(operator.get(f"{ONE}/history/"))


def test_errors_are_masked_without_the_permission_for_payloads_but_not_the_words_of_operators(operator: Client) -> None:
    failing({2}, name="t.halting", on_failure="halt", max_attempts=1)
    failing({2})
    wallet(adds=3)
    deliver()
    operate.pause(NAME, reason="words of an operator")
    blind = staff(VIEW, VIEW_PARKED, OPERATE, EVENTS, name="blind")
    halting = f"{SUBSCRIPTIONS}t.halting"
    for address in (SUBSCRIPTIONS, PAGE, f"{ONE}/act/retry/", f"{halting}/change/", f"{halting}/act/skip/"):
        assert SECRET in text_of(operator.get(address)), address
        masked = text_of(blind.get(address))
        assert SECRET not in masked
        assert "es-masked" in masked
    for client in (operator, blind, staff(VIEW, name="no events")):
        assert text_of(client.get(PAGE)).count("words of an operator") == 2  # in its status, and in what was done last


def hides_all(events: Any, user: Any) -> Any:
    return events.none()


def test_an_event_that_there_is_not_for_a_user_is_not_told_by_a_failure(operator: Client, settings: Any) -> None:
    failing({2}, name="t.halting", on_failure="halt", max_attempts=1)
    failing({2})
    wallet(adds=3)
    deliver()
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "VISIBLE_EVENTS": hides_all}
    for address in (SUBSCRIPTIONS, PAGE):
        page = text_of(operator.get(address))
        assert "ValueError" not in page
        assert not re.search(r"/storedevent/\d+/", page)


# Acting


def test_only_what_the_status_allows_is_offered_and_only_to_operators(operator: Client) -> None:
    failing(set())
    deliver()

    def offered(client: Client) -> set[str]:
        return set(re.findall(rf'href="{re.escape(ONE)}/act/([a-z-]+)/"', text_of(client.get(PAGE))))

    assert offered(operator) == {"pause", "catch-up", "rate", "reset"}
    Subscription.objects.update(status="paused")
    assert offered(operator) == {"resume", "rate", "reset"}
    Subscription.objects.update(status="halted")
    Segment.objects.update(failed_position=10**6, parked=1)
    assert offered(operator) == {"resume", "retry", "skip", "rate", "reset"}
    Subscription.objects.update(status="unsubscribed")
    Segment.objects.all().delete()
    assert offered(operator) == {"rate"}
    Subscription.objects.update(kind="rebuild")
    assert offered(operator) == set()
    assert offered(staff(VIEW, PAYLOAD, name="watcher")) == set()
    for act in ("pause", "reset", "rate"):
        assert operator.get(f"{ONE}/act/{act}/").status_code == 409
        assert send(operator, act, to="now").status_code == 409
    assert acts() == []


ALL_ACTS = ("pause", "resume", "retry", "skip", "catch-up", "rate", "reset")


def test_acts_are_for_those_who_may_see_and_operate(operator: Client) -> None:
    failing(set())
    deliver()
    before = rows_of_everything()
    for client in (staff(VIEW, name="watcher"), staff(OPERATE, VIEW_PARKED, name="blind")):
        for act in ALL_ACTS:
            assert client.get(f"{ONE}/act/{act}/").status_code == 403
            assert send(client, act).status_code == 403
    root = User.objects.create_superuser("root")
    operator.force_login(root)
    for method in ("put", "patch", "delete"):
        assert getattr(operator, method)(f"{ONE}/act/pause/").status_code == 403
        assert getattr(operator, method)(PAGE).status_code == 403
    assert operator.post(PAGE, {"status": "paused"}).status_code == 403
    for address in (f"{ONE}/act/explode/", f"{SUBSCRIPTIONS}t.nobody/act/pause/", f"{SUBSCRIPTIONS}_00/act/pause/"):
        for method in ("get", "post"):
            assert getattr(operator, method)(address, {"reason": "r"}).status_code == 404, address
    assert rows_of_everything() == before


def test_each_act_is_confirmed_with_a_reason_and_is_in_the_log_with_its_actor(operator: Client) -> None:
    failing({2, 3})
    opened = wallet(adds=3)
    deliver()
    for act, given in (
        ("pause", {}),
        ("resume", {}),
        ("rate", {"rate": "5/s", "burst": "7"}),
        ("rate", {"rate": "", "burst": ""}),
        ("catch-up", {}),
        ("retry", {}),
        ("reset", {"to": "position", "position": "3"}),
        ("reset", {"to": "now"}),
    ):
        page = text_of(operator.get(f"{ONE}/act/{act}/"))
        assert 'name="csrfmiddlewaretoken"' in page
        assert 'name="reason"' in page
        answer = send(operator, act, f"why {act}", **given)
        assert (answer.status_code, answer.headers.get("Location")) == (302, PAGE), answer.content
    actor = f"user:{User.objects.get(username='operator').pk}"
    assert acts() == [
        ("subscription_paused", actor, "why pause"),
        ("subscription_resumed", actor, "why resume"),
        ("subscription_rate_changed", actor, "why rate"),
        ("subscription_rate_changed", actor, "why rate"),
        ("subscription_hurried", actor, "why catch-up"),
        ("parked_events_retried", actor, "why retry"),
        ("subscription_reset", actor, "why reset"),
        ("subscription_reset", actor, "why reset"),
    ]
    assert "why pause" in text_of(operator.get(PAGE))
    assert opened.version == 4


def test_an_event_that_has_halted_it_is_skipped(operator: Client) -> None:
    given = failing({2}, on_failure="halt", max_attempts=1)
    opened = wallet(adds=2)
    deliver()
    stopped_at = position_of(opened, 2)
    page = text_of(operator.get(f"{ONE}/act/skip/"))
    assert f'<option value="{stopped_at}">#{stopped_at}</option>' in page
    assert "will never handle this event" in page
    assert send(operator, "skip", position=stopped_at + 1).status_code == 422
    assert send(operator, "skip", position=stopped_at).status_code == 302
    deliver()
    assert given == [2, 3]


@pytest.mark.parametrize(
    ("act", "given", "field"),
    [
        ("pause", {"reason": ""}, "reason"),
        ("pause", {"reason": " \n"}, "reason"),
        ("pause", {"reason": "a\x00"}, "reason"),
        ("pause", {"reason": "x" * 1001}, "reason"),
        ("rate", {"rate": "fast"}, "rate"),
        ("rate", {"rate": "0/s"}, "rate"),
        ("rate", {"rate": "", "burst": "5"}, "burst"),
        ("rate", {"rate": "5/s", "burst": "0"}, "burst"),
        ("rate", {"rate": "5/s", "burst": str(2**31)}, "burst"),
        ("reset", {}, "to"),
        ("reset", {"to": "end"}, "to"),
        ("reset", {"to": "position"}, "position"),
        ("reset", {"to": "position", "position": "-1"}, "position"),
        ("reset", {"to": "position", "position": str(2**63)}, "position"),
        ("skip", {}, "position"),
    ],
)
def test_what_the_form_cannot_take_is_said_at_its_field(
    operator: Client, act: str, given: dict[str, str], field: str
) -> None:
    failing({2}, on_failure="halt", max_attempts=1)
    deliver()
    before = rows_of_everything()
    answer = send(operator, act, **{"reason": "r", **given})
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field]
    assert rows_of_everything() == before


def test_a_projection_is_not_offered_to_go_back_to_the_beginning(operator: Client) -> None:
    failing(set())
    deliver()
    assert "the beginning:" in text_of(operator.get(f"{ONE}/act/reset/"))
    Subscription.objects.update(kind=Subscription.Kind.PROJECTION)
    assert "the beginning:" not in text_of(operator.get(f"{ONE}/act/reset/"))
    assert list(send(operator, "reset", to="beginning").context["form"].errors) == ["to"]


def test_a_refusal_is_shown_and_changes_nothing(operator: Client) -> None:
    failing(set())
    deliver()
    before = rows_of_everything()
    for act, given, why in (
        ("resume", {}, "only one that is paused or halted can be resumed"),
        ("retry", {}, "has nothing that could be tried again"),
        ("reset", {"to": "position", "position": "999999999999"}, "is not in the log"),
    ):
        assert why in text_of(send(operator, act, **given), 409)
    assert rows_of_everything() == before


def seen_in(page: Any, status: int = 200) -> str:
    found = re.search(r'name="seen" value="([^"]+)"', text_of(page, status))
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("act", "given"), [("reset", {"to": "beginning"}), ("catch-up", {}), ("rate", {"rate": "5/s"}), ("retry", {})]
)
def test_a_form_that_is_sent_twice_is_done_once(operator: Client, act: str, given: dict[str, str]) -> None:
    failing({2})
    wallet(adds=3)
    deliver()
    seen = seen_in(operator.get(f"{ONE}/act/{act}/"))
    assert send(operator, act, seen=seen, **given).status_code == 302
    before = rows_of_everything()
    answer = send(operator, act, seen=seen, **given)
    assert "Something was done to t.operated since this page was made" in text_of(answer, 409)
    assert rows_of_everything() == before
    assert send(operator, act, seen=seen_in(answer, 409), **given).status_code == 302  # once more, knowingly


def test_a_form_that_was_wrong_is_still_of_what_it_came_from(operator: Client) -> None:
    failing(set())
    deliver()
    seen = seen_in(operator.get(f"{ONE}/act/reset/"))
    operate.catch_up(NAME, reason="somebody else")
    wrong = send(operator, "reset", reason="", to="beginning", seen=seen)
    assert seen_in(wrong, 422) == seen
    again = send(operator, "reset", to="beginning", seen=seen_in(wrong, 422))
    assert "Something was done to t.operated since this page was made" in text_of(again, 409)


def test_a_form_skips_only_what_the_subscription_has_stopped_at(operator: Client, settings: Any) -> None:
    failing({2})
    opened = wallet(adds=3)
    deliver()
    before = rows_of_everything()
    for client in (operator, staff(VIEW, OPERATE, name="may not see what is parked")):
        answer = send(client, "skip", position=str(position_of(opened, 2)))
        assert (answer.status_code, list(answer.context["form"].errors)) == (422, ["position"])
    assert rows_of_everything() == before


def test_of_two_operators_the_second_is_told_what_the_first_has_done(operator: Client) -> None:
    failing({2}, on_failure="halt", max_attempts=1)
    wallet(adds=1)
    deliver()
    assert seen_in(operator.get(f"{ONE}/act/resume/")) == "halted 0"
    operate.resume(NAME, reason="the first")
    operate.pause(NAME, reason="the first")
    answer = text_of(send(operator, "resume", seen="halted 0"), 409)
    assert f"{NAME} is paused now: it was halted when this page was made." in answer
    assert Subscription.objects.get().status == "paused"
    assert 'name="seen" value="paused ' in answer
    assert send(operator, "resume", seen=seen_in(operator.get(f"{ONE}/act/resume/"))).status_code == 302


def test_an_act_needs_its_csrf_token(operator: Client) -> None:
    failing(set())
    deliver()
    before = rows_of_everything()
    operator.handler.enforce_csrf_checks = True
    assert send(operator, "pause").status_code == 403
    assert rows_of_everything() == before
