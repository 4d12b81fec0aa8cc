"""An existing table becomes event-sourced: each row gets one event that says exactly what it is, or none at all."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from io import StringIO
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection, models
from django.db.models.signals import post_save, pre_save
from django.test.utils import CaptureQueriesContext, isolate_apps

from eventsourcing_app import applies, context, event
from eventsourcing_app.aggregates.adoption import adopt as module
from eventsourcing_app.aggregates.adoption.adopt import Adoption, adopt
from eventsourcing_app.aggregates.adoption.opening import Opening
from eventsourcing_app.aggregates.adoption.opening_code import suggested_code
from eventsourcing_app.aggregates.dispatch import applies_of
from eventsourcing_app.exceptions import AdoptionRefused
from eventsourcing_app.management.commands.adopt import Command
from eventsourcing_app.models import EventSourcedModel, StoredEvent
from tests.conftest import ROOT
from tests.samples.catalogue import Article, ArticleAdopted, Shelf
from tests.samples.factories import (
    WAIT,
    beside,
    change_row,
    failing,
    fetch,
    held_elsewhere,
    list_book,
    rebuild,
    versions,
)
from tests.samples.models import Book, Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)

FULL: dict[str, Any] = {
    "name": "Ünïcode \U0001f600 'quoted'",
    "price": Decimal("-123456789.125"),
    "status": "sold",
    "stock": -7,
    "weight": 0.1,
    "listed": False,
    "reviewed": True,
    "made": date(1, 1, 1),
    "seen": datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC),
    "opens": time(23, 59, 59, 999999),
    "lasts": timedelta(days=-3, microseconds=7),
    "ident": UUID(int=2**128 - 1),
    "labels": ["é", ""],
    "extra": {"ä": [1, 2.5, None, {"n": True}], "big": 2**70},
    "sheet": ["no dict"],
    "scan": "scans/a.pdf",
    "address": "2001:db8::1",
    "hits": 3,
}
OTHERS: tuple[dict[str, Any], ...] = (
    {},
    {"weight": 5e-324, "price": Decimal(0), "sheet": models.Value(None, models.JSONField()), "extra": 0},
    {"weight": -0.0, "price": Decimal("1E+3"), "labels": [], "extra": "text", "sheet": 2.0},
    {"weight": 1e22, "seen": datetime(1700, 1, 1, tzinfo=UTC), "lasts": timedelta(days=9999), "extra": [[]]},
)


def put(count: int = 1, **values: Any) -> list[int]:
    """Rows as the project wrote them before it had events; returns their keys."""
    plain = {"name": "Chair", "price": Decimal("9.5"), "made": date(2020, 2, 29), **values}
    rows: models.QuerySet[Article] = models.QuerySet(Article)
    return [row.pk for row in rows.bulk_create([Article(**plain) for _ in range(count)])]


def put_one_of_each() -> list[int]:
    Shelf.objects.create(code="A-1")
    (first,) = put(**FULL, shelf_id="A-1")
    return [first, *[put(**{**values, "parent_id": first})[0] for values in OTHERS]]


def rows(columns: str = "*") -> list[tuple[Any, ...]]:
    return fetch(f"SELECT {columns} FROM samples_article ORDER BY id")


def state() -> list[tuple[Any, ...]]:
    """Every column but those that adopting writes, as the database keeps them."""
    kept = [field.column for field in Article._meta.local_fields if field.name not in ("version", "changed_at")]
    cast = "::text" if connection.vendor == "postgresql" else ""
    return rows(", ".join(f"{name}{cast}" if name in ("labels", "extra", "sheet") else f"{name}" for name in kept))


@contextmanager
def rewritten(model: type[EventSourcedModel], **attributes: Any) -> Iterator[None]:
    """The model as its code would be with these attributes."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in attributes.items():
                patch.setattr(model, name, value, raising=False)
            applies_of.cache_clear()
            yield
    finally:
        applies_of.cache_clear()
        for installed in apps.get_models():
            if issubclass(installed, EventSourcedModel):
                applies_of(
                    installed
                )  # as when its class was made: other tests put plain functions in the place of methods


