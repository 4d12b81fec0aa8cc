"""Stored events are immutable: every door through which one could be changed, removed, replaced or forged is shut."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, ProgrammingError, connection, models, transaction
from django.db.models.deletion import Collector
from django.db.models.sql import UpdateQuery

from eventsourcing_app.exceptions import AppendOnly
from eventsourcing_app.models import StoredEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.django_db

TABLE = "eventsourcing_app_storedevent"
SEQUENCE = f"{TABLE}_position_seq"
FIRST, SECOND = UUID(int=1), UUID(int=2)
on_postgres, on_sqlite = pytest.mark.needs_postgres, pytest.mark.needs_sqlite
committing = pytest.mark.django_db(transaction=True)


def run(sql: str, params: list[Any] | None = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


def row(**changes: Any) -> dict[str, Any]:
    event_id = changes.pop("event_id", None) or uuid4()
    return {
        "event_id": event_id if connection.vendor == "postgresql" else event_id.hex,
        "stream_type": "bank.account",
        "stream_key": "ada",
        "version": None,
        "type": "bank.money_deposited",
        "schema_version": 1,
        "data": '{"amount":"50.00"}',
        "metadata": "{}",
        "actor": "user:1",
        "correlation_id": "c",
        "recorded_at": datetime(2026, 1, 1, tzinfo=UTC) if connection.vendor == "postgresql" else "2026-01-01 00:00:00",
        "hash": b"\x01" * 32,
        **changes,
    }


def insert(verb: str = "INSERT INTO", middle: str = "", tail: str = "", **changes: Any) -> None:
    values = row(**changes)
    columns, places = ", ".join(values), ", ".join(["%s"] * len(values))
    run(f"{verb} {TABLE} ({columns}) {middle} VALUES ({places}) {tail}", list(values.values()))


def stored() -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cast = "::text" if connection.vendor == "postgresql" else ""
        cursor.execute(f"SELECT position, event_id, version, type, data{cast}, actor FROM {TABLE} ORDER BY position")
        return list(cursor.fetchall())


def first() -> StoredEvent:
    event: StoredEvent = StoredEvent.objects.get(event_id=FIRST)
    return event


@pytest.fixture
def log() -> list[tuple[Any, ...]]:
    insert(event_id=FIRST, version=1)
    insert(event_id=SECOND, version=2)
    insert(stream_type="bank.rates_published", stream_key="")
    return stored()


@contextmanager
def refused(*errors: type[Exception], says: str | None = None) -> Iterator[None]:
    with pytest.raises(errors or (IntegrityError,), match=says), transaction.atomic():
        yield


ORM_DOORS: dict[str, Callable[[], Any]] = {
    "save": lambda: first().save(),
    "save of some fields": lambda: first().save(update_fields=["actor"]),
    "save that inserts": lambda: StoredEvent(**row()).save(force_insert=True),
    "save of the base class": lambda: models.Model.save(first()),
    "save_base": lambda: first().save_base(raw=True),
    "save_base of the base class": lambda: models.Model.save_base(first(), raw=True),
    "delete": lambda: first().delete(),
    "delete of the base class": lambda: models.Model.delete(first()),
    "create": lambda: StoredEvent.objects.create(**row()),
    "get_or_create": lambda: StoredEvent.objects.get_or_create(event_id=FIRST),
    "update_or_create": lambda: StoredEvent.objects.update_or_create(event_id=FIRST, defaults={"actor": "me"}),
    "update": lambda: StoredEvent.objects.update(actor="me"),
    "update through values": lambda: StoredEvent.objects.values("actor").update(actor="me"),
    "queryset delete": lambda: StoredEvent.objects.all().delete(),
    "raw delete": lambda: StoredEvent.objects.all()._raw_delete("default"),
    "bulk_update": lambda: StoredEvent.objects.bulk_update([first()], ["actor"]),
    "bulk_create": lambda: StoredEvent.objects.bulk_create([first()]),
    "bulk_create that updates": lambda: StoredEvent.objects.bulk_create(
        [first()], update_conflicts=True, update_fields=["actor"], unique_fields=["event_id"]
    ),
    "bulk_create that ignores": lambda: StoredEvent.objects.bulk_create([first()], ignore_conflicts=True),
    "base manager update": lambda: StoredEvent._base_manager.update(actor="me"),
    "base manager delete": lambda: StoredEvent._base_manager.all().delete(),
    "default manager update": lambda: StoredEvent._default_manager.update(actor="me"),
}
DOORS_PAST_OUR_CLASSES: dict[str, Callable[[], Any]] = {
    "a queryset of Django's": lambda: past_our_classes().update(actor="me"),
    "its delete": lambda: past_our_classes().delete(),
    "its raw delete": lambda: past_our_classes()._raw_delete("default"),
    "its bulk_update": lambda: past_our_classes().bulk_update([changed()], ["actor"]),
    "its upsert": lambda: past_our_classes().bulk_create(
        [changed()], update_conflicts=True, update_fields=["actor"], unique_fields=["event_id"]
    ),
    "an update query": lambda: update_query().get_compiler("default").execute_sql("no results"),
    "the collector": lambda: collect(first()).delete(),
}


def past_our_classes() -> models.QuerySet[StoredEvent]:
    return models.QuerySet(StoredEvent)


def changed() -> StoredEvent:
    event = first()
    event.actor = "me"
    return event


def update_query() -> UpdateQuery:
    query = UpdateQuery(StoredEvent)
    query.add_update_values({"actor": "me"})
    return query


def collect(event: StoredEvent) -> Collector:
    collector = Collector(using="default", origin=event)
    collector.collect([event])
    return collector


@pytest.mark.parametrize("door", ORM_DOORS)
def test_the_orm_refuses_and_names_the_call_to_use_instead(log: list[tuple[Any, ...]], door: str) -> None:
    with refused(AppendOnly, IntegrityError, says="StoredEvent: .* publish|eventsourcing:append_only"):
        ORM_DOORS[door]()
    assert stored() == log


@pytest.mark.parametrize("door", DOORS_PAST_OUR_CLASSES)
def test_what_gets_past_our_classes_ends_at_the_database(log: list[tuple[Any, ...]], door: str) -> None:
    # Django names the position in its upsert: PostgreSQL refuses that first.
    with refused(IntegrityError, ProgrammingError, says='^eventsourcing:|non-DEFAULT value into column "position"'):
        DOORS_PAST_OUR_CLASSES[door]()
    assert stored() == log


@pytest.mark.parametrize("position", [1, None, 99])
def test_loaddata_neither_changes_nor_adds_an_event(
    log: list[tuple[Any, ...]], tmp_path: Path, position: int | None
) -> None:
    fields = {**row(event_id=FIRST if position == 1 else None), "recorded_at": "2026-01-01T00:00:00Z", "hash": "AQ=="}
    fields["event_id"] = str(fields["event_id"])
    pk = first().position if position == 1 else position
    fixture = tmp_path / "forged.json"
    fixture.write_text(json.dumps([{"model": "eventsourcing_app.storedevent", "pk": pk, "fields": fields}]))
    with refused(AppendOnly, IntegrityError):
        call_command("loaddata", fixture, verbosity=0)
    assert stored() == log


@pytest.mark.parametrize(
    "sql",
    [
        f"UPDATE {TABLE} SET actor = 'me'",
        f"UPDATE {TABLE} SET actor = actor",
        f"UPDATE {TABLE} SET position = position + 100",
        f"DELETE FROM {TABLE}",
        f"DELETE FROM {TABLE} WHERE version = 2",
        f"WITH old AS (SELECT 1 AS version) UPDATE {TABLE} SET actor = 'me' WHERE version IN (SELECT version FROM old)",
    ],
)
def test_the_database_refuses_to_change_or_remove_a_row(log: list[tuple[Any, ...]], sql: str) -> None:
    with refused(DatabaseError, says="eventsourcing:append_only|can only be updated to DEFAULT"):
        run(sql)
    assert stored() == log


@pytest.mark.parametrize("target", ["(event_id)", "(stream_type, stream_key, version)", "(position)"])
def test_an_upsert_updates_nothing(log: list[tuple[Any, ...]], target: str) -> None:
    with refused(says="eventsourcing:|unique"):
        insert(event_id=FIRST, version=1, tail=f"ON CONFLICT {target} DO UPDATE SET actor = 'me'")
    assert stored() == log


def test_an_upsert_that_does_nothing_changes_nothing(log: list[tuple[Any, ...]]) -> None:
    try:
        with transaction.atomic():
            insert(event_id=FIRST, version=1, actor="me", tail="ON CONFLICT DO NOTHING")
    except IntegrityError:
        assert connection.vendor == "sqlite"  # its guard speaks first
    assert stored() == log


@on_postgres
@pytest.mark.parametrize(
    "sql",
    [
        f"TRUNCATE {TABLE}",
        f"TRUNCATE {TABLE} RESTART IDENTITY CASCADE",
        f"WITH gone AS (DELETE FROM {TABLE} RETURNING 1) SELECT * FROM gone",
        f"UPDATE {TABLE} SET actor = 'me' WHERE false",
        f"MERGE INTO {TABLE} t USING (SELECT 1 AS v) s ON t.version = s.v WHEN MATCHED THEN UPDATE SET actor = 'me'",
        f"MERGE INTO {TABLE} t USING (SELECT 1 AS v) s ON t.version = s.v WHEN MATCHED THEN DELETE",
    ],
)
def test_postgresql_refuses_its_own_ways_to_change_a_row(log: list[tuple[Any, ...]], sql: str) -> None:
    if sql.startswith("MERGE") and connection.pg_version < 15_00_00:  # type: ignore[attr-defined]
        pytest.skip("MERGE came with PostgreSQL 15")
    with refused(says="eventsourcing:append_only"):
        run(sql)
    assert stored() == log


@on_postgres
@pytest.mark.parametrize(
    "sql", [f"UPDATE {TABLE} SET actor = 'me'", f"DELETE FROM {TABLE}", f"TRUNCATE {TABLE}", "a chosen position"]
)
def test_a_session_that_plays_replica_is_refused_too(log: list[tuple[Any, ...]], sql: str) -> None:
    with refused(says="eventsourcing:append_only"):
        run("SET LOCAL session_replication_role = replica")
        if sql == "a chosen position":
            insert(position=1000, middle="OVERRIDING SYSTEM VALUE")
        else:
            run(sql)
    assert stored() == log


@on_postgres
def test_a_position_cannot_be_given_overridden_or_copied(log: list[tuple[Any, ...]]) -> None:
    with refused(DatabaseError, says="position"):
        insert(position=1000)
    for chosen in (1000, 1, 0, -1):
        with refused(says="eventsourcing:append_only"):
            insert(position=chosen, middle="OVERRIDING SYSTEM VALUE")
    values = row(position=1000)
    with (
        refused(says="eventsourcing:append_only"),
        connection.cursor() as cursor,
        connection.wrap_database_errors,
        cursor.copy(f"COPY {TABLE} ({', '.join(values)}) FROM STDIN") as copy,
    ):
        copy.write_row(tuple(values.values()))
    assert stored() == log


@on_postgres
@committing
def test_a_session_that_never_appended_cannot_choose_a_position_either() -> None:
    connection.close()
    with refused(DatabaseError, says="currval"):
        insert(position=1000, middle="OVERRIDING SYSTEM VALUE")
    assert stored() == []


@on_postgres
def test_a_role_that_may_append_can_draw_no_position_without_storing_an_event() -> None:
    run("CREATE ROLE eventsourcing_writer")
    run(f"GRANT SELECT, INSERT ON {TABLE} TO eventsourcing_writer")
    run(f"GRANT SELECT ON SEQUENCE {SEQUENCE} TO eventsourcing_writer")
    run("SET LOCAL ROLE eventsourcing_writer")
    insert(version=1)
    with refused(DatabaseError, says="permission denied"):
        run(f"SELECT nextval('{SEQUENCE}')")
    assert len(stored()) == 1


@on_postgres
def test_copy_and_inserts_of_many_rows_draw_their_positions(log: list[tuple[Any, ...]]) -> None:
    values = row()
    with connection.cursor() as cursor, cursor.copy(f"COPY {TABLE} ({', '.join(values)}) FROM STDIN") as copy:
        for number in range(200):
            copy.write_row(tuple({**values, "event_id": UUID(int=100 + number)}.values()))
    run(
        f"INSERT INTO {TABLE} ({', '.join(values)}) SELECT gen_random_uuid(), {', '.join(list(values)[1:])}"
        f" FROM {TABLE} WHERE version IS NULL ORDER BY event_id"
    )
    positions = [event[0] for event in stored()]
    assert len(positions) == 3 + 200 + 201
    assert positions == list(range(positions[0], positions[0] + len(positions)))


@on_sqlite
@pytest.mark.parametrize("verb", ["REPLACE INTO", "INSERT OR REPLACE INTO", "INSERT OR IGNORE INTO", "INSERT INTO"])
@pytest.mark.parametrize(
    ("key", "marker"),
    [
        ({"event_id": FIRST}, "eventsourcing:append_only"),
        ({"version": 1}, "eventsourcing:conflict"),
        ({"version": 1, "event_id": FIRST}, "eventsourcing:conflict"),
        ({"position": "first"}, "eventsourcing:append_only"),
        ({"rowid": "first"}, "eventsourcing:append_only"),
        ({"oid": "first"}, "eventsourcing:append_only"),
        ({"_rowid_": "first"}, "eventsourcing:append_only"),
        ({"position": 1000}, "eventsourcing:append_only"),
        ({"rowid": 1000}, "eventsourcing:append_only"),
        ({"position": 0}, "eventsourcing:append_only"),
        ({"position": -1}, "eventsourcing:append_only"),
    ],
)
def test_sqlite_replaces_no_row_and_lets_nobody_choose_a_position(
    log: list[tuple[Any, ...]], verb: str, key: dict[str, Any], marker: str
) -> None:
    key = {name: log[0][0] if value == "first" else value for name, value in key.items()}
    with refused(says=f"^{marker}"):
        insert(verb, **{"actor": "me", **key})
    assert stored() == log


@on_sqlite
@pytest.mark.parametrize("how", ["REPLACE", "IGNORE", "FAIL", "ROLLBACK"])
def test_sqlite_refuses_an_update_with_any_conflict_clause(log: list[tuple[Any, ...]], how: str) -> None:
    with refused(says="^eventsourcing:append_only"):
        run(f"UPDATE OR {how} {TABLE} SET version = 1, actor = 'me' WHERE version = 2")
    assert stored() == log


@on_sqlite
def test_sqlite_gives_no_position_after_its_counter_was_moved(log: list[tuple[Any, ...]]) -> None:
    with refused(says="^eventsourcing:append_only"):
        run("UPDATE sqlite_sequence SET seq = 1000 WHERE name = %s", [TABLE])
        insert()
    run("DELETE FROM sqlite_sequence WHERE name = %s", [TABLE])
    insert()
    assert [event[0] for event in stored()] == [*(event[0] for event in log), log[-1][0] + 1]


def test_events_without_a_version_do_not_collide(log: list[tuple[Any, ...]]) -> None:
    for _ in range(3):
        insert(stream_type="bank.rates_published", stream_key="")
    assert len(stored()) == len(log) + 3


def test_the_next_position_is_drawn_after_a_refusal(log: list[tuple[Any, ...]]) -> None:
    with refused(IntegrityError):
        insert(version=2)
    insert(version=3)
    assert stored()[:-1] == log
