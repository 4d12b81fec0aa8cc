"""What a handler does to its process and its connections is its own failure, and harms no other subscription."""

from __future__ import annotations

import copy
import decimal
import functools
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.db.backends.base.base import NO_DB_ALIAS
from django.utils import timezone

from eventsourcing_app import RecordedEvent, subscriber
from eventsourcing_app.exceptions import RetryLater
from eventsourcing_app.models import Segment
from eventsourcing_app.subscriptions.definitions import ensure
from eventsourcing_app.subscriptions.drain import drain
from eventsourcing_app.subscriptions.registry import registry
from tests.reactions_sample.scene import count_it, failed, let_retry, parked, segment, total, wallet
from tests.samples.events import MoneyAdded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from django.db.backends.base.base import BaseDatabaseWrapper

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_subscriptions")]

NAME, OTHER = "t.hostile", "t.innocent"
ELSEWHERE = NO_DB_ALIAS
"""The alias of a second database: the one that a test may use without having been given it."""


def be_careful(name: str) -> None:
    """As after an earlier failure."""
    ensure(registry.all())
    Segment.objects.filter(subscription=name).update(careful_until=10**6)


@pytest.fixture
def innocent() -> list[int | None]:
    """Subscribe another handler; return the versions that it was given."""
    given: list[int | None] = []

    @subscriber(OTHER, MoneyAdded)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        given.append(recorded.version)

    return given


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[BaseDatabaseWrapper]:
    """Another database, with a table of its own, to which handlers write."""
    settings = copy.deepcopy(connection.settings_dict)
    if connection.vendor == "sqlite":
        settings["NAME"] = str(tmp_path / "elsewhere.sqlite3")
    connections.settings[ELSEWHERE] = settings
    try:
        with connections[ELSEWHERE].cursor() as cursor:
            cursor.execute("CREATE TABLE mails (position bigint)")
        yield connections[ELSEWHERE]
    finally:
        connections[ELSEWHERE].close()
        connections[ELSEWHERE].connect()
        with connections[ELSEWHERE].cursor() as cursor:
            cursor.execute("DROP TABLE mails")
        connections[ELSEWHERE].close()
        del connections[ELSEWHERE], connections.settings[ELSEWHERE]


def mail(recorded: RecordedEvent) -> None:
    with transaction.atomic(using=ELSEWHERE), connections[ELSEWHERE].cursor() as cursor:
        cursor.execute("INSERT INTO mails VALUES (%s)", [recorded.position])


def mails(elsewhere: BaseDatabaseWrapper) -> int:
    """How many were sent, seen by another connection than the handlers'."""
    elsewhere.close()
    elsewhere.connect()
    with elsewhere.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM mails")
        found: int = cursor.fetchone()[0]
    return found


def a_failing_callback() -> None:
    transaction.on_commit(lambda: 1 / 0)


def a_lost_answer() -> None:
    """Commit, and let the connection break before the server's answer to that comes."""
    commit = connection._commit  # type: ignore[attr-defined]

    def cut() -> None:
        commit()
        broken.stop()
        raise OperationalError("server closed the connection unexpectedly")

    broken = mock.patch.object(connection, "_commit", cut)
    broken.start()


@pytest.mark.parametrize("on_failure", ["park", "halt"])
@pytest.mark.parametrize("fail", [a_failing_callback, a_lost_answer])
def test_what_is_committed_is_not_done_again_when_an_error_comes_after_that(
    fail: Callable[[], None], on_failure: str
) -> None:
    @subscriber(NAME, MoneyAdded, transactional=True, on_failure=on_failure)  # type: ignore[arg-type]
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        count_it("hostile", event.amount)
        if recorded.version == 3:
            fail()

    wallet(adds=3)
    be_careful(NAME)
    (error,) = drain().errors
    assert isinstance(error, ZeroDivisionError | OperationalError)
    for _ in range(3):
        let_retry(NAME)
        drain()
    assert total("hostile") == (3, Decimal(3))
    assert parked(NAME) == []


def test_what_was_parked_and_is_committed_is_not_done_again_either() -> None:
    tries: list[int | None] = []

    @subscriber(NAME, MoneyAdded, transactional=True)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        tries.append(recorded.version)
        if len(tries) == 1:
            raise ValueError("no stamps left")
        count_it("hostile", event.amount)
        a_failing_callback()

    wallet(adds=1)
    for _ in range(4):
        drain()
        let_retry(NAME)
    assert (tries, total("hostile"), parked(NAME)) == ([2, 2], (1, Decimal(1)), [])


