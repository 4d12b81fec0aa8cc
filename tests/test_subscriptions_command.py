"""``manage.py subscriptions``: what it shows, how it ends, and that its acts are those of the library."""

from __future__ import annotations

import json
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command
from django.test.utils import override_settings

from eventsourcing_app import RecordedEvent, subscriber
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent, Subscription
from tests.reactions_sample.scene import deliver, no_subscriptions, position_of, wallet
from tests.samples.events import MoneyAdded

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "t.commanded"


@pytest.fixture(autouse=True)
def own_subscriptions(db: None) -> Iterator[None]:
    Subscription.objects.all().delete()  # the demo's
    with no_subscriptions(), override_settings(EVENTSOURCING={"DISPATCHER": "none", "RETRY_SECONDS": (600.0, 3600.0)}):
        yield


def failing(fail_at: set[int]) -> list[int | None]:
    given: list[int | None] = []

    @subscriber(NAME, MoneyAdded)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        given.append(recorded.version)
        if recorded.version in fail_at:
            raise ValueError("no stamps left")

    return given


def said(*arguments: str) -> str:
    out = StringIO()
    call_command("subscriptions", *arguments, stdout=out)
    return out.getvalue()


def act(name: str, *arguments: str) -> str:
    return said(name, NAME, *arguments, "--reason", "because", "--actor", "user:7")


def test_the_list_is_for_people_for_programs_and_for_probes() -> None:
    failing({2})
    wallet(adds=2)
    deliver()
    assert said("list").splitlines()[0].split() == [
        "NAME",
        "STATUS",
        "CHECKPOINT",
        "BEHIND",
        "SECONDS",
        "PARKED",
        "DEAD",
        "RATE",
    ]
    (row,) = json.loads(said("list", "--json"))
    assert (row["name"], row["status"], row["parked"], row["events"]) == (NAME, "active", 2, 0)
    said("list", "--max-lag", "0")
    wallet(adds=1)
    with pytest.raises(CommandError, match=f"{NAME} is 2 events"):
        said("list", "--max-lag", "1")
    said("list", "--max-lag", "2")
    Subscription.objects.update(status="halted", status_reason="too many")
    with pytest.raises(CommandError, match="is halted: too many"):
        said("list", "--max-lag", "1000")


def test_what_is_parked_is_shown_with_its_error() -> None:
    failing({2})
    opened = wallet(adds=2)
    deliver()
    first, second = json.loads(said("parked", NAME, "--json"))
    assert (first["position"], first["state"], first["attempts"]) == (position_of(opened, 2), "failed", 1)
    assert first["error"] == "ValueError: no stamps left"
    assert (second["state"], second["retry_at"]) == ("behind", None)
    assert "no stamps left" in said("parked")
    assert json.loads(said("parked", "t.other", "--json")) == []


def test_acts_are_done_and_kept_in_the_log() -> None:
    fail_at = {2}
    given = failing(fail_at)
    opened = wallet(adds=3)
    deliver()
    assert act("pause") == f"{NAME}: done\n"
    act("resume")
    act("rate", "5/s", "--burst", "2")
    act("rate", "none")
    assert "1 events will be tried again" in act("retry")
    act("skip", str(position_of(opened, 2)))
    assert "2 events handled" in act("catch_up")
    act("reset", "now")
    act("unsubscribe", "--drop-checkpoint")
    act("subscribe")
    assert given == [2, 3, 4]
    kept = StoredEvent.objects.filter(stream_key=NAME).order_by("position")
    assert {each.actor for each in kept} == {"user:7"}
    assert len(kept) == 10
    assert not ParkedEvent.objects.exists()


def test_what_cannot_be_done_is_an_error_that_says_why() -> None:
    with pytest.raises(CommandError, match=r"no subscription 't\.commanded'"):
        act("pause")
    failing(set())
    deliver()
    with pytest.raises(CommandError, match="only one that is paused"):
        act("resume")
    with pytest.raises(CommandError, match="is no rate"):
        act("rate", "often")
    with pytest.raises(CommandError, match="--reason"):
        said("pause", NAME)
    with pytest.raises(CommandError, match=r"invalid .* value"):
        act("reset", "yesterday")


def test_to_catch_up_fails_if_something_still_fails() -> None:
    failing({2})
    wallet(adds=1)
    deliver()
    with pytest.raises(CommandError, match="has parked 1 event"):
        act("catch_up")


def test_a_user_without_a_name_is_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(set())
    wallet(adds=1)
    deliver()

    def getuser() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr("getpass.getuser", getuser)
    monkeypatch.setattr("os.getuid", lambda: 1234)
    said("pause", NAME, "--reason", "because")
    assert StoredEvent.objects.get(stream_key=NAME).actor == "shell:1234"


@pytest.mark.parametrize("command", ["subscribe", "catch_up"])
def test_a_handler_that_is_not_here_is_an_error_of_the_command(command: str) -> None:
    Subscription.objects.create(
        name=NAME, kind="subscriber", handler="tests.nowhere.handle", types=["samples.money_added"]
    )
    with pytest.raises(CommandError, match=r"tests\.nowhere\.handle of t\.commanded, .* cannot be loaded"):
        act(command)


def test_a_rebuild_that_is_behind_is_no_reason_for_alarm() -> None:
    Subscription.objects.create(name="t.totals~rebuild", kind="rebuild")
    Segment.objects.create(subscription_id="t.totals~rebuild")
    wallet(adds=5)
    said("list", "--max-lag", "0")


def test_catching_up_with_what_is_left_to_other_code_says_so() -> None:
    failing(set())
    wallet(adds=1)
    deliver()
    Subscription.objects.filter(name=NAME).update(types=["samples.of_the_next_release"])
    with pytest.raises(CommandError, match="is left to other code"):
        act("catch_up")


def test_once_is_for_one_process() -> None:
    with pytest.raises(CommandError, match="--once"):
        call_command("run_subscriptions", "--once", "--workers", "2")
