"""The words of the package can be imported before Django is set up, and there are no others."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

from django.apps import apps

import eventsourcing_app
from eventsourcing_app import exceptions, models
from tests.conftest import ROOT

WORDS = [
    "CommandRejected",
    "Projection",
    "RecordedEvent",
    "applies",
    "command",
    "context",
    "event",
    "flow",
    "handles",
    "publish",
    "subscribe",
    "subscriber",
    "unsubscribe",
    "wait_for",
]

EVENTS_MODULE = """
import sys
from dataclasses import fields
from decimal import Decimal
from eventsourcing_app import *
from eventsourcing_app import Projection, applies, command, context, event, flow, handles, publish, subscriber
from eventsourcing_app import exceptions, signals

@event("outside.money_deposited")
class MoneyDeposited:
    amount: Decimal

MoneyDeposited(amount=Decimal(1))
covered = context(actor="user:1", reason="x")

@flow("outside.move")
def move(amount: Decimal) -> None: ...

from django.apps import apps
from django.conf import settings
assert not apps.ready and not settings.configured
assert "eventsourcing_app.log.records" not in sys.modules
assert "django_q" not in sys.modules and "rest_framework" not in sys.modules
print(sorted(name for name in dir() if name in {words}))
"""


def test_the_words_are_these_and_sorted() -> None:
    assert eventsourcing_app.__all__ == WORDS == sorted(WORDS)


def test_nothing_else_is_offered() -> None:
    offered = {
        name
        for name, value in vars(eventsourcing_app).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert offered == set(WORDS)


def test_the_words_can_be_imported_before_django_is_set_up() -> None:
    code = EVENTS_MODULE.replace("{words}", repr(set(WORDS)))
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.strip() == str(WORDS)


def test_models_are_offered_where_django_looks_for_them() -> None:
    assert models.__all__ == sorted(models.__all__)
    assert {"EventSourcedModel", "StoredEvent"} <= set(models.__all__)
    assert {"AsOf", "Change", "Diff", "FlowReceipt", "Receipt", "TrailEntry"} <= set(models.__all__), (
        "what calls return"
    )
    for name in models.__all__:
        assert hasattr(models, name)


def test_what_a_rebuild_remembers_is_found_by_django_and_offered_to_nobody() -> None:
    names = {"DueRebuild", "RebuildFinding", "RebuildPart", "RebuildRun"}
    assert names <= {model.__name__ for model in apps.get_app_config("eventsourcing_app").get_models()}
    assert not names & set(vars(models))


def test_every_error_has_one_root_and_stands_in_the_tree() -> None:
    errors = [value for value in vars(exceptions).values() if isinstance(value, type) and issubclass(value, Exception)]
    ours = [error for error in errors if error.__module__ == exceptions.__name__]
    assert len(ours) > 15
    for error in ours:
        assert issubclass(error, exceptions.EventSourcingError)
        assert error.__doc__
        assert error.__name__ in (exceptions.__doc__ or "")
