"""What operators do to subscriptions does what it says, needs a reason, and is an event in the log."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test.utils import CaptureQueriesContext, override_settings

from eventsourcing_app import Projection, RecordedEvent, context, handles, subscribe, subscriber, unsubscribe
from eventsourcing_app.exceptions import NoSuchSubscription, OperationRefused
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent, Subscription
from eventsourcing_app.subscriptions import catch_up, claim, lags, pause, reset, resume, retry, set_rate, skip
from eventsourcing_app.subscriptions.hurry import hurry
from eventsourcing_app.subscriptions.parking import set_behind
from eventsourcing_app.subscriptions.registry import registry
from eventsourcing_app.subscriptions.release import define
from eventsourcing_app.subscriptions.windows import Share
from eventsourcing_app.subscriptions.work import work
from eventsourcing_app.subscriptions.worker import Worker
from tests.reactions_sample.scene import claimed, deliver, no_subscriptions, position_of, rolled_back, segment, wallet
from tests.samples.events import MoneyAdded

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db

NAME = "t.operated"
WHY = "because"


@pytest.fixture(autouse=True)
def own_subscriptions() -> Iterator[None]:
    with no_subscriptions(), override_settings(EVENTSOURCING={"DISPATCHER": "none", "RETRY_SECONDS": (600.0, 3600.0)}):
        yield


def failing(fail_at: set[int], **options: object) -> list[int | None]:
    """Subscribe a handler that fails on the versions that ``fail_at`` has at the time; return what it was given."""
    given: list[int | None] = []

    @subscriber(NAME, MoneyAdded, **options)  # type: ignore[arg-type]
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        given.append(recorded.version)
        if recorded.version in fail_at:
            raise ValueError("no stamps left")

    return given


def acts() -> list[tuple[str, str, str]]:
    """The acts in the log: what, who, why."""
    found = StoredEvent.objects.filter(stream_type__startswith="eventsourcing.", stream_key=NAME).order_by("position")
    return [(each.type.partition(".")[2], each.actor, each.data["reason"]) for each in found]


def test_each_act_is_an_event_with_actor_and_reason() -> None:
    failing({2})
    opened = wallet(adds=3)
    deliver()
    with context(actor="user:7"):
        pause(NAME, reason="a")
        resume(NAME, reason="b")
        set_rate(NAME, "5/s", reason="c")
        catch_up(NAME, reason="d")
        retry(NAME, reason="e")
        skip(NAME, position_of(opened, 2), reason="f")
        reset(NAME, "now", reason="g")
        unsubscribe(NAME, reason="h")
        subscribe(NAME, reason="i")
    assert acts() == [
        ("subscription_paused", "user:7", "a"),
        ("subscription_resumed", "user:7", "b"),
        ("subscription_rate_changed", "user:7", "c"),
        ("subscription_hurried", "user:7", "d"),
        ("parked_events_retried", "user:7", "e"),
        ("event_skipped", "user:7", "f"),
        ("subscription_reset", "user:7", "g"),
        ("subscription_stopped", "user:7", "h"),
        ("subscription_started", "user:7", "i"),
    ]


ACTS: dict[str, Callable[[str], object]] = {
    "pause": lambda reason: pause(NAME, reason=reason),
    "resume": lambda reason: resume(NAME, reason=reason),
    "retry": lambda reason: retry(NAME, reason=reason),
    "skip": lambda reason: skip(NAME, ParkedEvent.objects.earliest("position").position, reason=reason),
    "reset": lambda reason: reset(NAME, "now", reason=reason),
    "catch_up": lambda reason: catch_up(NAME, reason=reason),
    "set_rate": lambda reason: set_rate(NAME, "5/s", reason=reason),
    "unsubscribe": lambda reason: unsubscribe(NAME, keep_checkpoint=False, reason=reason),
}


def rows_of_everything() -> list[list[dict[str, Any]]]:
    models: tuple[Any, ...] = (Subscription, Segment, ParkedEvent, StoredEvent)
    return [list(model.objects.order_by("pk").values()) for model in models]


@pytest.mark.parametrize("act", ACTS)
def test_act_and_event_are_stored_together_or_not_at_all(act: str) -> None:
    failing({2})
    wallet()
    deliver()
    if act == "resume":
        pause(NAME, reason=WHY)
    before = rows_of_everything()
    with rolled_back():
        ACTS[act](WHY)
        assert rows_of_everything() != before
    assert rows_of_everything() == before


@pytest.mark.parametrize("act", [name for name in ACTS if name not in ("skip", "unsubscribe")])
def test_nothing_is_done_without_a_reason_or_to_nobody(act: str) -> None:
    with pytest.raises(NoSuchSubscription, match=NAME):
        ACTS[act](WHY)
    failing({2})
    wallet()
    deliver()
    with pytest.raises(OperationRefused, match="Say why"):
        ACTS[act]("  ")
    assert acts() == []


def test_a_paused_one_handles_nothing_until_it_is_resumed() -> None:
    given = failing(set())
    wallet(adds=1)
    deliver()
    pause(NAME, reason=WHY)
    wallet(adds=1)
    assert deliver().handled == 0
    with pytest.raises(OperationRefused, match="paused"):
        pause(NAME, reason=WHY)
    with pytest.raises(OperationRefused, match="resume it first"):
        catch_up(NAME, reason=WHY)
    resume(NAME, reason=WHY)
    with pytest.raises(OperationRefused, match="active"):
        resume(NAME, reason=WHY)
    assert deliver().handled == 1
    assert given == [2, 2]


def test_a_dead_event_is_tried_again_with_all_its_attempts_and_those_behind_follow() -> None:
    fail_at = {2}
    given = failing(fail_at, max_attempts=1)
    opened = wallet(adds=3)
    deliver()
    assert list(ParkedEvent.objects.values_list("state", "attempts")) == [("dead", 1), ("behind", 0), ("behind", 0)]
    assert retry(NAME, position_of(opened, 2), reason=WHY) == 1
    deliver()
    assert ParkedEvent.objects.get(position=position_of(opened, 2)).attempts == 1
    fail_at.clear()
    retry(NAME, reason=WHY)
    deliver()
    assert given == [2, 2, 2, 3, 4]
    assert not ParkedEvent.objects.exists()
    with pytest.raises(OperationRefused, match="nothing that could be tried again"):
        retry(NAME, reason=WHY)


def test_after_a_skipped_event_the_next_of_its_stream_has_its_turn() -> None:
    given = failing({2}, max_attempts=1)
    opened = wallet(adds=3)
    deliver()
    with pytest.raises(OperationRefused, match="#999"):
        skip(NAME, 999, reason=WHY)
    skip(NAME, position_of(opened, 2), reason=WHY)
    deliver()
    assert given == [2, 3, 4]
    skipped = StoredEvent.objects.get(type="eventsourcing.event_skipped")
    assert skipped.data["position"] == position_of(opened, 2)
    assert (segment(NAME).parked, segment(NAME).parked_due_at) == (0, None)


@pytest.mark.parametrize("act", ["retry", "skip", "resume"])
def test_one_that_an_event_has_halted_goes_on(act: str) -> None:
    fail_at = {3}
    given = failing(fail_at, max_attempts=1, on_failure="halt")
    opened = wallet(adds=3)
    deliver()
    row = Subscription.objects.get(name=NAME)
    assert (row.status, given) == ("halted", [2, 3])
    assert "no stamps left" in row.status_reason
    if act != "skip":
        fail_at.clear()
    position = position_of(opened, 3)
    if act == "retry":
        assert retry(NAME, position, reason=WHY) == 1
    elif act == "skip":
        skip(NAME, position, reason=WHY)
    else:
        resume(NAME, reason=WHY)
    deliver()
    assert given == ([2, 3, 4] if act == "skip" else [2, 3, 3, 4])
    assert Subscription.objects.get(name=NAME).status == "active"


def test_reset_brings_events_again_and_those_that_were_parked_after_it_only_once() -> None:
    fail_at = {3}
    given = failing(fail_at)
    opened = wallet(adds=3)
    deliver()
    assert given == [2, 3]
    fail_at.clear()
    reset(NAME, position_of(opened, 2), reason=WHY)
    assert not ParkedEvent.objects.exists()
    deliver()
    assert given == [2, 3, 3, 4]
    reset(NAME, "beginning", reason=WHY)
    deliver()
    assert given == [2, 3, 3, 4, 2, 3, 4]
    with pytest.raises(OperationRefused, match="not in the log"):
        reset(NAME, 10**6, reason=WHY)


@pytest.mark.parametrize("to", ["Now", "begin", "", True, None, 3.0])
def test_it_is_reset_to_nothing_that_is_no_place_in_the_log(to: Any) -> None:
    failing(set())
    wallet(adds=3)
    deliver()
    before = segment(NAME).checkpoint
    with pytest.raises(OperationRefused, match="nothing to reset to"):
        reset(NAME, to, reason=WHY)
    assert segment(NAME).checkpoint == before


@pytest.mark.parametrize("act", ["skip", "retry", "resume"])
def test_an_event_that_it_has_got_past_is_no_longer_one_that_it_stopped_at(act: str) -> None:
    """In careful mode the checkpoint moves on by itself, and what had failed is still written there."""
    fail_at = {3}
    failing(fail_at, on_failure="halt", max_attempts=9)
    opened = wallet(adds=3)
    deliver()
    stopped, last = position_of(opened, 3), position_of(opened, 4)
    assert segment(NAME).failed_position == stopped
    Segment.objects.update(checkpoint=last, attempts=4, retry_at=None)
    if act == "resume":
        pause(NAME, reason=WHY)
        resume(NAME, reason=WHY)
    else:
        with pytest.raises(OperationRefused, match="nothing at"):
            (skip if act == "skip" else retry)(NAME, stopped, reason=WHY)
    assert (segment(NAME).checkpoint, segment(NAME).attempts) == (last, 4)


def test_what_an_operator_retries_while_its_handler_runs_keeps_its_new_attempts() -> None:
    given: list[int | None] = []

    @subscriber(NAME, MoneyAdded, max_attempts=2)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        given.append(recorded.version)
        if len(given) == 2:
            retry(NAME, recorded.position, reason=WHY)
        if len(given) < 5:
            raise ValueError("no stamps left")

    wallet(adds=1)
    deliver()
    hurry([NAME])
    deliver()
    assert len(given) == 3, "at once, and once more after that"
    assert ParkedEvent.objects.values_list("state", "attempts").get() == ("failed", 1)


@pytest.mark.parametrize("by", ["operator", "code"])
def test_with_another_rate_the_wait_of_the_old_one_is_over(by: str) -> None:
    given = failing(set(), rate="1/h", burst=1)
    wallet(adds=3)
    deliver()
    assert given == [2]
    if by == "operator":
        set_rate(NAME, "", reason=WHY)
    else:
        failing(set(), rate="1000/s")
        define(registry.all())
    deliver()
    assert segment(NAME).checkpoint == StoredEvent.objects.latest("position").position


def test_a_projection_is_not_reset_backwards_since_it_would_count_twice() -> None:
    class Counting(Projection):
        name = NAME

        @handles(MoneyAdded)
        def add(self, event: MoneyAdded, recorded: RecordedEvent) -> None: ...

    wallet()
    deliver()
    with pytest.raises(OperationRefused, match="rebuild_projection"):
        reset(NAME, "beginning", reason=WHY)
    reset(NAME, "now", reason=WHY)


@pytest.mark.parametrize("act", ["reset", "skip"])
def test_a_worker_in_the_middle_cannot_undo_what_an_operator_did(act: str) -> None:
    fail_at = {2}
    failing(fail_at, on_failure="halt")
    opened = wallet(adds=3)
    deliver()
    Segment.objects.update(retry_at=None)
    worker = Worker()
    mine = claimed(NAME, worker)
    if act == "reset":
        reset(NAME, "now", reason=WHY)
    else:
        skip(NAME, position_of(opened, 2), reason=WHY)
    moved = segment(NAME).checkpoint
    (definition,) = registry.all()
    worker.begin_turn()
    turn = work(worker, definition, mine)
    claim.release([] if turn.is_over else [mine], token=worker.token)
    assert segment(NAME).checkpoint == moved
    assert segment(NAME).failed_position is None


def test_what_waits_behind_a_skipped_event_is_never_left_waiting_for_nobody() -> None:
    """The worker has seen that an event waits; the one it waits for is skipped before the worker writes that down."""
    given = failing({2}, max_attempts=1)
    opened = wallet(adds=1)
    deliver()
    opened.add(Decimal(1))
    opened.save()
    worker = Worker()
    mine = claimed(NAME, worker)
    (definition,) = registry.all()
    waiting = worker.windows.find(definition, Share(), mine.checkpoint, until=mine.until, limit=9)
    skip(NAME, position_of(opened, 2), reason=WHY)
    assert set_behind(mine, waiting.events, checkpoint=mine.until, sequences=worker.windows.sequences)
    claim.release([mine], token=worker.token)
    assert [row.state for row in ParkedEvent.objects.all()] == ["failed"]
    deliver()
    assert given == [2, 3]


def test_a_rate_is_what_it_was_set_to_until_the_code_says_something_new() -> None:
    failing(set(), rate="50/s")
    wallet()
    deliver()
    set_rate(NAME, "5/m", 3, reason=WHY)
    define(registry.all())
    assert Subscription.objects.values_list("rate", "burst").get(name=NAME) == ("5/m", 3)
    with pytest.raises(ImproperlyConfigured, match="no rate"):
        set_rate(NAME, "fast", reason=WHY)
    failing(set(), rate="60/s")
    define(registry.all())
    assert Subscription.objects.values_list("rate", "burst").get(name=NAME) == ("60/s", None)


def test_the_lag_of_all_is_one_query_however_many_there_are() -> None:
    fail_at = {3}
    failing(fail_at, max_attempts=1)
    wallet(adds=3)
    deliver()
    wallet(adds=1)
    for number in range(30):
        Subscription.objects.create(name=f"t.other_{number}", kind="subscriber", segment_count=2)
        Segment.objects.create(subscription_id=f"t.other_{number}", number=0, checkpoint=3)
        Segment.objects.create(subscription_id=f"t.other_{number}", number=1, checkpoint=1)
    with CaptureQueriesContext(connection) as queries:
        found = {lag.name: lag for lag in lags()}
    assert len(queries) == 1
    mine, other = found[NAME], found["t.other_7"]
    last = StoredEvent.objects.latest("position").position
    assert (mine.status, mine.parked, mine.dead, mine.events) == ("active", 2, 1, 2)
    assert (other.segments, other.checkpoint, other.events, other.parked) == (2, 1, last - 1, 0)
    assert mine.seconds >= 0


def test_of_which_too_much_was_parked_goes_on_once_its_handler_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again has its turn before what would only wait behind it, and halt the subscription anew."""
    monkeypatch.setattr("eventsourcing_app.subscriptions.worker.TURN_SECONDS", 0.0)  # one event in a turn
    fail_at = {2}
    given = failing(fail_at, max_attempts=1)
    few = {"DISPATCHER": "none", "RETRY_SECONDS": (600.0, 3600.0), "MAX_PARKED_EVENTS": 30}
    with override_settings(EVENTSOURCING=few):
        opened = wallet(adds=29)
        deliver()
        opened.add(Decimal(1))
        opened.save()
        deliver()
        assert Subscription.objects.get(name=NAME).status == "halted"
        for _ in range(5):
            opened.add(Decimal(1))
        opened.save()
        fail_at.clear()
        retry(NAME, reason=WHY)
        resume(NAME, reason=WHY)
        deliver()
        assert Subscription.objects.get(name=NAME).status == "active"
    assert given == [2, *range(2, 37)]
    assert not ParkedEvent.objects.exists()


def test_one_that_is_skipped_takes_no_attempt_from_another_that_is_tried_carefully() -> None:
    failing({2}, max_attempts=9)
    opened = wallet(adds=1)
    deliver()
    Segment.objects.filter(subscription=NAME).update(attempted_position=999, attempts=4)
    skip(NAME, position_of(opened, 2), reason=WHY)
    assert (segment(NAME).attempted_position, segment(NAME).attempts) == (999, 4)
