"""A migration that adds, renames or drops a column of an event-sourced model leaves rows that are what history says.

The migrations are real ones, of an app in a directory of its own, run by ``manage.py migrate`` on a fresh database.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from decimal import Decimal
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, models
from django.db.migrations import AddField, Migration
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.optimizer import MigrationOptimizer
from django.db.migrations.state import ModelState, ProjectState
from django.db.migrations.writer import MigrationWriter, OperationWriter
from django.test import override_settings

from eventsourcing_app import operations
from eventsourcing_app.aggregates.rebuild import due
from eventsourcing_app.aggregates.rebuild.records import DueRebuild
from eventsourcing_app.checks.rebuilds import check_rebuilds
from eventsourcing_app.operations import RebuildState
from eventsourcing_app.operations.rebuild_state import TABLE_MADE_BY
from tests.conftest import ROOT
from tests.samples.factories import open_wallet, run_sql

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.django_db(transaction=True)

SETTINGS = """
from tests.settings import *
import os

INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django_q", "eventsourcing_app", "bank"]
MIDDLEWARE = []
ROOT_URLCONF = "bank.urls"
DATABASES["default"]["NAME"] = os.environ["BANK_DATABASE"]
EVENTSOURCING = {"DISPATCHER": "none", "REBUILD_AT_MIGRATE": "BANK_LATER" not in os.environ}
"""
EVENTS = """
from decimal import Decimal
from eventsourcing_app import event

@event("bank.account_opened")
class AccountOpened:
    owner: str

@event("bank.money_deposited")
class MoneyDeposited:
    amount: Decimal
"""
MODELS = """
import os
from decimal import Decimal
from django.db import models
from bank.events import AccountOpened, MoneyDeposited
from eventsourcing_app import applies, command
from eventsourcing_app.models import EventSourcedModel

class {name}(EventSourcedModel):
    stream_type = "bank.account"
    {owner} = models.CharField(max_length=40)
    balance = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal(0))
    {field}

    @command(creates=True)
    def open(self, owner: str, deposits: int) -> None:
        self.record(AccountOpened(owner=owner))
        for _ in range(deposits):
            self.record(MoneyDeposited(amount=Decimal(5)))

    @applies(AccountOpened)
    def _opened(self, event: AccountOpened) -> None:
        self.{owner} = event.owner

    @applies(MoneyDeposited)
    def _deposited(self, event: MoneyDeposited) -> None:
        self.balance += event.amount
        {apply}
"""
COUNTING = {
    "field": "deposits = models.IntegerField(default=0)",
    "apply": 'os._exit(9) if "BANK_DIE" in os.environ else setattr(self, "deposits", self.deposits + 1)',
}
MIGRATION = """
from django.db import migrations, models
from eventsourcing_app.operations import RebuildState

class Migration(migrations.Migration):
    dependencies = {dependencies}
    operations = [{operations}]
"""
ADD = 'migrations.AddField("account", "deposits", models.IntegerField(default=0))'
RENAME = 'migrations.RenameField("account", "owner", "holder")'
DROP = 'migrations.RemoveField("account", "deposits")'
MARK = 'RebuildState("Account")'
OPEN = """
from bank.models import Account
for number in range(3):
    Account.objects.perform_new(Account.open, owner=f"o{number}", deposits=number)
"""


DRIVER = """
import json, sys
import django
from django.core.management import call_command

django.setup()
for arguments in json.loads(sys.argv[1]):
    call_command(*arguments)
