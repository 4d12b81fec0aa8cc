"""``log_status`` shows how far the log goes, how far it is settled and what holds the rest back."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.db import transaction

from eventsourcing_app.log.settled import oldest_open_append, settled_position
from tests.storm.sessions import another_role, append_here, begin_append, sessions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.storm.sessions import Connect

pytestmark = pytest.mark.django_db(transaction=True)
needs_postgres = pytest.mark.needs_postgres


@pytest.fixture
def connect(transactional_db: None) -> Iterator[Connect]:
    with sessions() as connect:
        yield connect


def log_status(*arguments: str) -> str:
    out = StringIO()
    call_command("log_status", *arguments, stdout=out)
    return out.getvalue()


def test_log_status_prints_the_settled_position() -> None:
    position = append_here()
    assert f"Settled position:    {position} (0 behind)" in log_status()
    assert json.loads(log_status("--json")) == {
        "last_position": position,
        "settled_position": position,
        "distance": 0,
        "candidate": None,
        "holders": 0,
        "oldest_open_append": None,
    }


@needs_postgres
def test_the_oldest_open_append_is_shown_with_its_age_and_pid(connect: Connect) -> None:
    first, second = connect(), connect()
    append_here()
    settled_position()
    begin_append(first)
    begin_append(second)
    found = oldest_open_append()
    assert found
    assert (found.pid, found.prepared) == (first.info.backend_pid, None)
    assert found.age is not None
    assert timedelta(0) < found.age < timedelta(minutes=1)
    assert f"pid {found.pid}, open for 0:00:0" in log_status()
    status = json.loads(log_status("--json"))
    assert status["oldest_open_append"]["pid"] == found.pid
    assert (status["distance"], status["holders"]) == (2, 2)


@needs_postgres
def test_the_age_of_another_roles_append_is_unknown(connect: Connect) -> None:
    writer = connect()
    begin_append(writer)
    with another_role():
        found = oldest_open_append()
    assert found
    assert (found.pid, found.age) == (writer.info.backend_pid, None)


@needs_postgres
def test_an_own_open_append_is_not_shown() -> None:
    with transaction.atomic():
        append_here()
        assert oldest_open_append() is None
