"""What subscribers do, and the task of django-q2 that does as little: each function here makes the handler of one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.benchmarks import journal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eventsourcing_app import RecordedEvent


def nothing(_number: int) -> Callable[..., None]:
    """Do nothing with an event."""

    def handle(event: object, recorded: RecordedEvent) -> None:
        pass

    return handle


def nothing_with_list(_number: int) -> Callable[..., None]:
    """Do nothing with a list of them."""

    def handle(batch: Sequence[tuple[object, RecordedEvent]]) -> None:
        pass

    return handle


def clock(number: int) -> Callable[..., None]:
    """Write down when an event arrives."""

    def handle(event: object, recorded: RecordedEvent) -> None:
        journal.write(number, recorded.position)

    return handle


def slow(number: int) -> Callable[..., None]:
    """Take a second for an event."""

    def handle(event: object, recorded: RecordedEvent) -> None:
        time.sleep(1)

    return handle


def failing(number: int) -> Callable[..., None]:
    """Fail on each."""

    def handle(event: object, recorded: RecordedEvent) -> None:
        raise RuntimeError("This one always fails.")

    return handle


def task(number: int) -> None:
    """Do nothing, as a task of django-q2; the first writes down that they have begun."""
    if number == 0:
        journal.write(0, 0)