"""
MIGRATE = ["migrate"]
CHECK = ["check", "--database", "default", "--tag", "database"]


class Project:
    """A project with one app, which is given one release after the other."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self._env = {
            **{name: value for name, value in os.environ.items() if name != "TEST_DATABASE_NAME"},
            "DJANGO_SETTINGS_MODULE": "bank_settings",
            "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
            "PYTHONDONTWRITEBYTECODE": "1",  # releases follow each other within a second
            "BANK_DATABASE": database,
        }
        self._write("bank_settings.py", SETTINGS)
        self._write("bank/__init__.py", "")
        self._write("bank/migrations/__init__.py", "")
        self._write("bank/events.py", EVENTS)
        self._write("bank/urls.py", "urlpatterns = []")

    def _write(self, place: str, text: str) -> None:
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def release(self, *, name: str = "Account", owner: str = "owner", counts: bool = False) -> None:
        """Write the models of a release."""
        more = COUNTING if counts else {"field": "", "apply": ""}
        self._write("bank/models.py", MODELS.format(name=name, owner=owner, **more))

    def migration(self, number: int, *operations: str, depends: bool = True) -> None:
        """Write the next migration."""
        dependencies = [("bank", self._named(number - 1))] if number > 1 else []
        if depends:
            dependencies.append(("eventsourcing_app", TABLE_MADE_BY))
        text = MIGRATION.format(dependencies=dependencies, operations=", ".join(operations))
        self._write(f"bank/migrations/{self._named(number)}.py", text)

    def forget(self, number: int) -> None:
        """Remove a migration, as an older release does not have it."""
        (self.folder / f"bank/migrations/{self._named(number)}.py").unlink()

    def _named(self, number: int) -> str:
        return f"{number:04}_initial" if number == 1 else f"{number:04}_changed"

    def begin(self) -> None:
        """Install the first release, and open accounts."""
        self.release()
        self.run(["makemigrations", "bank"], MIGRATE, ["shell", "--verbosity", "0", "--command", OPEN])

    def run(self, *commands: list[str], fails: bool = False, **env: str) -> str:
        """Run commands, one after the other in one process, and return what they said."""
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", DRIVER, json.dumps(commands)],
            cwd=self.folder,
            env={**self._env, **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        said = done.stdout + done.stderr
        assert bool(done.returncode) is fails, said
        return said


def look(*columns: str, name: str = "Account") -> list[str]:
    """The command that says what the rows hold, what a comparison finds, and which models are marked."""
    code = f"""
        from bank.models import {name}
        from eventsourcing_app.aggregates.rebuild.rebuild import Rebuilt, rebuild_streams, rows_without_history
        from eventsourcing_app.aggregates.rebuild.records import DueRebuild
        print("rows", *{name}.objects.order_by("pk").values_list({", ".join(map(repr, columns))}))
        found = [*rebuild_streams({name}, check=True, seen=Rebuilt()), *rows_without_history({name})]
        print("drifts", *[drift.problem for drift in found])
        print("due", *DueRebuild.objects.values_list("pk", flat=True))
    """
    return ["shell", "--verbosity", "0", "--command", dedent(code)]


@pytest.fixture
def project(db: None, tmp_path: Path) -> Iterator[Project]:
    if connection.vendor == "sqlite":
        yield Project(tmp_path, str(tmp_path / "bank.sqlite3"))
        return
    name = f"{connection.settings_dict['NAME']}_bank"
    run_sql(f'DROP DATABASE IF EXISTS "{name}"')
    run_sql(f'CREATE DATABASE "{name}"')
    try:
        yield Project(tmp_path, name)
    finally:
        run_sql(f'DROP DATABASE "{name}" WITH (FORCE)')


def clean(*rows: tuple[object, ...]) -> str:
    """What is said of rows that are what history says, when nothing is marked."""
    return "\n".join([" ".join(["rows", *map(repr, rows)]), "drifts", "due\n"])


COUNTED = clean(("o0", 0), ("o1", 1), ("o2", 2))
REBUILT = "Rebuilt bank.Account: 3 aggregates, 6 events, 2 differed."


def test_added_renamed_and_dropped_columns_are_what_history_says_also_after_going_back(project: Project) -> None:
    project.begin()
    project.release(counts=True)
    project.migration(2, ADD, MARK)
    said = project.run(MIGRATE, look("owner", "deposits"))
    assert REBUILT in said
    assert COUNTED in said

    project.release(owner="holder", counts=True)
    project.migration(3, MARK, RENAME)
    said = project.run(MIGRATE, look("holder", "deposits"))
    assert "Rebuilt bank.Account: 3 aggregates, 6 events, 0 differed." in said
    assert COUNTED in said

    project.release(owner="holder")
    project.migration(4, DROP, MARK)
    said = project.run(MIGRATE, look("holder", "balance"), ["migrate", "bank", "0002"])
    assert clean(("o0", Decimal("0.00")), ("o1", Decimal("5.00")), ("o2", Decimal("10.00"))) in said

    # Back: the older release is the one that knows its own state.
    assert "bank.account is to be rebuilt once every migration of bank is applied." in said
    project.release(counts=True)
    project.forget(4)
    project.forget(3)
    said = project.run(MIGRATE, look("owner", "deposits"))
    assert REBUILT in said
    assert COUNTED in said


def test_a_mark_stays_until_a_rebuild_has_come_to_its_end(project: Project) -> None:
    project.begin()
    project.release(owner="holder", counts=True)
    project.migration(2, ADD, MARK)
    project.migration(3, RENAME)
    said = project.run(["migrate", "bank", "0002"])
    assert "bank.account is to be rebuilt once every migration of bank is applied." in said
    assert "Rebuil" not in said
    project.run(MIGRATE, fails=True, BANK_DIE="1")  # in the middle of the rebuild
    said = project.run(CHECK, look("holder"), MIGRATE, look("holder", "deposits"))
    assert "(eventsourcing_app.W008) The rows of bank.account are not yet rebuilt" in said
    assert "python manage.py rebuild bank.account" in said
    before, after = said.split(REBUILT)
    assert "due bank.account" in before
    assert COUNTED in after
    said = project.run(CHECK, MIGRATE)
    assert "W008" not in said
    assert "Rebuil" not in said


def test_a_team_can_choose_to_rebuild_by_hand(project: Project) -> None:
    project.begin()
    project.release(counts=True)
    project.migration(2, ADD, MARK)
    said = project.run(MIGRATE, CHECK, ["rebuild", "bank.Account", "--check"], fails=True, BANK_LATER="1")
    assert "bank.Account is to be rebuilt: run manage.py rebuild bank.Account" in said
    assert "W008" in said
    assert "2 differ, 2 not repaired" in said
    said = project.run(look("deposits"), ["rebuild", "bank.Account"], look("owner", "deposits"))
    before, after = said.split("2 differ, all repaired")
    assert "due bank.account" in before
    assert COUNTED in after


def test_a_model_that_is_renamed_later_is_rebuilt_under_its_new_name(project: Project) -> None:
    project.begin()
    project.release(name="Ledger", counts=True)
    project.migration(2, ADD, MARK)
    project.migration(3, 'migrations.RenameModel("Account", "Ledger")')
    said = project.run(MIGRATE, look("owner", "deposits", name="Ledger"))
    assert "Rebuilt bank.Ledger: 3 aggregates, 6 events, 2 differed." in said
    assert COUNTED in said


def test_a_fresh_database_has_nothing_to_rebuild(project: Project) -> None:
    project.release()
    project.run(["makemigrations", "bank"])
    project.release(counts=True)
    project.migration(2, ADD, MARK)
    said = project.run(["migrate", "--plan"], ["sqlmigrate", "bank", "0002"], MIGRATE, look("deposits"))
    assert "Rebuild the rows of Account from its events" in said
    assert "'bank.account'" in said.partition("INSERT INTO")[2]
    assert "Rebuilt" not in said
    assert "Rebuilding" not in said
    assert clean() in said


def test_a_migration_without_the_dependency_says_which_one_to_add(project: Project) -> None:
    project.release()
    project.run(["makemigrations", "bank"])
    project.release(counts=True)
    project.migration(2, ADD, MARK, depends=False)
    said = project.run(MIGRATE, fails=True)
    assert f'add ("eventsourcing_app", "{TABLE_MADE_BY}") to the dependencies of that migration.' in said


# The operation


def state_of(*, marks: bool = True) -> ProjectState:
    state = MigrationLoader(None).project_state() if marks else ProjectState()
    state.add_model(ModelState("library", "Entry", [("id", models.BigAutoField(primary_key=True))]))
    return state


def sql_of(operation: RebuildState, *, marks: bool = True) -> list[str]:
    state = state_of(marks=marks)
    with connection.schema_editor(collect_sql=True) as editor:
        operation.database_forwards("library", editor, state, state)
        operation.database_backwards("library", editor, state, state)
    return list(editor.collected_sql)


def marks() -> list[str]:
    return list(DueRebuild.objects.values_list("model", flat=True))


def test_the_table_of_the_marks_is_made_by_the_migration_that_the_error_names() -> None:
    made = MigrationLoader(None).disk_migrations["eventsourcing_app", TABLE_MADE_BY]
    assert "DueRebuild" in [getattr(operation, "name", "") for operation in made.operations]
    with pytest.raises(ImproperlyConfigured, match=r'add \("eventsourcing_app", "0003_rebuilds"\)'):
        sql_of(RebuildState("Entry"), marks=False)


def test_it_marks_where_there_is_history_and_a_second_mark_is_a_newer_one() -> None:
    def apply() -> None:
        state = state_of()
        with connection.schema_editor() as editor:
            RebuildState("Entry").database_forwards("library", editor, state, state)

    apply()
    assert marks() == []
    open_wallet()
    apply()
    assert marks() == ["library.entry"]
    first = DueRebuild.objects.get().marked_at
    apply()
    assert DueRebuild.objects.get().marked_at > first
    (found,) = check_rebuilds(databases=["default"])
    assert found.id == "eventsourcing_app.W008"
    assert "rebuild library.entry" in str(found.hint)
    assert check_rebuilds(databases=[]) == check_rebuilds() == []


def test_a_mark_of_a_model_that_is_gone_is_dropped() -> None:
    said: list[str] = []
    DueRebuild.objects.create(model="samples.gone")
    DueRebuild.objects.create(model="samples.customer")
    due.rebuild_due(said.append)
    assert marks() == []
    assert [line.split()[0] for line in said] == ["samples.customer", "samples.gone"]


class _Nowhere:
    def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool:
        return app_label != "library"


def test_it_marks_only_what_is_migrated_in_the_database_of_the_log() -> None:
    assert len(sql_of(RebuildState("Entry"))) == 2
    with override_settings(DATABASE_ROUTERS=[_Nowhere()]):
        assert sql_of(RebuildState("Entry")) == []
    with override_settings(EVENTSOURCING={"DATABASE": "other"}):
        assert sql_of(RebuildState("Entry")) == []


def test_it_describes_itself_and_survives_being_written() -> None:
    operation = RebuildState("Entry")
    assert operation.describe() == "Rebuild the rows of Entry from its events, after the migrations"
    assert operation.migration_name_fragment == "rebuild_entry"
    assert operation.references_model("entry", "library")
    assert not operation.references_model("other", "library")
    text, imports = OperationWriter(operation, indentation=0).serialize()
    assert imports == {"import eventsourcing_app.operations"}
    written = eval(text.rstrip(","), {"eventsourcing_app": __import__("eventsourcing_app.operations")})
    assert written.deconstruct() == operation.deconstruct()
    assert isinstance(written, operations.RebuildState)
    migration = type("Migration", (Migration,), {"operations": [operation], "dependencies": []})("0001", "library")
    assert "model_name='Entry'" in MigrationWriter(migration).as_string()


def test_two_marks_of_a_model_are_one_when_migrations_are_squashed() -> None:
    add = AddField("entry", "title", models.TextField(default=""))
    given = [RebuildState("Entry"), add, RebuildState("entry"), RebuildState("Other")]
    squashed = MigrationOptimizer().optimize(given, "library")
    found = [type(operation).__name__ for operation in squashed]
    assert (found.count("RebuildState"), found.count("AddField")) == (2, 1)
