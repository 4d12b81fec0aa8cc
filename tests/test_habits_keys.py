"""Keys of every kind name one stream each, however they are spelled, and what cannot name one is an error."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import models, transaction
from django.test.utils import isolate_apps

from eventsourcing_app import CommandRejected
from eventsourcing_app.exceptions import ConcurrencyError, UnrecordedChange
from eventsourcing_app.identifiers import uuid7
from eventsourcing_app.models import EventSourcedModel
from tests.samples.factories import failing, list_book, open_wallet, rebuild, versions
from tests.samples.habits import Edition, Seat
from tests.samples.models import Book
from tests.test_model_checks import found

pytestmark = pytest.mark.django_db


def seated(code: int = 7) -> Seat:
    seat = Seat(code=code)
    seat.take(row="A", number=code)
    seat.save()
    return seat


@pytest.mark.parametrize("spelled", [7, "7", " 7", "07"])
def test_a_number_names_one_stream_however_it_is_spelled(spelled: Any) -> None:
    seated()
    assert Seat.objects.at(spelled, version=1).code == 7
    assert Seat.objects.history(spelled).count() == 1
    assert next(Seat.objects.replay(spelled))[0].row == "A"


def test_a_number_is_taken_once() -> None:
    seated()
    with failing(ConcurrencyError), transaction.atomic():
        seated()
    assert (versions(Seat.objects.get()), Seat.objects.count()) == ([1], 1)


@pytest.mark.parametrize("code", [0, -3])
def test_any_number_is_a_key(code: int) -> None:
    seat = Seat(code=code)
    seat.take(row="A", number=1)
    seat.save()
    assert seat.history().get().stream_key == str(code)
    assert list(rebuild(Seat, check=True)) == []


def test_a_key_of_text_is_never_the_key_of_another() -> None:
    names = ["a", "A", "a ", "ä", "1", "01", "x" * 20]
    for name in names:
        list_book(name)
    assert sorted(book.history().get().stream_key for book in Book.objects.all()) == sorted(names)
    assert list(rebuild(Book, check=True)) == []


@pytest.mark.parametrize("isbn", ["x" * 21, "a\x00", "\ud800"])
def test_a_key_of_text_that_its_column_cannot_hold_rejects_the_command(isbn: str) -> None:
    with pytest.raises(CommandRejected) as refused:
        list_book(isbn)
    assert refused.value.code == "does_not_fit"


def test_a_key_cannot_be_changed() -> None:
    wallet, seat, edition = open_wallet(), seated(), Edition(book=list_book("1"))
    edition.print_it(copies=1)
    edition.save()
    wallet.pk, seat.pk, edition.book = uuid7(), 8, list_book("2")
    for instance, field in ((wallet, "id"), (seat, "code"), (edition, "book_id")):
        with pytest.raises(UnrecordedChange, match=field):
            instance.save()
        with pytest.raises(UnrecordedChange, match=field):
            instance.record(object())
    assert (versions(Seat.objects.get()), Seat.objects.count()) == ([1], 1)


def test_a_key_that_is_another_row_is_taken_once_and_rebuilt() -> None:
    edition = Edition(book=list_book("1"))
    edition.print_it(copies=1)
    edition.save()
    again = Edition(book_id="1")
    again.print_it(copies=2)
    with failing(ConcurrencyError), transaction.atomic():
        again.save()
    assert (versions(Edition.objects.get()), Edition.objects.get().copies) == ([1], 1)
    assert list(rebuild(Edition, check=True)) == []


def test_a_key_that_is_another_row_is_repaired_from_history() -> None:
    edition = Edition(book=list_book("1"))
    edition.print_it(copies=1)
    edition.save()
    models.QuerySet(Edition)._raw_delete("default")
    (drift,) = rebuild(Edition, check=False)
    assert (drift.pk, drift.problem) == ("1", "missing")
    assert Edition.objects.get().copies == 1


@isolate_apps("tests.samples")
def test_a_key_of_several_columns_is_an_error() -> None:
    body: dict[str, Any] = {
        "__module__": __name__,
        "Meta": type("Meta", (), {"app_label": "samples"}),
        "stream_type": "checks.composite",
        "pk": models.CompositePrimaryKey("row", "number"),
        "row": models.CharField(max_length=1),
        "number": models.IntegerField(),
    }
    assert "E110" in found(type("Composed", (EventSourcedModel,), body))