def history(pk: int) -> list[int | None]:
    return versions(Article.objects.get(pk=pk))


def require_clean(count: int) -> None:
    """Every row has one event, and is what it says."""
    assert list(rebuild(Article, check=True)) == []
    assert StoredEvent.objects.count() == count
    assert set(StoredEvent.objects.values_list("type", "stream_type", "version")) == {
        ("samples.article_adopted", "samples.article", 1)
    }
    assert set(rows("version")) == {(1,)}


def command(*arguments: str) -> str:
    out = StringIO()
    call_command("adopt", "samples.Article", *arguments, stdout=out)
    return out.getvalue()


# What adopting does


def test_a_row_of_every_kind_is_adopted_as_it_is() -> None:
    keys = put_one_of_each()
    before = state()
    assert adopt(Article).adopted == len(keys)
    assert state() == before
    require_clean(len(keys))
    for pk in keys:
        row, then = Article.objects.get(pk=pk), Article.objects.at(pk, version=1)
        names = [field.attname for field in Article._meta.concrete_fields if field.name not in ("hits", "doubled")]
        assert [str(getattr(row, name)) for name in names] == [str(getattr(then, name)) for name in names]
        (recorded,) = row.history()
        assert (row.version, row.changed_at, row.ended) == (1, recorded.recorded_at, False)


def test_what_the_event_says_is_typed() -> None:
    Shelf.objects.create(code="A-1")
    (pk,) = put(**FULL, shelf_id="A-1")
    adopt(Article)
    data = Article.objects.get(pk=pk).history().get().data
    assert (data["price"], data["status"], data["labels"]) == ("-123456789.125", "sold", ["é", ""])
    assert json.loads(data["extra"])["big"] == 2**70
    assert (data["shelf_id"], data["parent"], data["weight"]) == ("A-1", None, 0.1)


def test_rows_that_have_a_history_are_left_alone_and_a_second_run_finds_none() -> None:
    put(2)
    adopt(Article)
    put()
    before = rows()[:2]
    assert adopt(Article).adopted == 1
    assert rows()[:2] == before
    assert adopt(Article).adopted == 0
    require_clean(3)


def test_commands_go_on_from_the_opening_event() -> None:
    (pk,) = put()
    adopt(Article)
    assert Article.objects.perform(pk, Article.rename, name="Stool").version == 2
    assert history(pk) == [1, 2]
    assert (Article.objects.at(pk, version=1).name, Article.objects.get(pk=pk).name) == ("Chair", "Stool")
    assert list(rebuild(Article, check=True)) == []


@event("samples.book_adopted")
class BookAdopted:
    isbn: str
    title: str
    subtitle: str


@applies(BookAdopted)
def adopt_book(self: Book, event: BookAdopted) -> None:
    self.title, self.subtitle = event.title, event.subtitle


def test_a_natural_key_is_adopted_and_may_stand_in_the_event() -> None:
    plain: models.QuerySet[Book] = models.QuerySet(Book)
    plain.bulk_create([Book(isbn=isbn, title=isbn) for isbn in ("9", "10", "é", "A", "a")])
    with rewritten(Book, adoption_event=BookAdopted, _adopted=adopt_book):
        assert adopt(Book, batch_size=2).adopted == 5
        assert list(rebuild(Book, check=True)) == []
    assert {stored.data["isbn"] for stored in StoredEvent.objects.all()} == {"9", "10", "é", "A", "a"}


def test_a_run_has_one_correlation_id_its_actor_and_a_reason() -> None:
    put(3)
    with context(actor="user:7"):
        adopt(Article, batch_size=2)
    ids = set(StoredEvent.objects.values_list("correlation_id", flat=True))
    assert len(ids) == 1
    assert ids != {""}
    stored = list(StoredEvent.objects.all())
    assert {each.actor for each in stored} == {"user:7"}
    assert [each.metadata for each in stored] == [{"reason": "adopt"}] * 3


