"""In a replay handlers work on the shadows of their tables: nothing else is written, and nothing happens outside."""

from __future__ import annotations

from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.db import connection, models, transaction
from django.test.utils import isolate_apps, override_settings

from eventsourcing_app import RecordedEvent, handles
from eventsourcing_app.exceptions import RebuildFailed
from eventsourcing_app.projections.rebuilding import Wishes, cancel, rebuild
from eventsourcing_app.projections.replay import _rewriter
from eventsourcing_app.subscriptions.registry import registry
from tests.reactions_sample.scene import count_it, deliver, no_subscriptions, total, wallet
from tests.reactions_sample.totals import NAME, after_one, counting, table
from tests.samples.events import MoneyAdded, WalletOpened

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_subscriptions() -> Iterator[None]:
    with no_subscriptions(), override_settings(EVENTSOURCING={"DISPATCHER": "none"}):
        yield


def run(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


@contextmanager
def table_of(model: type[models.Model]) -> Iterator[None]:
    with connection.schema_editor() as editor:
        editor.create_model(model)
    try:
        yield
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(model)


@pytest.mark.parametrize(
    ("sql", "rewritten"),
    [
        ('SELECT "b"."b", "b"."id" FROM "b"', 'SELECT "b~rebuild"."b", "b~rebuild"."id" FROM "b~rebuild"'),
        ('INSERT INTO "b" ("b", "id") VALUES (%s, %s)', 'INSERT INTO "b~rebuild" ("b", "id") VALUES (%s, %s)'),
        ('UPDATE "b" SET "b" = ("b"."b" + 1)', 'UPDATE "b~rebuild" SET "b" = ("b~rebuild"."b" + 1)'),
        ('SELECT T2."b" FROM "b" T2', 'SELECT T2."b" FROM "b~rebuild" T2'),
        ('DELETE FROM "public"."b"', 'DELETE FROM "public"."b~rebuild"'),
        ('SELECT "public"."b"."b" FROM "public"."b"', 'SELECT "public"."b~rebuild"."b" FROM "public"."b~rebuild"'),
        ('SELECT 1 FROM "a", "b" WHERE "b"."a" = 1', 'SELECT 1 FROM "a", "b~rebuild" WHERE "b~rebuild"."a" = 1'),
        ('SELECT \'"b"\' FROM "b"', 'SELECT \'"b"\' FROM "b~rebuild"'),
    ],
)
def test_a_table_gives_way_to_its_shadow_and_a_column_of_the_same_name_does_not(sql: str, rewritten: str) -> None:
    if '"public"' in sql:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("eventsourcing_app.projections.replay._WRITES", _Nothing())
            assert _rewriter(NAME, ("b",), in_place=False)(sql) == rewritten
        return
    assert _rewriter(NAME, ("b",), in_place=False)(sql) == rewritten


class _Nothing:
    """Finds no write: a table with its schema is refused where it is written to."""

    def findall(self, _sql: str) -> list[str]:
        return []


@isolate_apps("tests.samples")
def test_a_column_may_have_the_name_of_its_table() -> None:
    class Balance(models.Model):
        objects: models.Manager[Any]
        balance = models.IntegerField()

        class Meta:
            app_label = "samples"
            db_table = "balance"

    def add(event: MoneyAdded, recorded: RecordedEvent) -> None:
        row = Balance.objects.create(balance=1)
        Balance.objects.filter(balance=1, pk=row.pk).update(balance=models.F("balance") + 1)
        row.refresh_from_db()
        row.balance += 1
        row.save()

    with table_of(Balance):
        counting(add=add, models=(Balance,))
        wallet(adds=2)
        deliver()
        assert rebuild(NAME, Wishes(compare=True)).differing == 0
        assert list(Balance.objects.values_list("balance", flat=True)) == [3, 3]


def test_what_was_to_happen_on_the_commit_happens_in_no_replay() -> None:
    sent: list[int] = []

    def add(event: MoneyAdded, recorded: RecordedEvent) -> None:
        count_it(recorded.stream_key, event.amount)
        transaction.on_commit(lambda: sent.append(recorded.position))

    counting(add=add)
    wallet(adds=3)
    deliver()
    assert len(sent) == 3
    assert rebuild(NAME, Wishes()).swapped
    assert len(sent) == 3
    wallet(adds=1)
    deliver()
    assert len(sent) == 4, "and goes on to happen afterwards"


@pytest.mark.needs_postgres
def test_what_is_copied_past_the_rewriting_ends_the_rebuild() -> None:
    counting()
    opened = wallet(adds=3)
    deliver()

    def add(event: MoneyAdded, recorded: RecordedEvent) -> None:
        with connection.cursor() as cursor, cursor.copy(f'COPY "{table()}" (reference, total) FROM STDIN') as copy:
            copy.write_row((str(recorded.position), 1))

    counting(add=add)
    with pytest.raises(RebuildFailed, match="COPY"):
        rebuild(NAME, Wishes(only_compare=True))
    assert total(str(opened.pk)) == (3, Decimal(3))


class _JSON(models.TextField):  # type: ignore[type-arg]  # Django has no such arguments
    """PostgreSQL's older type, whose values it cannot compare."""

    def db_type(self, connection: Any) -> str:
        return "json" if connection.vendor == "postgresql" else "text"


@isolate_apps("tests.samples")
def test_what_is_drawn_by_a_function_is_no_difference_and_what_cannot_be_compared_is_by_its_text() -> None:
    class Line(models.Model):
        objects: models.Manager[Any]
        id = models.UUIDField(primary_key=True, default=uuid4)
        amount = models.IntegerField()
        document = _JSON()

        class Meta:
            app_label = "samples"
            db_table = "samples_line"

    factor = [1]

    def add(event: MoneyAdded, recorded: RecordedEvent) -> None:
        Line.objects.create(amount=factor[0], document='{"a": 1}')

    with table_of(Line):
        counting(add=add, models=(Line,))
        wallet(adds=2)
        deliver()
        assert rebuild(NAME, Wishes(only_compare=True)).differing == 0
        factor[0] = 2
        assert rebuild(NAME, Wishes(only_compare=True)).differing == 2


CHANGES = {
    "check": 'ADD CONSTRAINT "samples_check" CHECK (events >= 0)',
    "default": "ALTER COLUMN events SET DEFAULT 7",
}
UNDONE = {"check": 'DROP CONSTRAINT IF EXISTS "samples_check"', "default": "ALTER COLUMN events DROP DEFAULT"}


@pytest.mark.needs_postgres
@pytest.mark.parametrize("change", CHANGES)
def test_what_a_migration_has_done_meanwhile_is_not_undone(change: str) -> None:
    counting()
    wallet(adds=3)
    deliver()
    assert not rebuild(NAME, Wishes(stop=after_one())).finished
    run(f'ALTER TABLE "{table()}" {CHANGES[change]}')
    try:
        with pytest.raises(RebuildFailed, match="has been changed since"):
            rebuild(NAME, Wishes())
        assert rebuild(NAME, Wishes(restart=True)).swapped
        assert rebuild(NAME, Wishes()).swapped, "and once more, with what is there now"
    finally:
        run(f'ALTER TABLE "{table()}" {UNDONE[change]}')


@pytest.mark.needs_postgres
def test_a_function_that_would_be_lost_with_its_table_is_told_before_anything_is_built() -> None:
    counting()
    wallet(adds=2)
    deliver()
    body = f'SELECT * FROM "{table()}"'
    run(f'CREATE FUNCTION samples_all() RETURNS SETOF "{table()}" LANGUAGE sql BEGIN ATOMIC {body}; END')
    try:
        with pytest.raises(RebuildFailed, match=r"the function samples_all\(\) uses it"):
            rebuild(NAME, Wishes())
    finally:
        run("DROP FUNCTION samples_all()")


def test_a_rebuild_of_what_the_code_has_no_more_says_how_to_be_rid_of_it() -> None:
    counting()
    wallet(adds=2)
    deliver()
    assert not rebuild(NAME, Wishes(stop=after_one())).finished
    declared = registry.get(NAME)
    assert declared is not None
    registry.remove(NAME)
    with pytest.raises(RebuildFailed, match="with the code that has it"):
        cancel(NAME)
    registry.add(declared)
    assert cancel(NAME)


@pytest.mark.needs_postgres
def test_sql_that_is_composed_is_rewritten_as_well() -> None:
    from psycopg import sql

    def add(event: MoneyAdded, recorded: RecordedEvent) -> None:
        statement = sql.SQL("INSERT INTO {} (reference, total, events) VALUES (%s, 1, 1)")
        with connection.cursor() as cursor:
            cursor.execute(statement.format(sql.Identifier(table())), [str(recorded.position)])

    counting(add=add)
    wallet(adds=2)
    deliver()
    assert rebuild(NAME, Wishes(compare=True)).differing == 0


def test_a_rebuild_of_other_events_begins_anew() -> None:
    def add(event: object, recorded: RecordedEvent) -> None:
        count_it(recorded.stream_key, Decimal(1))

    counting(add=add)
    opened = wallet(adds=2)
    deliver()
    assert not rebuild(NAME, Wishes(stop=after_one())).finished
    counting(add=add, also=handles(WalletOpened)(lambda _self, event, recorded: add(event, recorded)))
    deliver()
    assert rebuild(NAME, Wishes()).swapped
    assert total(str(opened.pk))[0] == 3
