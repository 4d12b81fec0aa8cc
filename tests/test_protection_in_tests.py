"""A project's own tests may flush the log between them, and nothing else is lifted: not elsewhere, not for longer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test import TransactionTestCase

from eventsourcing_app.exceptions import AppendOnly
from eventsourcing_app.models import StoredEvent
from eventsourcing_app.operations import triggers_missing
from eventsourcing_app.testing import AppendOnlyTestMixin, append_only_lifted, flush_allowed
from eventsourcing_app.testing.append_only import is_test_database
from tests.test_append_only import TABLE, insert, refused, run, stored

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("round", [1, 2])
def test_a_transactional_test_finds_an_empty_and_protected_log(round: int) -> None:
    assert stored() == []
    assert triggers_missing(connection, StoredEvent) == []
    insert(version=1)
    insert(version=2)
    with refused(says="^eventsourcing:append_only"):
        run(f"DELETE FROM {TABLE}")


class FlushedTests(AppendOnlyTestMixin, TransactionTestCase):
    """The same through the mixin; both run in any order."""

    def test_one_round(self) -> None:
        assert stored() == []
        assert triggers_missing(connection, StoredEvent) == []
        insert(version=1)

    def test_another_round(self) -> None:
        self.test_one_round()


def test_the_mixin_says_so_when_it_is_named_too_late() -> None:
    with pytest.raises(TypeError, match="name AppendOnlyTestMixin before the test case"):
        type("Late", (TransactionTestCase, AppendOnlyTestMixin), {})


@pytest.mark.django_db(transaction=True)
def test_flush_passes_only_where_it_is_allowed() -> None:
    insert(version=1)
    with pytest.raises(CommandError, match="couldn't be flushed"):
        call_command("flush", interactive=False, verbosity=0)
    assert len(stored()) == 1
    with flush_allowed():
        call_command("flush", interactive=False, verbosity=0)
    assert stored() == []
    insert(version=1)
    with refused(says="^eventsourcing:append_only"):
        run(f"DELETE FROM {TABLE}")


@pytest.mark.django_db
@pytest.mark.parametrize("sql", [f"UPDATE {TABLE} SET actor = 'me'", f"DELETE FROM {TABLE} WHERE version = 1"])
def test_nothing_but_the_flush_passes_where_it_is_allowed(sql: str) -> None:
    insert(version=1)
    with flush_allowed(), refused(says="^eventsourcing:append_only"):
        run(sql)


@pytest.mark.django_db(transaction=True)
def test_tampering_is_lifted_for_one_block_and_the_next_position_follows_what_is_left() -> None:
    for version in (1, 2, 3):
        insert(version=version)
    with append_only_lifted():
        run(f"UPDATE {TABLE} SET actor = 'me' WHERE version = 1")
        run(f"DELETE FROM {TABLE} WHERE version = 3")
    assert [event[-1] for event in stored()] == ["me", "user:1"]
    assert triggers_missing(connection, StoredEvent) == []
    insert(version=3)
    with refused(says="^eventsourcing:append_only"):
        run(f"UPDATE {TABLE} SET actor = 'me'")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("inside", [False, True])
def test_an_error_while_it_is_lifted_leaves_rows_and_protection_as_they_were(inside: bool) -> None:
    insert(version=1)
    before = stored()

    def fail() -> None:
        with append_only_lifted():
            run(f"UPDATE {TABLE} SET actor = 'me'")
            run("SELECT no_such_function()")

    with pytest.raises(Exception, match="no_such_function"):
        (transaction.atomic(fail) if inside else fail)()
    assert stored() == before
    assert triggers_missing(connection, StoredEvent) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.needs_postgres
def test_another_connection_never_sees_the_log_unprotected() -> None:
    other = connection.copy()
    try:
        with append_only_lifted():
            run(f"ALTER TABLE {TABLE} DISABLE TRIGGER USER")
            with other.cursor() as cursor:
                cursor.execute("SET lock_timeout = '200ms'")
                with pytest.raises(Exception, match=r"lock timeout|eventsourcing:append_only"):
                    cursor.execute(f"DELETE FROM {TABLE}")
    finally:
        other.close()


@pytest.mark.django_db
def test_a_database_that_is_not_for_tests_stays_protected(monkeypatch: pytest.MonkeyPatch) -> None:
    insert(version=1)
    before = stored()
    monkeypatch.setitem(connection.settings_dict, "NAME", "bank")
    for allowed in (append_only_lifted, flush_allowed):
        with pytest.raises(AppendOnly, match=r"'bank' .* is not a test database"), transaction.atomic(), allowed():
            run(f"TRUNCATE {TABLE}" if connection.vendor == "postgresql" else f'DELETE FROM "{TABLE}";')
    assert stored() == before
    assert triggers_missing(connection, StoredEvent) == []


@pytest.mark.django_db
@pytest.mark.needs_postgres
def test_the_server_is_asked_which_database_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "NAME", "test_something_else")
    with pytest.raises(AppendOnly), transaction.atomic(), append_only_lifted():
        pass


@pytest.mark.parametrize(
    ("vendor", "name", "given", "is_one"),
    [
        ("postgresql", "test_bank", None, True),
        ("postgresql", "test_bank_gw0", "test_bank_gw0", True),
        ("postgresql", "test_bank_3", None, True),
        ("postgresql", "bank_check", "bank_check", True),
        ("postgresql", "bank_check_2", "bank_check", True),
        ("postgresql", "bank_check_gw11", "bank_check", True),
        ("postgresql", "bank", None, False),
        ("postgresql", "bank", "bank_check", False),
        ("postgresql", "bank_live", "bank", False),
        ("postgresql", "latest_bank", None, False),
        ("sqlite", ":memory:", None, True),
        ("sqlite", "file:memorydb_default?mode=memory&cache=shared", None, True),
        ("sqlite", "file:memorydb_default_1?mode=memory&cache=shared", None, True),
        ("sqlite", "/data/check.sqlite3", "/data/check.sqlite3", True),
        ("sqlite", "/data/check_1.sqlite3", "/data/check.sqlite3", True),
        ("sqlite", "/data/check.sqlite3_gw0", "/data/check.sqlite3_gw0", True),
        ("sqlite", Path("/data/test_bank.sqlite3"), None, True),
        ("sqlite", Path("/test_data/bank.sqlite3"), None, False),
        ("sqlite", "/data/bank.sqlite3", "/data/check.sqlite3", False),
    ],
)
def test_a_test_database_is_known_by_its_name(
    vendor: str, name: object, given: str | None, is_one: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings_dict: dict[str, Any] = {"NAME": name, "TEST": {"NAME": given}}
    made = cast("BaseDatabaseWrapper", SimpleNamespace(vendor=vendor, settings_dict=settings_dict))
    assert is_test_database(made) is is_one
    monkeypatch.delattr(mail, "outbox")
    assert not is_test_database(made)


USERS_CONFTEST = """
def pytest_configure(config):
    if not config.pluginmanager.has_plugin("eventsourcing_app"):
        config.pluginmanager.import_plugin("eventsourcing_app.testing.plugin")
