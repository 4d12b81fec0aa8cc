"""Where a settled position could be wrong, reading the log stops and says what to do."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from eventsourcing_app.exceptions import LogUnsafe
from eventsourcing_app.log.settled import last_position, settled_position
from tests.storm.sessions import another_role, append, append_here, run_sql, sessions
from tests.storm.sql import LOG, SEQUENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.storm.sessions import Connect

pytestmark = [pytest.mark.needs_postgres, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def connect(transactional_db: None) -> Iterator[Connect]:
    with sessions() as connect:
        yield connect


@contextmanager
def pretending(function: str, returns: str, value: str) -> Iterator[None]:
    """Put a function of our own before PostgreSQL's."""
    with transaction.atomic():
        run_sql("CREATE SCHEMA pretended")
        run_sql(f"CREATE FUNCTION pretended.{function}() RETURNS {returns} LANGUAGE sql AS 'SELECT {value}'")
        run_sql("SET LOCAL search_path = pretended, pg_catalog, public")
        yield
        transaction.set_rollback(True)


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_snapshot_that_does_not_move_is_refused(level: str) -> None:
    with transaction.atomic():
        run_sql(f"SET TRANSACTION ISOLATION LEVEL {level}")
        with pytest.raises(LogUnsafe, match="READ COMMITTED"):
            settled_position()


def test_a_standby_is_refused() -> None:
    with pretending("pg_is_in_recovery", "boolean", "true"), pytest.raises(LogUnsafe, match="standby"):
        settled_position()


def test_a_role_that_may_not_read_the_sequence_is_told_what_to_grant() -> None:
    append_here()
    with another_role():
        with pytest.raises(LogUnsafe) as refused:
            settled_position()
        (grant,) = re.findall(r"GRANT .*;", str(refused.value))
        run_sql("RESET ROLE")
        run_sql(grant)
        run_sql("SET LOCAL ROLE eventsourcing_reader")
        assert settled_position() == last_position()


@pytest.mark.parametrize(
    "restore",
    [
        f"SELECT setval('{SEQUENCE}', 1)",
        f"ALTER TABLE {LOG} ALTER COLUMN position RESTART",
        "UPDATE eventsourcing_app_settledposition SET settled = settled + 100",
        "UPDATE eventsourcing_app_settledposition SET candidate = settled + 100, holders = '[]'",
    ],
)
def test_a_bad_restore_is_noticed_and_can_be_mended_as_told(connect: Connect, restore: str) -> None:
    append_here()
    append_here()
    settled_position()
    run_sql(restore)
    with pytest.raises(LogUnsafe) as refused:
        settled_position()
    with pytest.raises(CommandError, match="different backups"):
        call_command("log_status")
    (setval,) = re.findall(r"SELECT setval.*;", str(refused.value))
    run_sql(setval)
    assert settled_position() == last_position() < append(connect())
