"""Delivery costs some statements a batch and none an event, and memory does not grow with the backlog."""

from __future__ import annotations

import tracemalloc
from collections import Counter as Tally
from typing import Any

import pytest
from django.db import connection

from eventsourcing_app import Projection, RecordedEvent, handles, subscriber
from eventsourcing_app.subscriptions import decoded, windows, work, worker
from tests.reactions_sample.scene import (
    deliver,
    wallet,
)
from tests.samples.events import MoneyAdded

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_subscriptions")]

NAME = "t.subscriber"


def test_a_thousand_events_reach_five_subscriptions_in_few_statements_and_in_flat_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "TURN_SECONDS", 3600.0)  # turns of as many events on every machine
    # Memory is bounded by these; with smaller ones a thousand events are many.
    monkeypatch.setattr(windows, "TAIL_EVENTS", 100)
    monkeypatch.setattr(windows, "WINDOW_EVENTS", 100)
    monkeypatch.setattr(windows, "_KEPT_WINDOWS", 2)
    monkeypatch.setattr(work, "BATCH_EVENTS", 100)
    monkeypatch.setattr(decoded, "_MOST", 100)
    counts: Tally[str] = Tally()
    statements: Tally[str] = Tally()

    def count(execute: Any, sql: str, *rest: Any) -> Any:
        statements[sql] += 1
        return execute(sql, *rest)

    for number in range(3):
        _tally(f"t.subscriber_{number}", counts)

    for number in range(2):

        class Tallying(Projection):
            name = f"t.projection_{number}"

            @handles(MoneyAdded)
            def add(self, event: MoneyAdded, recorded: RecordedEvent) -> None:
                counts[self.name] += 1

    def peak(events: int) -> int:
        opened = wallet(adds=events)
        del opened
        statements.clear()
        tracemalloc.start()
        with connection.execute_wrapper(count):
            deliver()
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    few = peak(300)
    many = peak(1_000)
    assert statements.total() < 250, "some for each batch, none for an event"
    assert sorted(counts.values()) == [1_300] * 5
    assert many < few * 1.3


def _tally(name: str, counts: Tally[str]) -> None:
    @subscriber(name, MoneyAdded)
    def count(event: MoneyAdded, recorded: RecordedEvent) -> None:
        counts[name] += 1