"""
USERS_SETTINGS = """
from tests.settings import *
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django_q", "eventsourcing_app"]
DATABASES = {"default": {**DATABASES["default"], "TEST": {"NAME": DATABASE_NAME}}}
"""
USERS_TESTS = """
import pytest
from django.db import connection
from django.test import TransactionTestCase
from eventsourcing_app.models import StoredEvent
from eventsourcing_app.operations import triggers_missing
from tests.test_append_only import insert, stored

@pytest.mark.django_db(transaction=True)
def test_1_fails():
    insert(version=1)
    assert False

@pytest.mark.django_db(transaction=True)
def test_2_finds_nothing():
    assert stored() == []
    assert triggers_missing(connection, StoredEvent) == []

def test_3_fixture(transactional_db):
    insert(version=1)

def test_4_fixture_again(transactional_db):
    insert(version=1)
    assert len(stored()) == 1
    assert triggers_missing(connection, StoredEvent) == []

class Test5WithoutTheMixin(TransactionTestCase):
    def test_it_is_told(self):
        insert(version=1)
"""


def run_pytest(folder: Path, *arguments: str, **env: str) -> str:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        *arguments,
    ]
    given = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    given.pop("DJANGO_SETTINGS_MODULE", None)
    paths = {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    done = subprocess.run(
        command, cwd=folder, env={**given, **paths, **env}, capture_output=True, text=True, timeout=100, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.django_db
def test_users_tests_are_isolated_even_when_one_fails(tmp_path: Path) -> None:
    name = f"{connection.settings_dict['NAME']}_users_tests"
    (tmp_path / "conftest.py").write_text(USERS_CONFTEST)
    (tmp_path / "users_settings.py").write_text(USERS_SETTINGS.replace("DATABASE_NAME", repr(name)))
    (tmp_path / "test_of_a_user.py").write_text(USERS_TESTS)
    said = run_pytest(tmp_path, DJANGO_SETTINGS_MODULE="users_settings")
    # The last one fails where it would have flushed, and says what refused.
    assert "eventsourcing:append_only" in said
    assert "test_1_fails - assert False" in said
    assert "2 failed, 3 passed" in said, said


def test_the_plugin_is_harmless_where_django_is_not_configured(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(USERS_CONFTEST)
    (tmp_path / "test_of_a_user.py").write_text("def test_it():\n    assert True\n")
    assert "1 passed" in run_pytest(tmp_path, "-W", "error")
    assert "1 passed" in run_pytest(tmp_path, "-W", "error", "-p", "no:django")


@pytest.mark.django_db
def test_a_refusal_is_an_integrity_error_of_django() -> None:
    insert(version=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        run(f"DELETE FROM {TABLE}")
