"""An aggregate has one history, whatever its model, its app and its streams have been called meanwhile."""

from __future__ import annotations

from contextlib import contextmanager
from decimal import Decimal
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connection, models, transaction
from django.test.utils import CaptureQueriesContext, isolate_apps

from eventsourcing_app.access.events import filtered, found
from eventsourcing_app.access.streams import models_by_stream_type
from eventsourcing_app.access.visibility import visible_trail
from eventsourcing_app.checks import models as model_checks
from eventsourcing_app.context import Reaction, reacting
from eventsourcing_app.exceptions import ConcurrencyError, KeyInFlight, KeyReused
from eventsourcing_app.identifiers import uuid7
from eventsourcing_app.log import streams
from eventsourcing_app.log.names import names_of
from eventsourcing_app.log.read import read_stream
from eventsourcing_app.log.records import StoredEventQuerySet
from eventsourcing_app.log.streams import windows
from eventsourcing_app.models import EventSourcedModel, StoredEvent, StoredReceipt
from tests.projects import fresh_project
from tests.samples.factories import (
    LOG,
    begin_counter,
    change_row,
    drifts,
    failing,
    faults,
    held_elsewhere,
    list_book,
    open_wallet,
    run_sql,
    tamper,
    versions,
)
from tests.samples.models import Book, Counter, Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from django.test import Client

pytestmark = pytest.mark.django_db
OLDEST, OLD, NEW = "samples.wallet", "samples.purse", "samples.money_box"


