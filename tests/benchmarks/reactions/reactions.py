"""Declares the subscriptions of this process."""

from __future__ import annotations

from eventsourcing_app import subscriber
from tests.benchmarks.bank.events import MoneyDeposited
from tests.benchmarks.job import given
from tests.benchmarks.reactions import handlers


def _declare() -> None:
    job = given()
    mine = job.reactions
    if mine is None:
        return
    healthy = (mine.count or job.scale.subscriptions) - mine.less
    kinds = [mine.handler] * healthy + ["slow"] * mine.slow + ["failing"] * mine.failing
    for number, kind in enumerate(kinds):
        name = f"benchmark.{kind}_{number}"
        # From where the log ends when the database first sees them: what a sample is about is written after it.
        subscriber(name, MoneyDeposited, batch=mine.batch, start="now")(getattr(handlers, kind)(number))


_declare()
