"""Managers and querysets read as any do, also those of one's own; what they write is what has no history."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from django.contrib.auth.models import Permission
from django.db import connection, models, transaction
from django.db.migrations.state import ModelState, ProjectState
from django.db.models.functions import Upper
from django.test.utils import isolate_apps

from eventsourcing_app import CommandRejected
from eventsourcing_app.exceptions import DirectWriteRefused, SpentInstance
from eventsourcing_app.models import EventSourcedManager, EventSourcedModel
from tests.samples.factories import add, change_row, drifts, list_book, open_wallet, rebuild, versions
from tests.samples.habits import Fleet, Ship, ShipManager, ShipQuerySet, Specimen
from tests.samples.models import Book, Contract, Wallet
from tests.test_model_checks import found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_row_drifts(db: None) -> Iterator[None]:
    """Whatever a test tried, rows and histories agree at its end."""
    yield
    if not connection.needs_rollback:
        assert drifts() == []
        assert [drift for model in (Ship, Specimen) for drift in rebuild(model, check=True)] == []


def launch(*names: str) -> list[Ship]:
    pks = [Ship.objects.perform_new(Ship.begin, name=name).pk for name in names]
    return [Ship.objects.get(pk=pk) for pk in pks]


# Reading

READS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "get": (lambda rows: rows.get(owner="Ada").owner, "Ada"),
    "first": (lambda rows: rows.order_by("owner").first().owner, "Ada"),
    "last": (lambda rows: rows.order_by("owner").last().owner, "Eve"),
    "earliest": (lambda rows: rows.earliest("changed_at").owner, "Ada"),
    "latest": (lambda rows: rows.latest("changed_at").owner, "Eve"),
    "reverse": (lambda rows: [row.owner for row in rows.order_by("owner").reverse()], ["Eve", "Ada"]),
    "distinct": (lambda rows: list(rows.order_by("version").values_list("version", flat=True).distinct()), [2, 3]),
    "values": (
        lambda rows: list(rows.filter(owner="Ada").values("owner", "version")),
        [{"owner": "Ada", "version": 2}],
    ),
    "aggregate": (lambda rows: rows.aggregate(all=models.Sum("balance"))["all"], Decimal(16)),
    "union": (lambda rows: rows.filter(owner="Ada").union(rows.filter(owner="Eve")).count(), 2),
    "in_bulk": (lambda rows: sorted(row.owner for row in rows.in_bulk().values()), ["Ada", "Eve"]),
    "iterator": (lambda rows: sorted(row.owner for row in rows.iterator(chunk_size=1)), ["Ada", "Eve"]),
    "exists": (lambda rows: rows.filter(owner="Bob").exists(), False),
    "contains": (lambda rows: rows.contains(rows.first()), True),
    "none": (lambda rows: list(rows.none()), []),
    "dates": (lambda rows: len(rows.datetimes("changed_at", "year")), 1),
    "slice": (lambda rows: [row.owner for row in rows.order_by("owner")[1:2]], ["Eve"]),
    "extra": (lambda rows: rows.extra(where=["owner = %s"], params=["Ada"]).get().owner, "Ada"),
    "explain": (lambda rows: "samples_wallet" in rows.explain(), True),
}


@pytest.mark.parametrize("name", READS)
def test_it_reads_as_any_queryset(name: str) -> None:
    open_wallet("Ada", 5)
    open_wallet("Eve", 5, 6)
    read, expected = READS[name]
    assert read(Wallet.objects.all()) == read(Wallet.objects.all()) == expected


LOADS: dict[str, Callable[[], Wallet]] = {
    "annotate": lambda: Wallet.objects.annotate(loud=Upper("owner")).get(),
    "alias": lambda: Wallet.objects.alias(loud=Upper("owner")).get(loud="ADA"),
    "extra": lambda: Wallet.objects.extra(select={"one": "1"}).get(),
    "union": lambda: Wallet.objects.union(Wallet.objects.all()).get(),
    "only": lambda: Wallet.objects.only("owner").get(),
    "defer": lambda: Wallet.objects.defer("labels", "note").get(),
    "in_bulk": lambda: next(iter(Wallet.objects.in_bulk().values())),
    "iterator": lambda: next(Wallet.objects.iterator()),
    "a pickled queryset": lambda: pickle.loads(pickle.dumps(Wallet.objects.all())).get(),
    "a pickled query": lambda: _of_query(pickle.loads(pickle.dumps(Wallet.objects.all().query))),
    "the base manager": Wallet._base_manager.get,
    "another alias": lambda: Wallet.objects.using("default").get(),
}


def _of_query(query: Any) -> Wallet:
    rows = Wallet.objects.all()
    rows.query = query
    return rows.get()


@pytest.mark.parametrize("way", LOADS)
def test_what_is_loaded_in_any_way_runs_commands(way: str) -> None:
    opened = open_wallet("Ada", 5)
    for balance in (6, 7):
        add(LOADS[way]()).save()
        assert Wallet.objects.get().balance == balance
    assert versions(opened) == [1, 2, 3, 4]


def test_an_instance_is_refreshed_from_a_queryset() -> None:
    held = open_wallet("Ada", 5)
    add(Wallet.objects.get()).save()
    held.refresh_from_db(from_queryset=Wallet.objects.filter(owner="Ada"))
    assert (held.balance, held.version) == (Decimal(6), 3)
    with pytest.raises(Wallet.DoesNotExist):
        held.refresh_from_db(from_queryset=Wallet.objects.filter(owner="Eve"))
    add(held).save()


@pytest.mark.parametrize("fields", [None, ["version"], ["changed_at", "owner"]])
@pytest.mark.parametrize("partly", ["defer", "only"])
def test_a_queryset_that_defers_does_not_give_a_stale_state_a_new_version(fields: Any, partly: str) -> None:
    held = open_wallet("Ada", 5)
    add(Wallet.objects.get()).save()
    rows = Wallet.objects.defer("balance") if partly == "defer" else Wallet.objects.only("owner", "version")
    held.refresh_from_db(from_queryset=rows, fields=fields)
    assert (held.balance, held.version) == (Decimal(6), 3)
    add(held).save()
    assert Wallet.objects.get().balance == 7


# Locks


@committing
def test_a_lock_needs_a_transaction_where_the_database_has_locks() -> None:
    open_wallet()
    if connection.features.has_select_for_update:
        with pytest.raises(transaction.TransactionManagementError):
            Wallet.objects.select_for_update().get()
    else:
        assert Wallet.objects.select_for_update().get().owner == "Ada"
    Wallet.objects.perform(Wallet.objects.get().pk, Wallet.add, Decimal(1))


@pytest.mark.parametrize(
    "options", [{}, {"nowait": True}, {"skip_locked": True}, {"of": ("self",)}, {"no_key": True}], ids=str
)
def test_what_is_loaded_under_a_lock_runs_commands(options: dict[str, Any]) -> None:
    open_wallet()
    with transaction.atomic():
        add(Wallet.objects.select_for_update(**options).get()).save()
    assert Wallet.objects.get().balance == 1


# Managers and querysets of one's own


def test_a_queryset_of_ones_own_has_its_methods_and_refuses_writes() -> None:
    launch("argo", "beagle")
    assert type(Ship.objects.all()) is type(Ship.objects.filter(pk=None)) is ShipQuerySet
    assert [ship.name for ship in Ship.objects.of_line("A")] == ["Argo"]
    assert Ship.objects.filter(name="Beagle").of_line("A").count() == 0
    for write in (Ship.objects.of_line("A").delete, lambda: Ship.objects.of_line("A").update(name="x")):
        with pytest.raises(DirectWriteRefused):
            write()
    assert Ship.objects.of_line("A").update(description="old") == 1


def test_a_manager_of_ones_own_is_known_to_relations_and_proxies() -> None:
    (ship,) = launch("argo")
    assert type(Ship._base_manager.all()).__name__ == "EventSourcedQuerySet"
    assert Ship._default_manager.name == "objects"
    assert isinstance(Fleet.objects.all(), ShipQuerySet)
    assert Fleet.objects.get() == ship


def test_a_manager_that_is_stored_in_migrations_guards_historical_models() -> None:
    launch("argo")
    state = ProjectState()
    for model in (Ship, Wallet):
        state.add_model(ModelState.from_model(model))
    (name, manager) = ModelState.from_model(Ship).managers[0]
    assert (name, type(manager)) == ("objects", ShipManager)
    historical: Any = state.apps.get_model("samples", "Ship")
    assert historical.objects.of_line("A").count() == 1
    for write in (historical.objects.create, historical.objects.all().delete):
        with pytest.raises(DirectWriteRefused):
            write()
    with pytest.raises(TypeError, match="no command"):
        historical.objects.perform(Ship.objects.get().pk, Ship.rename, name="x")


@isolate_apps("tests.samples")
def test_every_manager_that_lets_writes_pass_is_an_error() -> None:
    class Raw(EventSourcedModel):
        stream_type = "checks.raw"
        objects: ClassVar[Any] = EventSourcedManager()
        raw: ClassVar[Any] = models.Manager()

        class Meta:
            app_label = "samples"

    class Open(EventSourcedModel):
        stream_type = "checks.open"
        objects: ClassVar[Any] = EventSourcedManager.from_queryset(models.QuerySet)()

        class Meta:
            app_label = "samples"

    class Based(EventSourcedModel):
        stream_type = "checks.based"
        rows: ClassVar[Any] = models.Manager()

        class Meta:
            app_label = "samples"
            base_manager_name = "rows"
            default_manager_name = "objects"

    class Thin(EventSourcedModel):
        stream_type = "checks.thin"
        objects: ClassVar[Any] = ShipQuerySet.as_manager()

        class Meta:
            app_label = "samples"

    for model in (Raw, Open, Based, Thin):
        assert found(model) == {"E109"}, model


@isolate_apps("tests.samples")
def test_a_mixin_before_the_base_does_not_bring_a_base_manager_that_lets_writes_pass() -> None:
    class Plain(models.Model):
        class Meta:
            abstract = True
            app_label = "samples"

    class Guarded(Plain, EventSourcedModel):
        stream_type = "checks.guarded"

        class Meta:
            app_label = "samples"

    assert found(Guarded) == set()
    with pytest.raises(DirectWriteRefused):
        Guarded._base_manager.create()


# Columns without history


def test_columns_without_history_are_updated_in_bulk() -> None:
    ada, eve = open_wallet("Ada"), open_wallet("Eve")
    ada.note, eve.note = "a", "e"
    assert Wallet.objects.bulk_update(iter([ada, eve]), ["note"], batch_size=1) == 2
    assert sorted(Wallet.objects.values_list("note", flat=True)) == ["a", "e"]
    change_row(Wallet, ada.pk, note="theirs")
    add(ada).save()
    assert Wallet.objects.get(owner="Ada").note == "theirs"
    assert versions(eve) == [1]


@pytest.mark.parametrize("fields", [["balance"], ["note", "owner"], ["version"]])
def test_other_columns_are_not_updated_in_bulk(fields: list[str]) -> None:
    wallet = open_wallet()
    with pytest.raises(DirectWriteRefused, match="bulk_update"):
        Wallet.objects.bulk_update([wallet], fields)


def test_a_foreign_key_without_history_may_be_called_by_its_column() -> None:
    specimen = Specimen()
    specimen.measure()
    specimen.save()
    assert Specimen.objects.update(seen_by_id=None) == Specimen.objects.update(seen_by=None) == 1
    specimen.save(update_fields=["seen_by_id"])
    assert versions(specimen) == [1]


def test_an_expression_in_a_column_without_history_is_computed_once() -> None:
    specimen = Specimen()
    specimen.measure()
    specimen.save()
    assert specimen.rank == 7  # its default is the database's
    specimen.looks = models.F("looks") + 1
    specimen.save(update_fields=["looks"])
    specimen.save(update_fields=["looks"])
    assert specimen.looks == 1
    specimen.looks = models.F("looks") + 1
    specimen.save(update_fields=["rank"])  # which is another column
    Specimen.objects.bulk_update([specimen], ["rank"])
    specimen.measure_again()
    specimen.save()
    specimen.measure_again()
    specimen.save()
    specimen.looks = models.F("looks") + 1
    Specimen.objects.bulk_update([specimen], ["looks"])
    assert specimen.looks == 3
    Specimen.objects.update(looks=models.F("looks") + models.F("height"))
    assert Specimen.objects.get().looks == 4
    assert versions(specimen) == [1, 2, 3]


def test_a_time_of_saving_without_history_is_that_of_its_own_saves() -> None:
    specimen = Specimen()
    specimen.measure()
    specimen.save()
    first = Specimen.objects.get().seen_at
    specimen.measure_again()
    specimen.save()
    assert Specimen.objects.get().seen_at == first  # changed_at tells when the last event was recorded
    specimen.save(update_fields=["seen_at"])
    assert Specimen.objects.get().seen_at > first


def test_an_update_with_a_recorded_column_is_refused_by_its_column_too() -> None:
    with pytest.raises(DirectWriteRefused, match="customer_id"):
        Contract.objects.update(customer_id=1)


# What Django's options of save() mean


def test_forced_inserts_and_updates_are_taken_at_their_word() -> None:
    wallet = open_wallet()
    new = Wallet()
    new.open(owner="Eve")
    with pytest.raises(CommandRejected) as refused:
        add(wallet).save(force_insert=True)
    assert refused.value.code == "already_exists"
    with pytest.raises(CommandRejected) as refused:
        new.save(force_update=True)
    assert refused.value.code == "does_not_exist"
    wallet.save(force_update=True)
    new.save(force_insert=True)
    assert versions(wallet) == [1, 2]


def test_options_of_the_table_are_djangos() -> None:
    launch("beagle", "argo")
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, "samples_fleet")
    assert {"samples_ship_name", "samples_ship_name_once"} <= constraints.keys()
    assert [ship.name for ship in Ship.objects.all()] == ["Argo", "Beagle"]
    assert Ship.objects.latest().name == "Argo"
    codenames = Permission.objects.filter(content_type__model="ship").values_list("codename", flat=True)
    assert set(codenames) == {"view_ship", "sink_ship"}
    assert str(Ship._meta.verbose_name) == "vessel"
    assert Ship.objects.filter(changed_at__lt=datetime(2000, 1, 1, tzinfo=UTC)).count() == 0


BOOKS = "SELECT isbn, version, changed_at, ended, subtitle, 'Forged' AS title FROM samples_book"


@pytest.mark.parametrize("door", ["objects", "queryset", "using", "prefetch", "iterator"])
def test_what_raw_gives_is_read_and_never_saved(door: str) -> None:
    list_book("1", "Emma")
    found: Any = Book.objects.raw(BOOKS) if door == "objects" else Book.objects.all().raw(BOOKS)
    if door == "using":
        found = found.using("default")
    elif door == "prefetch":
        found = found.prefetch_related()
    (book,) = found.iterator() if door == "iterator" else found
    assert book.title == "Forged"
    with pytest.raises(SpentInstance, match=r"loaded by raw\(\)"):
        book.rename(title=f"{book.title} again")
    with pytest.raises(SpentInstance):
        book.save()
    book.refresh_from_db()
    book.rename(title=f"{book.title} again")
    book.save()
    assert Book.objects.get().title == "Emma again"


@pytest.mark.parametrize("name", ["title", "version", "isbn"])
def test_extra_gives_no_field_another_value(name: str) -> None:
    book = list_book("1", "Emma")
    with pytest.raises(ValueError, match="conflicts with a field"):
        Book.objects.extra(select={name: "500"})
    with pytest.raises(ValueError, match="conflicts with a field"):
        book.refresh_from_db(from_queryset=Book.objects.only("version").extra(select={name: "500"}))
    shown: Any = Book.objects.extra(select={"shouted": "upper(title)"}, where=["title = %s"], params=["Emma"]).get()
    assert shown.shouted == "EMMA"
    shown.rename(title="Emma again")
    shown.save()
    assert Book.objects.get().title == "Emma again"