def test_a_reason_that_the_caller_gives_is_kept() -> None:
    put()
    with context(reason="release 12", correlation_id="r-12"):
        adopt(Article)
    stored = StoredEvent.objects.get()
    assert (stored.metadata, stored.correlation_id) == ({"reason": "release 12"}, "r-12")


def test_no_signal_of_saving_is_sent() -> None:
    def receiver(**_facts: object) -> None:
        raise AssertionError("nobody saves")

    put()
    pre_save.connect(receiver, sender=Article)
    post_save.connect(receiver, sender=Article)
    try:
        adopt(Article)
    finally:
        pre_save.disconnect(receiver, sender=Article)
        post_save.disconnect(receiver, sender=Article)
    require_clean(1)


def test_a_batch_takes_few_statements() -> None:
    put(500)
    with CaptureQueriesContext(connection) as captured:
        adopt(Article)
    ours = [query["sql"] for query in captured if "SAVEPOINT" not in query["sql"]]
    # Rows, whether one has a history, events (and on PostgreSQL their positions), rows; then that there is no more.
    assert len(ours) <= 6, ours
    require_clean(500)


@committing  # a transaction keeps a word on each append
def test_memory_does_not_grow_with_the_table() -> None:
    def tidy(_so_far: Adoption) -> None:
        gc.collect()  # a file field makes circles, whose memory is free whenever Python looks for them

    def peak() -> int:
        tracemalloc.start()
        try:
            adopt(Article, batch_size=50, progress=tidy)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    put(50)
    peak()  # what is compiled once
    put(100)
    few = peak()
    put(800)
    many = peak()
    assert many < few * 1.5


@pytest.mark.parametrize("size", [0, -1, 10_001])
def test_a_batch_has_a_sensible_size(size: int) -> None:
    put()
    with pytest.raises(ValueError, match="batch_size"):
        adopt(Article, batch_size=size)
    with pytest.raises(CommandError, match="batch_size"):
        command("--batch-size", str(size))


# Rows that are refused


def test_a_row_that_is_not_what_its_event_says_stops_the_run_and_what_was_before_it_is_kept() -> None:
    keys = put(7)
    change_row(Article, keys[4], name="Chair ")
    apply = Article._adopted

    @applies(ArticleAdopted)
    def tidy(self: Article, event: ArticleAdopted) -> None:
        apply(self, event)
        self.name = event.name.strip()

    before = rows()[4:]
    with rewritten(Article, _adopted=tidy), failing(AdoptionRefused) as caught:
        adopt(Article, batch_size=3)
    assert (caught.value.model, caught.value.pk) == ("samples.Article", keys[4])
    assert caught.value.fields == {"name": ("Chair ", "Chair")}
    assert str(caught.value) == f"samples.Article {keys[4]}: name is 'Chair ', by its event 'Chair'"
    assert [version for (version,) in rows("version")] == [1, 1, 1, 1, 0, 0, 0]
    assert rows()[4:] == before
    assert StoredEvent.objects.count() == 4
    change_row(Article, keys[4], name="Chair")
    assert adopt(Article).adopted == 3
    require_clean(7)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"status": "gone"}, "status"),
        ({"labels": [1]}, r"labels\[0\]"),
        ({"labels": {"a": "b"}}, "labels"),
        ({"name": "x", "ended": True}, "ended is True, by its event False"),
        ({"labels": ["x" * 300_000]}, "at the top"),
    ],
)
def test_a_row_of_which_no_event_can_be_made_is_named(values: dict[str, Any], why: str) -> None:
    (pk,) = put(**values)
    with pytest.raises(AdoptionRefused, match=why) as caught:
        adopt(Article)
    assert caught.value.pk == pk
    assert not StoredEvent.objects.exists()
    assert rows("version") == [(0,)]


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_have_is_named(weight: float) -> None:
    row = Article(pk=1, name="x", price=Decimal(1), made=date(2020, 1, 1), weight=weight)
    with pytest.raises(AdoptionRefused, match=f"weight is {weight}, which no event can hold"):
        Opening.of(Article).data_of(row)