class Mute(Exception):
    """Has no text: asking for it is an error."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_error_without_a_text_is_parked_like_any_other(innocent: list[int | None]) -> None:
    @subscriber(NAME, MoneyAdded)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        raise Mute

    wallet(adds=1)
    drain()
    assert innocent == [2]
    assert failed(NAME).reason == "Mute: (its text cannot be read: RuntimeError)"


@pytest.mark.parametrize("after", [float("inf"), float("nan"), 1e13, -1, "5", None, True])
def test_a_time_that_is_none_is_the_handlers_error(after: Any, innocent: list[int | None]) -> None:
    @subscriber(NAME, MoneyAdded)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        raise RetryLater(after=after)

    wallet(adds=1)
    drain()
    assert (innocent, failed(NAME).attempts) == ([2], 1)
    assert failed(NAME).reason.startswith(("ValueError: after=", "TypeError: after="))


def test_one_that_is_to_be_tried_again_at_once_does_not_keep_the_loop_from_ending() -> None:
    @subscriber(NAME, MoneyAdded)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        raise RetryLater(after=0)

    wallet(adds=1)
    assert drain(seconds=20).finished


def disguised(function: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(function)
    def around(*arguments: object) -> object:
        return function(*arguments)

    return around


async def a_coroutine(event: MoneyAdded, recorded: RecordedEvent) -> None: ...


def a_generator(event: MoneyAdded, recorded: RecordedEvent) -> Iterator[None]:
    yield


async def an_asynchronous_generator(event: MoneyAdded, recorded: RecordedEvent) -> Any:
    yield


@pytest.mark.parametrize("function", [a_coroutine, a_generator, an_asynchronous_generator])
def test_one_whose_body_has_not_run_has_not_handled_the_event(function: Callable[..., object]) -> None:
    subscriber(NAME, MoneyAdded)(disguised(function))
    wallet(adds=1)
    assert drain().handled == 0
    assert "its body has not run" in failed(NAME).reason


def test_numbers_and_times_of_one_are_not_those_of_another() -> None:
    seen: list[tuple[Decimal, str]] = []

    @subscriber("t.a_hostile", MoneyAdded)
    def hostile(event: MoneyAdded, recorded: RecordedEvent) -> None:
        decimal.getcontext().prec = 3
        timezone.activate("Asia/Tokyo")

    @subscriber(OTHER, MoneyAdded, transactional=True)
    def money(event: MoneyAdded, recorded: RecordedEvent) -> None:
        seen.append((Decimal("1234.56") * 2, timezone.get_current_timezone_name()))

    wallet(adds=2)
    drain()
    assert seen == [(Decimal("2469.12"), "UTC")] * 2


def test_a_transaction_left_open_elsewhere_takes_no_effect_of_others_with_it(elsewhere: BaseDatabaseWrapper) -> None:
    @subscriber("t.a_hostile", MoneyAdded)
    def hostile(event: MoneyAdded, recorded: RecordedEvent) -> None:
        if recorded.version == 2:
            transaction.atomic(using=ELSEWHERE).__enter__()

    @subscriber(OTHER, MoneyAdded)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        mail(recorded)

    wallet(adds=3)
    drain()
    assert mails(elsewhere) == 3
    assert "left a transaction open" in failed("t.a_hostile").reason


@pytest.mark.needs_postgres
def test_a_connection_that_was_lost_fails_one_event_and_not_all_after_it(elsewhere: BaseDatabaseWrapper) -> None:
    @subscriber(NAME, MoneyAdded)
    def handle(event: MoneyAdded, recorded: RecordedEvent) -> None:
        # In no transaction of its own: at the end of one Django would notice.
        with connections[ELSEWHERE].cursor() as cursor:
            cursor.execute("INSERT INTO mails VALUES (%s)", [recorded.position])

    with elsewhere.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    for _ in range(4):
        wallet(adds=1)
    drain()
    assert [row.attempts for row in parked(NAME)] == [1]
    let_retry(NAME)
    drain()
    assert (mails(elsewhere), parked(NAME), segment(NAME).parked) == (4, [], 0)