@contextmanager
def named(name: str, *older: str, model: type[EventSourcedModel] = Wallet) -> Iterator[None]:
    """Run with the code of a release that gives the model's streams this name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "stream_type", name)
        patch.setattr(model, "stream_type_aliases", older)
        yield


def all_events() -> StoredEventQuerySet:
    return StoredEvent.objects.get_queryset()


def add(wallet: Wallet, amount: int = 1) -> None:
    Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(amount))


@pytest.fixture
def renamed() -> Iterator[Wallet]:
    """A wallet of two names, written by old and new code in turn while the rename was rolled out; another beside it."""
    wallet = open_wallet("Ada", 1)
    open_wallet("Eve", 100)
    for amount in (2, 4, 8):
        with named(NEW, OLDEST):
            add(wallet, amount)
        add(wallet, 16 * amount)
    with named(NEW, OLDEST):
        yield wallet


def test_old_events_keep_the_old_name_new_ones_get_the_new_and_versions_count_on(renamed: Wallet) -> None:
    stored = StoredEvent.objects.filter(stream_key=str(renamed.pk)).order_by("position")
    assert list(stored.values_list("version", "stream_type")) == [
        (1, OLDEST),
        (2, OLDEST),
        *[(version, NEW if version % 2 else OLDEST) for version in range(3, 9)],
    ]


def test_history_is_one(renamed: Wallet) -> None:
    assert versions(renamed) == list(range(1, 9))
    assert versions(Wallet.objects.get(pk=renamed.pk)) == list(range(1, 9))


@pytest.mark.parametrize("name", [OLDEST, NEW])
@pytest.mark.parametrize("window", [1, 2, 3, 8, 500])
def test_a_stream_is_read_whole_and_in_order_by_either_name(renamed: Wallet, name: str, window: int) -> None:
    key = str(renamed.pk)
    assert [event.version for event in read_stream(name, key, window=window)] == list(range(1, 9))
    part = read_stream(name, key, after_version=2, until_version=5, window=window)
    assert [(event.version, event.stream_type) for event in part] == [(3, NEW), (4, OLDEST), (5, NEW)]
    assert list(all_events().of_stream(name, key).values_list("version", flat=True)) == list(range(1, 9))


def test_the_past_is_one(renamed: Wallet, settings: Any) -> None:
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "SNAPSHOT_EVERY": 2}
    for version, balance in enumerate((1, 3, 35, 39, 103, 111, 239), start=2):
        stored = renamed.history().get(version=version)
        for _again in range(2):  # from a snapshot, the second time
            listed = {wallet.pk: wallet for wallet in Wallet.objects.as_of(stored.recorded_at)}[renamed.pk]
            then = Wallet.objects.at(renamed.pk, when=stored.recorded_at)
            assert (listed.version, listed.balance) == (then.version, then.balance) == (version, Decimal(balance))
    assert [entry.recorded.version for entry in Wallet.objects.trail(renamed.pk)] == list(range(1, 9))
    assert Wallet.objects.diff(renamed.pk, since=2, until=8).changes["balance"].after == 239


@pytest.mark.parametrize("name", [OLDEST, NEW])
@pytest.mark.parametrize("window", [1, 2, 5, 500])
def test_all_streams_are_read_whole_and_in_order_by_either_name(
    renamed: Wallet, name: str, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "WINDOW", window)
    third = open_wallet("Zoe", 5)
    begin_counter()
    read = [row[:2] for rows in windows(name) for row in rows]
    assert read == sorted(read)
    assert [version for key, version in read if key == str(renamed.pk)] == list(range(1, 9))
    assert len(read) == 8 + 2 + 2
    after = windows(name, after_key=str(renamed.pk))
    assert [key for rows in after for key, *_ in rows][-2:] == [str(third.pk)] * 2


def test_what_is_read_is_the_same_value_as_under_one_name(renamed: Wallet) -> None:
    (second,) = read_stream(NEW, str(renamed.pk), after_version=1, until_version=1 + 1)
    stored = StoredEvent.objects.get(position=second.position)
    assert (second.recorded_at, second.event_id, second.hash) == (
        stored.recorded_at,
        stored.event_id,
        bytes(stored.hash),
    )
    assert second.data == stored.data


def test_a_window_of_several_names_is_of_one_moment(renamed: Wallet) -> None:
    # Read one after the other, a version written meanwhile under the first name could be missed.
    with CaptureQueriesContext(connection) as captured:
        assert len(list(read_stream(NEW, str(renamed.pk)))) == 8
    assert len(captured) == 1


def test_the_past_and_the_replay_know_the_whole_history(renamed: Wallet) -> None:
    balances = [state.balance for state, _ in Wallet.objects.replay(renamed.pk)]
    assert balances == [0, 1, 3, 35, 39, 103, 111, 239]
    assert Wallet.objects.at(renamed.pk, version=5).balance == 39
    moment = renamed.history().get(version=4).recorded_at
    assert Wallet.objects.at(renamed.pk, when=moment).balance == 35


def test_rebuild_finds_nothing_wrong_and_repairs_what_is(renamed: Wallet) -> None:
    assert drifts() == []
    change_row(Wallet, renamed.pk, balance=35)
    (found_,) = drifts()
    assert (found_.pk, found_.problem, found_.version) == (renamed.pk, "differs", 5)
    call_command("rebuild", "samples.Wallet", stdout=StringIO())
    assert Wallet.objects.get(pk=renamed.pk).balance == 239
    assert drifts() == []


def test_verification_knows_that_versions_count_on_over_the_names(renamed: Wallet) -> None:
    list_book()
    assert faults() == {}


@pytest.mark.parametrize("version", [2, 3, 6])
def test_verification_misses_an_event_under_any_name(renamed: Wallet, version: int) -> None:
    following = renamed.history().get(version=version + 1).position
    tamper(f"DELETE FROM {LOG} WHERE stream_key = %s AND version = %s", [key_of(renamed), version])
    assert list(faults()) == [following]


def test_verification_finds_a_version_that_two_names_have(renamed: Wallet) -> None:
    positions = renamed.history().filter(version__in=[3, 4]).values_list("position", flat=True)
    expected = sorted(positions)
    tamper(f"UPDATE {LOG} SET version = 3 WHERE stream_key = %s AND version = 4", [key_of(renamed)])
    assert [position for position, what in faults().items() if "another event has its version" in what] == expected


def test_verification_of_a_stream_whose_older_name_nobody_knows_says_so(renamed: Wallet) -> None:
    since = set(renamed.history().filter(version__gte=3).values_list("position", flat=True))
    with named(NEW):
        assert set(faults()) == since


def key_of(wallet: Wallet) -> str:
    return str(wallet.pk)


# Writing


def test_two_that_write_under_different_names_do_not_write_one_version_twice() -> None:
    wallet = open_wallet("Ada")
    stale = Wallet.objects.get()
    stale.add(Decimal(1))
    with named(NEW, OLDEST):
        add(wallet)
    with pytest.raises(ConcurrencyError):
        stale.save()
    with named(NEW, OLDEST):
        assert versions(Wallet.objects.get()) == [1, 2]
        assert drifts() == []


def create_book() -> Any:
    return list_book("9")


def create_books() -> Any:
    books = [Book(isbn=isbn) for isbn in ("8", "9")]
    for book in books:
        book.list_it(title="Emma")
    Book.objects.save_all(books)


def create_counter() -> Any:
    return begin_counter()


@pytest.mark.parametrize("create", [create_book, create_books])
def test_a_history_is_not_begun_again_under_the_new_name(create: Any) -> None:
    list_book("9")
    run_sql("DELETE FROM samples_book")
    with named("samples.volume", "samples.book", model=Book):
        with failing(ConcurrencyError, "at version 1 now"):
            create()
        assert not Book.objects.exists()
        assert StoredEvent.objects.count() == 1
        assert list_book("7").version == 1


def test_nor_is_one_whose_key_the_database_draws_again() -> None:
    counter = begin_counter()
    run_sql("DELETE FROM samples_counter")
    if connection.vendor == "postgresql":
        run_sql("SELECT setval(pg_get_serial_sequence('samples_counter', 'number'), %s, false)", [counter.pk])
    else:
        run_sql("DELETE FROM sqlite_sequence WHERE name = 'samples_counter'")
        run_sql("INSERT INTO sqlite_sequence (name, seq) VALUES ('samples_counter', %s)", [counter.pk - 1])
    with named("samples.meter", "samples.counter", model=Counter), failing(ConcurrencyError), transaction.atomic():
        begin_counter()
    assert not Counter.objects.exists()


# Keys of once()


def once(wallet: Wallet, amount: int = 5) -> Any:
    return Wallet.objects.once("payment-1").perform(wallet.pk, Wallet.add, amount=Decimal(amount))


@pytest.mark.parametrize("second", [(OLD, OLDEST), (NEW, OLD, OLDEST), (NEW, OLDEST, OLD), (OLDEST,)])
@pytest.mark.parametrize("first", [(OLDEST,), (OLD, OLDEST), (NEW, OLD, OLDEST)])
def test_a_key_finds_its_receipt_before_and_after_a_rename(first: tuple[str, ...], second: tuple[str, ...]) -> None:
    wallet = open_wallet("Ada")
    with named(*first):
        assert not once(wallet).replayed
    with named(*second):
        assert once(wallet).replayed
        with pytest.raises(KeyReused):
            once(wallet, 6)
    with named(NEW, OLD, OLDEST):
        assert versions(wallet) == [1, 2]
    assert StoredReceipt.objects.count() == 1


def test_a_creating_command_is_not_repeated_after_a_rename() -> None:
    first = Wallet.objects.once("k").perform_new(Wallet.open, owner="Ada")
    with named(NEW, OLDEST):
        again = Wallet.objects.once("k").perform_new(Wallet.open, owner="Ada")
    assert (again.pk, again.replayed) == (first.pk, True)


def test_a_subscriber_that_runs_again_after_a_rename_does_nothing_twice() -> None:
    wallet = open_wallet("Ada")
    event_id = uuid7()
    for names in ((OLDEST,), (NEW, OLDEST)):
        token = reacting.set(Reaction(subscription="s", event_id=event_id, kind="subscriber"))
        try:
            with named(*names):
                add(wallet)
        finally:
            reacting.reset(token)
    assert Wallet.objects.get().balance == 1


@pytest.mark.needs_postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ours", [(OLDEST,), (NEW, OLDEST)])
def test_a_key_that_is_in_flight_in_other_code_is_in_flight(ours: tuple[str, ...]) -> None:
    wallet = open_wallet("Ada")
    theirs = {(OLDEST,): (NEW, OLDEST), (NEW, OLDEST): (OLDEST,)}[ours]

    def hold() -> None:
        with named(*theirs):
            once(wallet)

    with held_elsewhere(hold) as release:
        with named(*ours), failing(KeyInFlight):
            once(wallet)
        release.set()
    with named(*ours):
        assert once(wallet).replayed


# What people see


def viewer() -> User:
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(
        *Permission.objects.filter(codename__in=["view_storedevent", "view_wallet"]),
    )
    return user


def test_the_trail_filters_and_search_show_one_history(renamed: Wallet) -> None:
    assert visible_trail(viewer(), renamed).count() == 8
    for name in (OLDEST, NEW):
        events = filtered(all_events(), "stream_type", [name])
        assert filtered(events, "stream_key", [key_of(renamed)]).count() == 8
    assert found(all_events(), key_of(renamed)).count() == 8


def test_either_name_leads_to_the_model_and_a_name_in_use_to_its_user(renamed: Wallet) -> None:
    assert names_of(OLDEST) == names_of(NEW) == (NEW, OLDEST)
    assert names_of("samples.book") == ("samples.book",)
    assert {models_by_stream_type()[name] for name in (OLDEST, NEW)} == {Wallet}
    with named("samples.shelf", "samples.wallet", model=Book):
        assert models_by_stream_type()["samples.shelf"] is Book
    with named(OLDEST), named("samples.shelf", "samples.wallet", model=Book):
        assert models_by_stream_type()[OLDEST] is Wallet


def test_the_admin_shows_the_whole_stream_and_leads_from_event_to_event(renamed: Wallet, client: Client) -> None:
    client.force_login(viewer())
    url = "/admin/eventsourcing_app/storedevent/"
    for name in (OLDEST, NEW):
        page = client.get(url, {"stream_type": name, "stream_key": key_of(renamed)})
        assert len(page.context["cl"].result_list) == 8
    stored = {event.version: event for event in renamed.history()}
    page = client.get(f"{url}{stored[4].position}/change/")
    assert page.context["previous_url"].endswith(f"/{stored[3].position}/change/")
    assert page.context["next_url"].endswith(f"/{stored[5].position}/change/")


# Checks


def declared(class_name: str, **attributes: Any) -> type[models.Model]:
    body = {"__module__": __name__, "stream_type": "checks.thing", **attributes}
    body["Meta"] = type("Meta", (), {"app_label": "samples", "base_manager_name": "objects"})
    return type(class_name, (EventSourcedModel,), body)


def ids_found(*checked: type[models.Model]) -> set[str]:
    """The ids of what is said about these models alone."""

    class Apps:
        @staticmethod
        def get_models() -> list[type[models.Model]]:
            return list(checked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_checks, "apps", Apps)
        return {(message.id or "").rpartition(".")[2] for message in model_checks.check_models()}


@isolate_apps("tests.samples")
@pytest.mark.parametrize(
    ("aliases", "expected"),
    [
        (("checks.older",), set()),
        (("no good",), {"E101"}),
        ("checks.older", {"E101", "E102"}),  # each letter would be a name
        (("checks.thing",), {"E102"}),
        (("checks.older", "checks.older"), {"E102"}),
        (("samples.counted",), {"E115"}),
        (("samples.money_put_in",), {"E115"}),
    ],
)
def test_a_name_that_cannot_be_an_older_one_is_an_error(aliases: Any, expected: set[str]) -> None:
    assert ids_found(declared("Thing", stream_type_aliases=aliases)) == expected


@isolate_apps("tests.samples")
@pytest.mark.parametrize(
    "names", [("checks.other", "checks.thing"), ("checks.other", "checks.older"), ("checks.older",)]
)
def test_an_older_name_that_another_model_has_is_an_error(names: tuple[str, ...]) -> None:
    first = declared("Thing", stream_type_aliases=("checks.older",))
    second = declared("Other", stream_type=names[0], stream_type_aliases=names[1:])
    assert ids_found(first, second) == {"E102"}


# Models and apps that are renamed or moved

APPS = """
INSTALLED_APPS += ["django_q", "eventsourcing_app"]
Q_CLUSTER = {"name": "mysite", "orm": "default", "timeout": 60, "retry": 120}
"""
EVENTS = """
from eventsourcing_app import event