def test_a_method_that_fails_on_a_row_is_named() -> None:
    @applies(ArticleAdopted)
    def fail(self: Article, event: ArticleAdopted) -> None:
        self.weight = event.weight + 1  # type: ignore[operator]

    put()
    refused = failing(AdoptionRefused, r"_adopted\(\) makes no state of its event: TypeError")
    with rewritten(Article, _adopted=fail), refused:
        adopt(Article)


def test_a_row_that_was_put_back_to_version_0_is_not_adopted_again() -> None:
    (pk,) = put()
    adopt(Article)
    change_row(Article, pk, version=0)
    with pytest.raises(AdoptionRefused, match=r"manage\.py rebuild samples\.Article"):
        adopt(Article)
    assert [each.pk for each in adopt(Article, dry_run=True).named] == [pk]
    assert StoredEvent.objects.count() == 1


# Dry run


def test_a_dry_run_looks_at_every_row_and_writes_nothing() -> None:
    keys = put(30, status="gone")
    put(12)
    before = rows()
    found = adopt(Article, dry_run=True, batch_size=5)
    assert (found.adopted, found.refused) == (12, 30)
    assert [each.pk for each in found.named] == keys[:20]
    assert rows() == before
    assert not StoredEvent.objects.exists()


# Ended in the middle


class Enough(Exception):
    """Ends a run after a batch."""


@committing
@pytest.mark.parametrize("batch_size", [1, 3, 10])
def test_a_run_that_was_ended_goes_on_where_it_was(batch_size: int) -> None:
    def end(_so_far: Adoption) -> None:
        raise Enough

    put(10)
    for done in range(batch_size, 10, batch_size):
        with failing(Enough):
            adopt(Article, batch_size=batch_size, progress=end)
        assert StoredEvent.objects.count() == done
    assert 0 < adopt(Article, batch_size=batch_size).adopted <= batch_size
    require_clean(10)


KILLED = """
import django, os, signal
django.setup()
from eventsourcing_app.aggregates.adoption import adopt as module
from tests.samples.catalogue import Article
append, batches = module.append, []
def killed(events, **options):
    append(events, **options)
    batches.append(events)
    if len(batches) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
module.append = killed
module.adopt(Article, batch_size=10)
"""