@event("shop.product_titled")
class ProductTitled:
    title: str
"""
MODELS = """
from django.db import models
from eventsourcing_app import applies, command
from eventsourcing_app.models import EventSourcedModel
from {app}.events import ProductTitled

class {name}(EventSourcedModel):
    stream_type = "shop.product"
    title = models.CharField(max_length=40)

    class Meta(EventSourcedModel.Meta):
        db_table = "{table}"

    @command
    def retitle(self, title: str) -> None:
        self.record(ProductTitled(title=title))

    @command(creates=True)
    def begin(self, title: str) -> None:
        self.record(ProductTitled(title=title))

    @applies(ProductTitled)
    def _titled(self, event: ProductTitled) -> None:
        self.title = event.title
"""
RENAMED = """
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [
        migrations.RenameModel("Product", "Article"),
        migrations.AlterModelTable("Article", "goods"),
    ]
"""
GONE = """
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("shop", "0002_renamed"), ("store", "0001_initial")]
    operations = [migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel("Article")])]
"""
LOOK = """
>>> from {app}.models import {name} as Model
>>> receipt = Model.objects.perform(Model.objects.get().pk, Model.retitle, "{title}")
>>> receipt.version, Model.objects.at(receipt.pk, version=1).title
({version}, 'first')
>>> [stored.version for stored in Model.objects.get().history()] == list(range(1, {version} + 1))
True
>>> from eventsourcing_app.aggregates.rebuild.rebuilder import run_rebuild
>>> run_rebuild(Model, check=True, processes=1).drifted
0
>>> from django.core.management import call_command
>>> call_command("makemigrations", check=True, dry_run=True, verbosity=0)
>>> Model._meta.label, Model._meta.db_table
('{app}.{name}', '{table}')
"""


@pytest.mark.timeout(600)  # some twenty processes
def test_a_model_keeps_its_history_when_class_table_and_app_are_renamed(tmp_path: Path) -> None:
    with fresh_project(tmp_path, app="shop") as project:
        project.do("mysite/settings.py", APPS)
        project.do("shop/events.py", EVENTS)
        project.do("shop/models.py", MODELS.format(app="shop", name="Product", table="shop_product"))
        project.do("console", "$ python manage.py makemigrations shop\n$ python manage.py migrate\n")
        begin = '>>> from shop.models import Product\n>>> done = Product.objects.perform_new(Product.begin, "first")\n'
        project.do("shell", begin)
        project.do("shell", LOOK.format(app="shop", name="Product", table="shop_product", title="a", version=2))

        project.do("shop/models.py", MODELS.format(app="shop", name="Article", table="goods"))
        project.do("shop/migrations/0002_renamed.py", RENAMED)
        project.do("console", "$ python manage.py migrate\n")
        project.do("shell", LOOK.format(app="shop", name="Article", table="goods", title="b", version=3))

        project.run("-m", "django", "startapp", "store")
        project.do("mysite/settings.py", 'INSTALLED_APPS += ["store"]')
        project.do("store/events.py", EVENTS)
        project.do("store/models.py", MODELS.format(app="store", name="Article", table="goods"))
        project.do("shop/events.py", "")
        project.do("shop/models.py", "")
        project.do("console", "$ python manage.py makemigrations store\n")
        project.do("shop/migrations/0003_gone.py", GONE)
        project.do("console", "$ python manage.py migrate store --fake\n$ python manage.py migrate\n")
        project.do("shell", LOOK.format(app="store", name="Article", table="goods", title="c", version=4))
        assert "no fault" in project.run("manage.py", "verify_events")
        assert "W007" not in project.run("manage.py", "check", "--database", "default")