@committing
def test_a_process_that_is_killed_in_a_batch_leaves_nothing_of_it(child_env: dict[str, str]) -> None:
    put(45)
    done = subprocess.run([sys.executable, "-c", KILLED], env=child_env, cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert StoredEvent.objects.count() == 20
    assert [version for (version,) in rows("version")] == [1] * 20 + [0] * 25
    assert adopt(Article).adopted == 25
    require_clean(45)


def test_sigterm_ends_it_after_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def terminated(_self: Command, _so_far: Adoption) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    put(10)
    monkeypatch.setattr(Command, "_progress", terminated)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(CommandError, match="Run it again"):
        command("--batch-size", "4")
    assert signal.getsignal(signal.SIGTERM) is before
    assert StoredEvent.objects.count() == 4


# Beside others


@committing
def test_several_runs_at_the_same_time_adopt_each_row_once() -> None:
    put(150)
    with beside(*[lambda size=size: adopt(Article, batch_size=size).adopted for size in (3, 7, 11)]) as runs:
        counts = [run.result(WAIT) for run in runs]
    assert sum(counts) == 150
    require_clean(150)


@pytest.mark.needs_postgres  # SQLite has one writer
@committing
def test_a_row_that_is_being_written_is_adopted_as_it_becomes() -> None:
    keys = put(3)

    def write() -> None:
        change_row(Article, keys[1], name="Stool", stock=4)

    with held_elsewhere(write) as release, beside(lambda: adopt(Article)) as (run,):
        while not fetch("SELECT 1 FROM pg_locks WHERE NOT granted"):
            assert not run.done()
        release.set()
        assert run.result(WAIT).adopted == 3
    require_clean(3)
    assert Article.objects.at(keys[1], version=1).name == "Stool"


@pytest.mark.needs_postgres
@committing
def test_a_row_that_another_run_has_just_adopted_is_passed_over() -> None:
    put(20)

    def first_batch() -> None:
        module._write(Opening.of(Article), None, 5)

    with held_elsewhere(first_batch) as release, beside(lambda: adopt(Article, batch_size=5)) as (run,):
        while not fetch("SELECT 1 FROM pg_locks WHERE NOT granted"):
            assert not run.done()
        release.set()
        assert run.result(WAIT).adopted == 15
    require_clean(20)


# The opening event


@event("samples.too_little")
class TooLittle:
    name: str
    price: Decimal


@event("samples.too_much")
class TooMuch:
    name: str
    colour: str


@event("samples.the_end", ends=True)
class TheEnd:
    name: str


@event("samples.not_applied")
class NotApplied:
    name: str


class NoEvent:
    name: str


class Tag(EventSourcedModel):
    """It is no table: only asked how it would be adopted."""

    stream_type = "samples.tag"
    name = models.CharField(max_length=9)

    class Meta(EventSourcedModel.Meta):
        abstract = True

    @applies(TooMuch, TooLittle, TheEnd)
    def _any(self, event: Any) -> None:
        self.name = event.name


@isolate_apps("tests.samples")
@pytest.mark.parametrize(
    ("adoption_event", "said"),
    [
        (None, r"does not say with which event .*(?s:.*)class TaggedAdopted:\n    name: str\n"),
        (NoEvent, r"NoEvent is not a declared event.*(?s:.*)class NoEvent:\n    name: str\n"),
        (NotApplied, r"does not say what NotApplied changes(?s:.*)@applies\(NotApplied\)"),
        (TheEnd, r"ends a stream"),
        (TooMuch, r"no fields for what TooMuch states: colour(?s:.*)class TooMuch:"),
    ],
)
def test_an_event_that_cannot_open_a_history_is_an_error_with_the_code_to_write(
    adoption_event: type | None, said: str
) -> None:
    class Tagged(Tag):
        class Meta(Tag.Meta):
            app_label = "samples"
            abstract = False

    Tagged.adoption_event = adoption_event
    with pytest.raises(ImproperlyConfigured, match=said):
        Opening.of(Tagged)


@applies(TooLittle)
def adopt_little(self: Article, event: TooLittle) -> None:
    self.name = event.name


def test_fields_that_the_event_does_not_state_are_named() -> None:
    put()
    with rewritten(Article, adoption_event=TooLittle, _little=adopt_little), failing(CommandError) as caught:
        command()
    assert "does not state: status, stock, weight" in str(caught.value)
    assert "    status: str\n" in str(caught.value)
    assert "version: int" not in str(caught.value)
    assert not StoredEvent.objects.exists()


def test_the_code_that_is_printed_adopts_the_table() -> None:
    keys = put_one_of_each()
    # Under another name, since this process knows the event that it has.
    with rewritten(Article, stream_type="samples.pasted", adoption_event=None), failing(CommandError) as caught:
        command()
    printed = str(caught.value)
    events, _, model = printed[printed.index("# events.py") :].partition("# models.py")
    pasted: dict[str, Any] = {"__name__": "pasted", "json": json, "applies": applies, "ClassVar": ClassVar}
    exec(compile(events, "events.py", "exec", dont_inherit=True), pasted)
    body = model[model.index("\n") :]
    exec(compile(f"class Pasted:{body}", "models.py", "exec", dont_inherit=True), pasted)
    as_pasted = vars(pasted["Pasted"])
    code = {"adoption_event": as_pasted["adoption_event"], "_adopted": as_pasted["_adopted"]}
    with rewritten(Article, stream_type="samples.pasted", **code):
        assert adopt(Article).adopted == len(keys)
        assert list(rebuild(Article, check=True)) == []
    assert set(StoredEvent.objects.values_list("type", flat=True)) == {"samples.pasted_adopted"}


@isolate_apps("tests.samples")
def test_bytes_are_refused_with_what_to_do_instead() -> None:
    class Picture(EventSourcedModel):
        stream_type = "samples.picture"
        pixels = models.BinaryField()

        class Meta(EventSourcedModel.Meta):
            app_label = "samples"

    with pytest.raises(ImproperlyConfigured, match=r"Picture\.pixels is a BinaryField.*FileField.*`unrecorded`"):
        Opening.of(Picture)


@isolate_apps("tests.samples")
def test_the_printed_types_are_those_of_the_columns() -> None:
    class Kinds(EventSourcedModel):
        stream_type = "samples.kinds"
        big = models.BigIntegerField()
        small = models.PositiveSmallIntegerField(null=True)
        slug = models.SlugField()
        host = models.GenericIPAddressField(null=True)
        text = models.TextField()
        book = models.ForeignKey(Book, models.PROTECT)
        wallet = models.ForeignKey(Wallet, models.PROTECT, null=True)
        when = models.DateTimeField()
        day = models.DateField(null=True)
        maybe = models.JSONField(null=True)

        class Meta(EventSourcedModel.Meta):
            app_label = "samples"

    code = suggested_code(Kinds)
    for line in (
        "from datetime import date, datetime\n",
        "from uuid import UUID\n",
        '@event("samples.kinds_adopted")\nclass KindsAdopted:\n',
        "    big: int\n    small: int | None\n    slug: str\n    host: str | None\n    text: str\n",
        "    book_id: str\n    wallet_id: UUID | None\n    when: datetime\n    day: date | None\n",
        "    maybe: str | None  #",
        "        self.book_id = event.book_id\n",
        "        self.maybe = event.maybe and json.loads(event.maybe)",
        "    adoption_event: ClassVar[type | None] = KindsAdopted\n",
    ):
        assert line in code
    assert "Decimal" not in code


# The command


def test_the_command_adopts_and_says_how_many() -> None:
    put(3)
    assert "3 rows adopted" in command()
    assert "0 rows adopted" in command()
    require_clean(3)


def test_the_command_names_what_it_refuses_and_fails() -> None:
    put(2)
    (bad,) = put(status="gone")
    put()
    out = StringIO()
    with pytest.raises(CommandError, match=r"1 row of samples\.Article refused; 2 before it are kept"):
        call_command("adopt", "samples.Article", stdout=out)
    assert f"samples.Article {bad}: " in out.getvalue()
    assert StoredEvent.objects.count() == 2


def test_a_dry_run_of_the_command_counts_and_fails_on_what_would_be_refused() -> None:
    put(2)
    assert "2 rows would be adopted" in command("--dry-run")
    put(25, status="gone")
    out = StringIO()
    with pytest.raises(CommandError, match=r"25 rows of samples\.Article refused"):
        call_command("adopt", "samples.Article", "--dry-run", stdout=out)
    assert len(out.getvalue().splitlines()) == 20 + 2
    assert "… and 5 more" in out.getvalue()
    assert not StoredEvent.objects.exists()


def test_the_result_can_be_read_by_a_program() -> None:
    put(2)
    assert json.loads(command("--json")) == {
        "model": "samples.Article",
        "dry_run": False,
        "adopted": 2,
        "refused": 0,
        "complete": True,
        "refused_rows": [],
    }
    (bad,) = put(ended=True)
    out = StringIO()
    with failing(CommandError):
        call_command("adopt", "samples.Article", "--json", stdout=out)
    found = json.loads(out.getvalue())
    assert (found["adopted"], found["refused"], found["complete"]) == (0, 1, False)
    assert found["refused_rows"][0]["pk"] == str(bad)
    assert found["refused_rows"][0]["fields"] == {"ended": ["True", "False"]}


@pytest.mark.parametrize("label", ["samples.Nothing", "nothing", "samples.Customer", "no.Model"])
def test_the_command_refuses_what_is_not_event_sourced(label: str) -> None:
    with pytest.raises(CommandError, match=r"app_label|not event-sourced"):
        call_command("adopt", label)


def test_models_that_begin_their_rows_themselves_have_none_to_adopt() -> None:
    list_book("1")
    with pytest.raises(CommandError, match="adoption_event"):
        call_command("adopt", "samples.Book")
